// Written by `python -m app.look` from fsr/bench/look.py: change it there.

export const ROLES = {"focus": "#e69f00", "scan": "#0072b2", "kept": "#009e73"};
export const ROLES_ON_DARK = {"scan": "#56b4e9"};
export const HALO = "#ffffff";
export const SERIES = ["#e69f00", "#0072b2", "#009e73", "#cc79a7", "#d55e00", "#56b4e9"];
export const PAIR = {"one": "#cc79a7", "other": "#f0e442", "both": "#ffffff"};
export const VEIL_ON_BRIGHT = "#181b21";
export const VEIL_ON_DARK = "#d6d9de";
export const BRIGHT = 0.42;
export const VEILED = {"dropped": 0.62, "merged": 0.42, "unseen": 0.82};
export const HEAT = ["#440154", "#471365", "#482475", "#463480", "#414487", "#3b528b", "#355f8d", "#2f6b8e", "#2a788e", "#25848e", "#21918c", "#1e9c89", "#22a884", "#2fb47c", "#44bf70", "#5ec962", "#7ad151", "#9bd93c", "#bddf26", "#dfe318", "#fde725"];
export const HEAT_OPACITY = 0.8;
export const SCALES = {"saliency": "linear", "relevance": "linear", "priority": "log"};
export const LOG_SPAN = 1000000.0;
export const LOWEST_KL = 1e-05;
export const TEXT = "#1b1d20";
export const MUTED = "#5c6067";
export const LINE = "#dcdcd8";
export const GROUND = "#8d9096";
export const CROSSED = "#8d939b";
export const CROSS_INSET = 0.22;
