// Over the main picture: whose attention lies there, on which scale, and how to take it off.

import { VIRIDIS_GRADIENT } from "../color.js";
import { DIVERGING_GRADIENT } from "../why/diverging.js";
import { wordScale } from "./scale.js";
import { el, setText, toggle } from "../dom.js";

/** @param {HTMLElement} frame @param {import("../store.js").Store} store */
export function mountCaption(frame, store) {
  const text = el("span");
  const high = el("span");
  const off = el(
    "button",
    { type: "button", "aria-label": "Take it off the picture", onclick: () => store.set({ word: null }) },
    "×",
  );
  const low = el("span");
  const bar = el("i", { "aria-hidden": "true" });
  const node = el("p", { class: "fx-attention", hidden: true }, text, low, bar, high, off);
  frame.append(node);
  store.on(["looked", "word", "tab", "part", "trace", "playback", "study", "view", "forced"], (state) => {
    const scale = wordScale(state);
    toggle(node, Boolean(scale));
    if (!scale) return;
    bar.style.background = scale.signed ? DIVERGING_GRADIENT : VIRIDIS_GRADIENT;
    setText(text, scale.text);
    setText(low, scale.low);
    setText(high, scale.high);
  });
}
