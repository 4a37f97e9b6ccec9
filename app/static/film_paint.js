// Paints a small frame's tokens straight into pixels: at this size thousands of rectangles take one frame time as canvas
// calls, and a fraction of it as writes to an array. Pure functions of numbers.

import { VEILED } from "./look.js";
import { ROLE } from "./plan.js";

const SMALL = 8; // lines that a token must be wide and high to carry an edge

/** "#rrggbb" or "rgb(r g b)" and an opacity -> one pixel of ImageData seen as Uint32Array (little-endian). */
export function pixel(color, opacity = 1) {
  const hex = /^#(..)(..)(..)$/.exec(color);
  const parts = hex ? hex.slice(1).map((h) => parseInt(h, 16)) : (color.match(/[\d.]+/g) ?? [0, 0, 0]).map(Number);
  const [r, g, b] = parts;
  return ((Math.round(255 * opacity) << 24) | (b << 16) | (g << 8) | r) >>> 0;
}

/** Where the tokens of one frame lie on a canvas `width` pixels wide: {index, box, width, height}, see geometry.js. */
export function thumbGeometry(trace, list, frame, width) {
  const grid = trace.frames[frame];
  const scale = width / grid.width;
  const box = new Int32Array(list.length * 4);
  list.forEach((i, at) => trace.tokens.rect[i].forEach((v, side) => (box[at * 4 + side] = Math.round(v * scale))));
  return { index: list, box, width, height: Math.round(grid.height * scale) };
}

/** Colours of one look, as pixels. palette: focus, scan, kept, halo. */
export function inksOf(palette, veil) {
  const [focus, scan, kept, halo] = ["focus", "scan", "kept", "halo"].map((name) => pixel(palette[name]));
  return {
    focus,
    scan,
    kept,
    halo,
    wash: pixel(palette.focus, 0.4),
    washes: { focus: pixel(palette.focus, 0.62), scan: pixel(palette.scan, 0.5), kept: pixel(palette.kept, 0.5) },
    dropped: pixel(veil, VEILED.dropped),
    merged: pixel(veil, VEILED.merged),
  };
}

/**
 * data: Uint32Array of width x height pixels, cleared here. look: { roles, absorbed, foreign, layers, inks, line } or
 * { heat: a pixel for every token }. Focus: a thick edge over a wash; Scan: a thin edge; an anchor: a white middle;
 * an anchor with tokens of other frames: a white middle with a dark heart. Tokens too small for edges are washed over.
 */
export function paintThumb(data, { index, box, width, height }, look) {
  data.fill(0);
  const fill = (x0, y0, x1, y1, ink) => {
    const [left, right] = [Math.max(0, x0), Math.min(width, x1)];
    for (let y = Math.max(0, y0); y < Math.min(height, y1); y++) data.fill(ink, y * width + left, y * width + right);
  };
  for (let slot = 0; slot < index.length; slot++) {
    const b = slot * 4;
    const token = index[slot];
    if (look.heat) fill(box[b], box[b + 1], box[b + 2], box[b + 3], look.heat[token]);
    else paintToken(fill, box, b, token, look);
  }
}

function paintToken(fill, box, b, token, { roles, absorbed, foreign, layers, inks, line }) {
  const [x0, y0, x1, y1] = [box[b], box[b + 1], box[b + 2], box[b + 3]];
  const role = roles[token];
  if (role === ROLE.DROPPED) return void (layers.has("dropped") && fill(x0, y0, x1, y1, inks.dropped));
  if (role === ROLE.MERGED) {
    fill(x0, y0, x1, y1, inks.merged);
    if (layers.has("merged") && Math.min(x1 - x0, y1 - y0) >= SMALL * line) dot(fill, x0, y0, x1, y1, line, inks.scan);
    return;
  }
  const name = role === ROLE.FOCUS ? "focus" : role === ROLE.SCAN ? "scan" : "kept";
  if (!layers.has(name)) return;
  const small = Math.min(x1 - x0, y1 - y0) < SMALL * line;
  if (small) fill(x0, y0, x1, y1, inks.washes[name]);
  else {
    if (role === ROLE.FOCUS) fill(x0, y0, x1, y1, inks.wash);
    edge(fill, x0, y0, x1, y1, role === ROLE.FOCUS ? 2 * line : line, inks[name]);
  }
  if (role !== ROLE.SCAN || !absorbed[token]) return;
  dot(fill, x0, y0, x1, y1, small ? line : 2 * line, inks.halo);
  if (foreign[token] && !small) dot(fill, x0, y0, x1, y1, line, inks.scan);
}

function edge(fill, x0, y0, x1, y1, w, ink) {
  fill(x0, y0, x1, y0 + w, ink);
  fill(x0, y1 - w, x1, y1, ink);
  fill(x0, y0 + w, x0 + w, y1 - w, ink);
  fill(x1 - w, y0 + w, x1, y1 - w, ink);
}

/** A square in the middle of a token, `half` pixels to each side. */
function dot(fill, x0, y0, x1, y1, half, ink) {
  const [x, y] = [(x0 + x1) >> 1, (y0 + y1) >> 1];
  fill(Math.max(x0, x - half), Math.max(y0, y - half), Math.min(x1, x + half), Math.min(y1, y + half), ink);
}
