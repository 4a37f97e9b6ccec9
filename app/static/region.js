// A rectangle on the stage that is followed through time: by pointer, touch or keys. Shares of the picture's size.

import { regionBetween } from "./life.js";
import { toggle } from "./dom.js";

const MIDDLE = { x0: 1 / 3, y0: 1 / 3, x1: 2 / 3, y1: 2 / 3 };
const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** layer: over the picture, takes the pointer while a region is marked; box: the rectangle. */
export function mountRegion({ layer, box }, store) {
  store.on(["region", "marking", "trace"], ({ region, marking, trace }) => {
    toggle(layer, Boolean(trace?.clip) && (marking || Boolean(region)));
    layer.dataset.marking = String(marking);
    layer.tabIndex = marking ? 0 : -1;
    toggle(box, Boolean(region));
    if (region) place(box, region);
  });
  store.on(["marking"], ({ marking }) => marking && layer.focus({ preventScroll: true }));
  mountDrag(layer, store);
  mountKeys(layer, store);
}

export function place(box, { x0, y0, x1, y1 }) {
  const percent = (v) => `${(100 * v).toFixed(2)}%`;
  Object.assign(box.style, { left: percent(x0), top: percent(y0), width: percent(x1 - x0), height: percent(y1 - y0) });
}

/** One token of the frame on screen, in shares of the picture. */
function cellOf({ trace, frame }) {
  const { rows, cols } = trace.frames[frame];
  return [1 / cols, 1 / rows];
}

function mountDrag(layer, store) {
  let from = null;
  const at = (event) => {
    const box = layer.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  };
  layer.addEventListener("pointerdown", (event) => {
    from = at(event);
    layer.setPointerCapture(event.pointerId);
    event.preventDefault();
    layer.focus({ preventScroll: true });
  });
  layer.addEventListener("pointermove", (event) => {
    if (from) store.set({ region: regionBetween(from, at(event), Math.min(...cellOf(store.state))) });
  });
  layer.addEventListener("pointerup", (event) => {
    if (!from) return;
    const region = regionBetween(from, at(event), Math.min(...cellOf(store.state)));
    from = null;
    store.set({ region, marking: false });
  });
  layer.addEventListener("pointercancel", () => (from = null));
}

/** Arrows move the rectangle by a token, with Shift its lower right corner; Enter keeps it, Delete lets it go. */
function mountKeys(layer, store) {
  layer.addEventListener("keydown", (event) => {
    const { region, trace } = store.state;
    if (!trace) return;
    if (["Enter", "Escape"].includes(event.key)) {
      event.preventDefault();
      store.set({ marking: false, region: region ?? (event.key === "Enter" ? MIDDLE : null) });
      /** @type {HTMLElement} */ (document.querySelector(".fx-film [data-ref=mark]"))?.focus({ preventScroll: true });
    } else if (["Delete", "Backspace"].includes(event.key)) {
      event.preventDefault();
      store.set({ region: null });
    } else if (event.key in STEPS) {
      event.preventDefault();
      event.stopPropagation();
      store.set({ region: region ? moved(region, STEPS[event.key], cellOf(store.state), event.shiftKey) : MIDDLE });
    }
  });
}

/** The rectangle a step further, held within the picture; with `grow` only its lower right corner moves. */
/** @param {any} region @param {number[]} way @param {number[]} cell @param {boolean} grow */
export function moved(region, [right, down], [w, h], grow) {
  const { x0, y0, x1, y1 } = region;
  if (grow)
    return regionBetween([x0, y0], [Math.max(x0 + w, x1 + right * w), Math.max(y0 + h, y1 + down * h)], Math.min(w, h));
  const dx = Math.min(1 - x1, Math.max(-x0, right * w));
  const dy = Math.min(1 - y1, Math.max(-y0, down * h));
  return { x0: x0 + dx, y0: y0 + dy, x1: x1 + dx, y1: y1 + dy };
}
