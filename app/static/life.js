// Tokens through time: how many each frame keeps, what anchors hold of other frames, the life of a region.
// Pure functions of a trace and a view, but for memory of the last results. No DOM.

import { ROLE } from "./plan.js";

const NONE = [];
const uploaded = new WeakMap(); // pictures -> frames
const frames = new WeakMap(); // trace.tokens -> tokens of each frame
const counts = new WeakMap(); // view -> kept of each frame
const strangers = new WeakMap(); // view -> tokens of other frames in each anchor

/** The sampled frames of the clip on screen: of its trace or, before there is one, of what was uploaded. None of pictures. */
export function framesOf({ trace, pictures }) {
  if (trace) return trace.clip ? trace.frames : NONE;
  if (pictures.length < 2) return NONE;
  if (!uploaded.has(pictures))
    uploaded.set(
      pictures,
      pictures.map(({ width, height, time, index }) => ({ width, height, time, index })),
    );
  return uploaded.get(pictures);
}

/** Tokens of the grid of every frame, as Int32Array each, in the order of the tokens. */
export function tokensByFrame(trace) {
  const { tokens } = trace;
  if (!frames.has(tokens)) {
    const found = trace.frames.map(() => []);
    for (let i = 0; i < tokens.n; i++) if (tokens.rect[i]) found[tokens.frame ? tokens.frame[i] : 0].push(i);
    frames.set(
      tokens,
      found.map((list) => Int32Array.from(list)),
    );
  }
  return frames.get(tokens);
}

/** Of every frame: tokens by role (dropped, merged, kept, scan, focus), `anchors` among them, `holding` those among
 *  kept, and `all` that are kept. */
export function keptByFrame(view, trace) {
  if (!counts.has(view))
    counts.set(
      view,
      tokensByFrame(trace).map((list) => countOf(view, list)),
    );
  return counts.get(view);
}

/** Roles of a list of tokens, counted. */
export function countOf(view, list) {
  const { roles, refine } = view;
  const found = [0, 0, 0, 0, 0];
  let [anchors, holding] = [0, 0];
  for (let at = 0; at < list.length; at++) {
    const i = list[at];
    found[roles[i]]++;
    if (!refine.absorbed[i]) continue;
    anchors++;
    if (roles[i] === ROLE.KEPT) holding++; // of a method without stages
  }
  const [dropped, merged, kept, scan, focus] = found;
  return { dropped, merged, kept, scan, focus, anchors, holding, all: kept + scan + focus };
}

/** For every token, how many tokens of other frames it absorbed. */
export function foreignOf(view, trace) {
  if (!strangers.has(view)) {
    const { frame, n } = trace.tokens;
    const found = new Uint16Array(n);
    const { anchor } = view.refine;
    if (frame)
      for (let i = 0; i < n; i++)
        if (view.roles[i] === ROLE.MERGED && frame[i] !== frame[anchor[i]]) found[anchor[i]]++;
    strangers.set(view, found);
  }
  return strangers.get(view);
}

/** What an anchor holds: its tokens, how many are of other frames, and which frames those are (from 0, ascending). */
export function heldBy(view, trace, anchor) {
  const { frame, n } = trace.tokens;
  const held = [];
  for (let i = 0; i < n; i++) if (view.roles[i] === ROLE.MERGED && view.refine.anchor[i] === anchor) held.push(i);
  const others = frame ? held.filter((i) => frame[i] !== frame[anchor]) : [];
  return {
    tokens: held,
    foreign: others.length,
    frames: [...new Set(others.map((i) => frame[i]))].sort((a, b) => a - b),
  };
}

/** "holds 14 tokens, 9 of them of other frames (2, 3, 5)"; nothing where the token holds none of other frames. */
export function holdsText(view, trace, anchor) {
  if (!view?.refine.absorbed[anchor] || !trace.tokens.frame) return "";
  const { tokens, foreign, frames: of } = heldBy(view, trace, anchor);
  if (!foreign) return "";
  const all = `holds ${tokens.length} token${tokens.length > 1 ? "s" : ""}`;
  const some = foreign === tokens.length ? (foreign > 1 ? "all of them of" : "of") : `${foreign} of them of`;
  return `${all}, ${some} ${of.length > 1 ? "other frames" : "another frame"} (${of.map((f) => f + 1).join(", ")})`;
}

/** Tokens of every frame whose middle lies in the region; region: {x0, y0, x1, y1}, shares of the picture's size. */
export function tokensInRegion(trace, region) {
  return tokensByFrame(trace).map((list, f) => {
    const { width, height } = trace.frames[f];
    const [x0, x1, y0, y1] = [region.x0 * width, region.x1 * width, region.y0 * height, region.y1 * height];
    return list.filter((i) => {
      const [left, top, right, bottom] = trace.tokens.rect[i];
      const [x, y] = [(left + right) / 2, (top + bottom) / 2];
      return x >= x0 && x < x1 && y >= y0 && y < y1;
    });
  });
}

/** Mean of a score over the tokens of every frame; null where a frame has none. */
export function meanByFrame(values, lists) {
  return lists.map((list) => {
    if (!list.length) return null;
    let sum = 0;
    for (const i of list) sum += values[i];
    return sum / list.length;
  });
}

/** A region between two points in shares of the picture, at least `least` wide and high, within the picture. */
/** @param {number[]} from @param {number[]} to @param {number} [least] */
export function regionBetween([ax, ay], [bx, by], least = 0) {
  const clamp = (v) => Math.min(1, Math.max(0, v));
  const span = (a, b) => {
    const [low, high] = [clamp(Math.min(a, b)), clamp(Math.max(a, b))];
    if (high - low >= least) return [low, high];
    const from = Math.min(low, 1 - least);
    return [from, from + least];
  };
  const [[x0, x1], [y0, y1]] = [span(ax, bx), span(ay, by)];
  return { x0, y0, x1, y1 };
}
