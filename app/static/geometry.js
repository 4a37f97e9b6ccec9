// Where the tokens of one view lie on a canvas. Device pixels throughout, so that every edge is crisp.

import { around, isIn, tilesOf, windowOf } from "./views.js";

/** Picture pixels -> device pixels for the tokens of `frame`, or of one tile of it; `width` is the canvas' width in
 *  device pixels. borders: around every tile of a mosaic. */
export function makeGeometry(trace, frame, width, tile = -1) {
  const grid = trace.frames[frame];
  const [left, top, right, bottom] = windowOf(trace, frame, tile);
  const scale = width / (right - left);
  const { tokens } = trace;
  const index = [];
  for (let i = 0; i < tokens.n; i++) if (tokens.rect[i] && isIn(tokens, i, frame, tile)) index.push(i);
  const onCanvas = (v, side) => Math.round((v - (side % 2 ? top : left)) * scale);
  const box = new Int32Array(index.length * 4);
  index.forEach((i, at) => tokens.rect[i].forEach((v, side) => (box[at * 4 + side] = onCanvas(v, side))));
  const at = new Int32Array(tokens.n).fill(-1);
  index.forEach((i, slot) => (at[i] = slot));
  const [x0, y0, x1, y1] = grid.seen.map(onCanvas);
  const cell = index.length ? Math.min(box[2] - box[0], box[3] - box[1]) : width / grid.cols;
  const size = { width, height: Math.round((bottom - top) * scale) };
  const tiles = tile < 0 ? tilesOf(tokens, frame) : [];
  const borders = tiles.length > 1 ? tiles.map((one) => around(tokens, frame, one).map(onCanvas)) : [];
  return {
    frame,
    tile,
    scale,
    borders,
    index,
    at,
    box,
    cell,
    seen: { x0, y0, x1, y1 },
    next: neighbours(tokens, index),
    ...size,
  };
}

/** Tokens left of, above, right of and below each token: 4 per slot, -1 at the border. Other tilings have none. */
function neighbours(tokens, index) {
  const place = new Map();
  const key = (row, col) => row * 100003 + col;
  for (const i of index) place.set(key(tokens.row[i], tokens.col[i]), i);
  const next = new Int32Array(index.length * 4);
  index.forEach((i, slot) => {
    const [r, c] = [tokens.row[i], tokens.col[i]];
    const around = [key(r, c - 1), key(r - 1, c), key(r, c + 1), key(r + 1, c)];
    around.forEach((k, side) => (next[slot * 4 + side] = place.get(k) ?? -1));
  });
  return next;
}

/** The token under a point in device pixels, -1 if none. Later tokens lie on top. */
export function tokenAt(geometry, x, y) {
  const { box, index } = geometry;
  for (let slot = index.length - 1; slot >= 0; slot--) {
    const b = slot * 4;
    if (x >= box[b] && x < box[b + 2] && y >= box[b + 1] && y < box[b + 3]) return index[slot];
  }
  return -1;
}

/** The token whose middle is nearest to a point: there may be none under it. */
function nearest(geometry, x, y) {
  const distance = (token) => Math.hypot(...center(geometry, token).map((v, axis) => v - (axis ? y : x)));
  return geometry.index.reduce((best, token) => (distance(token) < distance(best) ? token : best));
}

export function center(geometry, token) {
  const b = geometry.at[token] * 4;
  if (b < 0) return null;
  const { box } = geometry;
  return [(box[b] + box[b + 2]) / 2, (box[b + 1] + box[b + 3]) / 2];
}

/** The token one step away (arrow keys); the token itself at the border. Starts in the middle of the grid. */
export function step(geometry, token, side) {
  if (!geometry.index.length) return -1;
  if (token < 0 || geometry.at[token] < 0) return nearest(geometry, geometry.width / 2, geometry.height / 2);
  const other = geometry.next[geometry.at[token] * 4 + side];
  return other >= 0 ? other : token;
}
