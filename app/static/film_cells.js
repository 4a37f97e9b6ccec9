// In the contact sheet: the tokens that a method keeps in each frame, under its picture, and the way to that frame.

import { makeBars } from "./film_chart.js";
import { framesOf, keptByFrame } from "./life.js";
import { mountScrub } from "./scrub.js";
import { el, toggle } from "./dom.js";

/** A strip of bars; `draw` shows one method's view, nothing for pictures. */
export function makeCellTime(store) {
  const bars = makeBars(44, false);
  const node = el("div", { class: "fx-cell-time", hidden: true, role: "img" }, bars.root);
  let columns = [];
  let width = 0;
  mountScrub(
    node,
    store,
    (frame) => (node.title = columns[frame] ? `frame ${frame + 1}: ${columns[frame].all} kept` : ""),
  );
  const paint = () => {
    bars.resize(width, framesOf(store.state));
    bars.draw(columns);
    bars.go(store.state.frame);
  };
  new ResizeObserver(([{ contentRect }]) => {
    width = Math.round(contentRect.width); // asking for it at every repaint would lay out the page each time
    if (!node.hidden) paint();
  }).observe(node);
  return {
    node,
    draw(state, view) {
      toggle(node, Boolean(view && state.trace && framesOf(state).length > 1));
      columns = node.hidden ? [] : keptByFrame(view, state.trace);
      if (node.hidden) return;
      paint();
      node.setAttribute("aria-label", `Kept in each frame: ${columns.map((c) => c.all).join(", ")}`);
    },
  };
}
