// What a stop of a tour points at, and what it does to the view. The server has checked the file: known places, known
// actions, known values; here they are carried out.

import { endOf, stepsOf } from "../lecture/steps.js";

/** Where the places of a tour are on the page; the first that is there and shown is taken. `app/tours.py` names them. */
export const PLACES = {
  picture: ["#fx-stage .fx-picture"],
  budget: ["#fx-stage .fx-budget"],
  method: [".fx-rail .fx-method-line"],
  layers: [".fx-rail .fx-segments"],
  legend: [".fx-rail .fx-legend"],
  card: [".fx-rail .fx-card"],
  question: ["#fx-ask"],
  answers: ["#fx-answers .fx-pair"],
  costs: ["#fx-answers .fx-costs"],
  gallery: ["#fx-choose"],
  tabs: ["#fx-tabs"],
  playback: ["#fx-lecture [data-ref=player]"],
  modes: [".fx-modes"],
  sheet: ["#fx-compare .fx-sheet"],
  model: [".fx-model"],
  clip: ["#fx-film"],
};

/** How the page looks where no stop has said anything. */
const PLAIN = { layer: "roles", tab: "answer", mode: "one" };

/** Everything that the stops up to this one have said of the view: going back shows what was seen there. */
export function viewOfStop(stops, at) {
  const shows = stops.slice(0, at + 1).map((stop) => stop.show);
  const { playback = null, token = -1, frame } = stops[at].show; // these hold at their own stop alone
  return { ...Object.assign({ ...PLAIN }, ...shows), playback, token, frame };
}

/** The store's patch for a view, once the example is on the stage. */
export function patchOf(state, view) {
  const { method, methods, budget, layer, tab, mode, token, frame } = view;
  const n = state.trace?.tokens.n ?? 0;
  return {
    layer,
    tab,
    mode,
    cursor: token < n ? token : -1,
    ...(method ? { method } : {}),
    ...(methods ? { chosen: methods } : {}),
    ...(budget && n ? { budget: Math.min(budget, n) } : {}),
    ...(frame && frame <= (state.trace?.frames.length ?? 0) ? { frame: frame - 1 } : {}),
  };
}

/** The step that a stop asks for: a number, or the end of a stage; null where the method has none. */
export function stepOf(state, playback) {
  const steps = stepsOf(state);
  if (playback === null || !steps.length) return null;
  const at = typeof playback === "number" ? Math.min(playback, steps.length - 1) : endOf(steps, playback);
  return at < 0 ? null : at;
}

/** Where a card of this size goes beside a target: right, left, below, above, else over its lower corner. */
export function besides(target, card, room, gap = 14) {
  const clamp = (v, size, all) => Math.max(8, Math.min(v, all - size - 8));
  const top = clamp(target.top, card.height, room.height);
  if (target.right + gap + card.width + 8 <= room.width) return { left: target.right + gap, top };
  if (target.left - gap - card.width >= 8) return { left: target.left - gap - card.width, top };
  const left = clamp(target.left, card.width, room.width);
  if (target.bottom + gap + card.height + 8 <= room.height) return { left, top: target.bottom + gap };
  if (target.top - gap - card.height >= 8) return { left, top: target.top - gap - card.height };
  return {
    left: clamp(target.right - card.width - gap, card.width, room.width),
    top: clamp(target.bottom - card.height - gap, card.height, room.height),
  };
}
