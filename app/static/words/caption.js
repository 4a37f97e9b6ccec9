// Over the main picture: whose attention lies there, on which scale, and how to take it off.

import { VIRIDIS_GRADIENT } from "../color.js";
import { percent } from "../format.js";
import { pinnedHeat } from "./maps.js";
import { el, setText, toggle } from "../dom.js";

/** @param {HTMLElement} frame @param {import("../store.js").Store} store */
export function mountCaption(frame, store) {
  const text = el("span");
  const high = el("span");
  const off = el(
    "button",
    { type: "button", "aria-label": "Take the attention off", onclick: () => store.set({ word: null }) },
    "×",
  );
  const bar = el("i", { style: `background: ${VIRIDIS_GRADIENT}`, "aria-hidden": "true" });
  const node = el("p", { class: "fx-attention", hidden: true }, text, el("span", {}, "0"), bar, high, off);
  frame.append(node);
  store.on(["looked", "word", "tab", "part", "trace", "playback"], (state) => {
    const heat = pinnedHeat(state);
    toggle(node, Boolean(heat));
    if (!heat) return;
    setText(text, `Attention of “${heat.word}”, ${heat.side === "full" ? "all tokens" : "pruned"}`);
    setText(high, percent(heat.max));
  });
}
