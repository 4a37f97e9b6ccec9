// A chart over the sampled frames as the axis of time: press or drag on it to go to a frame.

import { framesOf } from "./life.js";
import { frameAt } from "./film_time.js";

/** Another frame on the stage, by hand: playing ends. */
export function goTo(store, frame) {
  if (framesOf(store.state).length) store.set({ frame, playing: false, cursor: -1 });
}

/** Press or drag to go to a frame; hovering tells of one, -1 of none. */
export function mountScrub(axis, store, hover) {
  const frameOf = (event) => {
    const box = axis.getBoundingClientRect();
    return frameAt(event.clientX - box.left, box.width, framesOf(store.state).length || 1);
  };
  axis.addEventListener("pointerdown", (event) => {
    axis.setPointerCapture(event.pointerId);
    goTo(store, frameOf(event));
  });
  axis.addEventListener("pointermove", (event) => {
    if (event.buttons) goTo(store, frameOf(event));
    hover(event.pointerType === "mouse" ? frameOf(event) : -1);
  });
  axis.addEventListener("pointerleave", () => hover(-1));
}
