// Over the main picture: whose attention lies there, on which scale, and how to take it off.

import { VIRIDIS_GRADIENT } from "../color.js";
import { percent, sig3 } from "../format.js";
import { DIVERGING_GRADIENT } from "../why/diverging.js";
import { wordLayer } from "./influence.js";
import { pinnedHeat } from "./maps.js";
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
    const heat = pinnedHeat(state);
    const layer = heat ? null : wordLayer(state);
    toggle(node, Boolean(heat || layer));
    bar.style.background = layer ? DIVERGING_GRADIENT : VIRIDIS_GRADIENT;
    setText(low, layer ? `−${sig3(layer.reach)}` : "0");
    if (layer) {
      setText(text, `Influence on “${layer.text}”, measured by leaving out`);
      setText(high, `+${sig3(layer.reach)} nats`);
    }
    if (!heat) return;
    setText(text, `Attention of “${heat.word}”, ${heat.side === "full" ? "all tokens" : "pruned"}`);
    setText(high, percent(heat.max));
  });
}
