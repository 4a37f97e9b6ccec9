// Viridis, and nothing else: heat layers use one perceptually uniform map with its scale shown.

const STOPS = [
  [68, 1, 84],
  [71, 19, 101],
  [72, 36, 117],
  [70, 52, 128],
  [65, 68, 135],
  [59, 82, 139],
  [53, 95, 141],
  [47, 108, 142],
  [42, 120, 142],
  [37, 132, 142],
  [33, 145, 140],
  [30, 156, 137],
  [34, 168, 132],
  [47, 180, 124],
  [68, 191, 112],
  [94, 201, 98],
  [122, 209, 81],
  [155, 217, 60],
  [189, 223, 38],
  [223, 227, 24],
  [253, 231, 37],
];

/** Colour of a value in [0, 1], as "rgb(r g b)". */
export function viridis(t) {
  const x = Math.min(1, Math.max(0, t)) * (STOPS.length - 1);
  const low = Math.min(STOPS.length - 2, Math.floor(x));
  const mix = (c) => Math.round(STOPS[low][c] + (x - low) * (STOPS[low + 1][c] - STOPS[low][c]));
  return `rgb(${mix(0)} ${mix(1)} ${mix(2)})`;
}

export const VIRIDIS_GRADIENT = `linear-gradient(90deg, ${STOPS.map((c) => `rgb(${c.join(" ")})`).join(", ")})`;

const TABLE = Array.from({ length: 256 }, (_, i) => viridis(i / 255));

/** One colour per value, scaled from [min, max]; a constant layer sits at the bottom of the scale. */
export function heatColors(values, min, max) {
  const span = max > min ? 255 / (max - min) : 0;
  return Array.from(values, (v) => TABLE[Math.min(255, Math.max(0, Math.round((v - min) * span)))]);
}
