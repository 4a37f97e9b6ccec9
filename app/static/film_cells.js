// In the contact sheet: the tokens that a method keeps in each frame, under its picture, and the way to that frame.

import { makeBars } from "./film_chart.js";
import { framesOf, keptByFrame } from "./life.js";
import { mountScrub } from "./scrub.js";
import { el, toggle } from "./dom.js";

/** A strip of bars; `draw` shows one method's view, nothing for pictures. */
export function makeCellTime(store) {
  const bars = makeBars(44, false);
  const node = el("div", { class: "fx-cell-time", hidden: true, role: "img" }, bars.root);
  mountScrub(node, store, (frame) => (node.title = frame >= 0 && node.said ? node.said[frame] : ""));
  return {
    node,
    draw(state, view) {
      const frames = framesOf(state);
      toggle(node, Boolean(view && state.trace && frames.length > 1));
      if (node.hidden) return;
      const columns = keptByFrame(view, state.trace);
      bars.resize(node.clientWidth, frames);
      bars.draw(columns);
      bars.go(state.frame);
      node.said = columns.map((c, f) => `frame ${f + 1}: ${c.all} kept`);
      node.setAttribute("aria-label", `Kept in each frame: ${columns.map((c) => c.all).join(", ")}`);
    },
  };
}
