// What if, on the picture: a click forces one token, a drag all tokens of a rectangle; K and X force the one under the
// cursor.

import { tokenAt } from "../geometry.js";
import { el } from "../dom.js";

export const MODES = { keep: "in", drop: "out", clear: "" };
const FAR = 5; // CSS pixels that make a drag of a click

/** Tokens that a rectangle touches, given in device pixels. */
export function tokensWithin({ index, at, box }, [x0, y0], [x1, y1]) {
  const [left, right] = [Math.min(x0, x1), Math.max(x0, x1)];
  const [top, bottom] = [Math.min(y0, y1), Math.max(y0, y1)];
  return index.filter((i) => {
    const b = at[i] * 4;
    return box[b] < right && box[b + 2] > left && box[b + 1] < bottom && box[b + 3] > top;
  });
}

/** @param {{ canvas: HTMLCanvasElement, picture: HTMLElement }} at @param {{ geometry: any }} stage @param {any} store */
export function mountMarking(at, stage, store) {
  const active = mountDrag(at, stage, store);
  store.on(["tab", "whatIf"], () => {
    at.canvas.dataset.marking = active() ? store.state.whatIf.mode : "";
  });
}

/** The drag alone, for the small pictures of the compare view, too. @returns {() => boolean} whether one may begin */
export function mountDrag({ canvas, picture }, stage, store) {
  const band = el("i", { class: "fx-marquee", "aria-hidden": "true", hidden: true });
  picture.append(band);
  let from = null;
  const active = () =>
    store.state.tab === "why" && Object.hasOwn(MODES, store.state.whatIf.mode) && Boolean(stage.geometry);
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const scaled = (point) => point.map((v) => (v * canvas.width) / canvas.getBoundingClientRect().width);
  const end = (event, done) => {
    if (!from) return;
    const [start, to] = [from, at(event)];
    from = null;
    band.hidden = true;
    if (!done) return;
    const far = Math.hypot(to[0] - start[0], to[1] - start[1]) > FAR;
    const one = tokenAt(stage.geometry, .../** @type {[number, number]} */ (scaled(to)));
    const tokens = far ? tokensWithin(stage.geometry, scaled(start), scaled(to)) : one < 0 ? [] : [one];
    store.act("force", { tokens, way: MODES[store.state.whatIf.mode], flip: !far });
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (!active() || event.button > 0) return;
    from = at(event);
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!from) return;
    const to = at(event);
    band.hidden = false;
    Object.assign(band.style, {
      left: `${Math.min(from[0], to[0])}px`,
      top: `${Math.min(from[1], to[1])}px`,
      width: `${Math.abs(to[0] - from[0])}px`,
      height: `${Math.abs(to[1] - from[1])}px`,
    });
  });
  canvas.addEventListener("pointerup", (event) => end(event, true));
  canvas.addEventListener("pointercancel", (event) => end(event, false));
  return active;
}
