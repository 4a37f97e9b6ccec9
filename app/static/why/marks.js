// What the Why tab adds to a painted canvas: a layer of what was measured, places and rings, forced tokens, and a line to
// the nearest kept token. It reads a plain scene, as paint.js does.

import { center } from "../geometry.js";
import { isForced } from "./forced.js";
import { nearestKept } from "./sketch.js";

/** The marks of what is on screen. layer: see layer.js.
 *  @param {{ trace: any, view: any, cursor: number, forced?: any }} about @param {any} [layer] */
export function marksOf({ trace, view, cursor, forced }, layer = null) {
  const found = trace && view ? nearestKept(trace, view, cursor) : null;
  return {
    nearest: found && { token: cursor, to: found.token },
    forced: forced && isForced(forced) ? forced : null,
    layer,
  };
}

/** @param {CanvasRenderingContext2D} ctx @param {any} geometry @param {any} scene */
export function paintMarks(ctx, geometry, { marks, pixel }) {
  if (!marks) return;
  for (const token of marks.layer?.rings ?? []) paintRing(ctx, geometry, token, pixel);
  for (const { token, text } of marks.layer?.labels ?? []) paintLabel(ctx, geometry, token, text, pixel);
  for (const token of marks.forced?.in ?? []) paintForced(ctx, geometry, token, true, pixel);
  for (const token of marks.forced?.out ?? []) paintForced(ctx, geometry, token, false, pixel);
  if (marks.nearest) paintNearest(ctx, geometry, marks.nearest, pixel);
}

/** The colours of a layer, under all outlines. @param {CanvasRenderingContext2D} ctx @param {any} geometry @param {any} layer */
export function paintLayer(ctx, { index, box }, { colors }) {
  for (let slot = 0; slot < index.length; slot++) {
    const color = colors[index[slot]];
    if (!color) continue;
    const b = slot * 4;
    const [w, h] = [box[b + 2] - box[b], box[b + 3] - box[b + 1]];
    ctx.clearRect(box[b], box[b + 1], w, h);
    ctx.globalAlpha = 0.86;
    ctx.fillStyle = color;
    ctx.fillRect(box[b], box[b + 1], w, h);
  }
  ctx.globalAlpha = 1;
}

const cellOf = (geometry, pixel) => Math.min(geometry.cell, 40 * pixel);

/** A place as a number on a dark disc. */
function paintLabel(ctx, geometry, token, text, pixel) {
  const middle = center(geometry, token);
  if (!middle) return;
  const radius = Math.max(6 * pixel, cellOf(geometry, pixel) * 0.34);
  disc(ctx, middle, radius, "#fff");
  disc(ctx, middle, radius - 1.25 * pixel, "#111");
  ctx.fillStyle = "#fff";
  ctx.font = `600 ${Math.round(radius * 1.15)}px sans-serif`;
  ctx.textAlign = "center";
  ctx.textBaseline = "middle";
  ctx.fillText(text, middle[0], middle[1] + radius * 0.06);
}

/** A token that would have saved the answer: a dashed frame and a plus. */
function paintRing(ctx, geometry, token, pixel) {
  const b = geometry.at[token] * 4;
  if (b < 0) return;
  const { box } = geometry;
  ctx.save();
  for (const [color, width, dash] of /** @type {[string, number, number[]][]} */ ([
    ["#000", 4, []],
    ["#fff", 2, [4 * pixel, 3 * pixel]],
  ])) {
    ctx.strokeStyle = color;
    ctx.lineWidth = width * pixel;
    ctx.setLineDash(dash);
    ctx.strokeRect(box[b], box[b + 1], box[b + 2] - box[b], box[b + 3] - box[b + 1]);
  }
  ctx.restore();
  cross(ctx, center(geometry, token), cellOf(geometry, pixel) * 0.2, pixel, false);
}

/** Kept by hand: a pin. Dropped by hand: a cross. */
function paintForced(ctx, geometry, token, isIn, pixel) {
  const middle = center(geometry, token);
  if (!middle) return;
  const size = Math.max(4 * pixel, cellOf(geometry, pixel) * 0.3);
  if (isIn) paintPin(ctx, middle, size, pixel);
  else cross(ctx, middle, size, pixel, true);
}

/** @param {CanvasRenderingContext2D} ctx @param {number[]} middle @param {number} size @param {number} pixel */
function paintPin(ctx, [x, y], size, pixel) {
  const head = size * 0.62;
  const top = y - size * 0.4;
  ctx.beginPath();
  ctx.arc(x, top, head, Math.PI * 0.85, Math.PI * 0.15);
  ctx.lineTo(x, y + size * 1.05);
  ctx.closePath();
  ctx.fillStyle = "#fff";
  ctx.strokeStyle = "#000";
  ctx.lineWidth = 1.5 * pixel;
  ctx.fill();
  ctx.stroke();
  disc(ctx, [x, top], head * 0.4, "#000");
}

/** An x (`leaning`) or a plus, white on black. */
function cross(ctx, middle, size, pixel, leaning) {
  if (!middle) return;
  const [x, y] = middle;
  const arms = leaning
    ? [
        [-size, -size, size, size],
        [-size, size, size, -size],
      ]
    : [
        [-size, 0, size, 0],
        [0, -size, 0, size],
      ];
  for (const [color, width] of /** @type {[string, number][]} */ ([
    ["#000", 5],
    ["#fff", 2.25],
  ])) {
    ctx.strokeStyle = color;
    ctx.lineWidth = width * pixel;
    ctx.beginPath();
    for (const [x0, y0, x1, y1] of arms) {
      ctx.moveTo(x + x0, y + y0);
      ctx.lineTo(x + x1, y + y1);
    }
    ctx.stroke();
  }
}

/** @param {CanvasRenderingContext2D} ctx @param {number[]} middle @param {number} radius @param {string} color */
function disc(ctx, [x, y], radius, color) {
  ctx.beginPath();
  ctx.arc(x, y, radius, 0, 2 * Math.PI);
  ctx.fillStyle = color;
  ctx.fill();
}

/** Dashed from the token to a ring around the one that is most like it; nothing where one of them is elsewhere. */
function paintNearest(ctx, geometry, { token, to }, pixel) {
  const [from, end] = [center(geometry, token), center(geometry, to)];
  if (!from || !end) return;
  const radius = Math.max(4 * pixel, cellOf(geometry, pixel) * 0.42);
  const length = Math.hypot(end[0] - from[0], end[1] - from[1]);
  const share = Math.max(0, length - radius) / (length || 1);
  ctx.save();
  for (const [color, width, dash] of /** @type {[string, number, number[]][]} */ ([
    ["#000", 3.5, []],
    ["#fff", 1.75, [5 * pixel, 3 * pixel]],
  ])) {
    ctx.strokeStyle = color;
    ctx.lineWidth = width * pixel;
    ctx.setLineDash(dash);
    ctx.beginPath();
    ctx.moveTo(from[0], from[1]);
    ctx.lineTo(from[0] + (end[0] - from[0]) * share, from[1] + (end[1] - from[1]) * share);
    ctx.stroke();
    ctx.setLineDash([]);
    ctx.beginPath();
    ctx.arc(end[0], end[1], radius, 0, 2 * Math.PI);
    ctx.stroke();
  }
  ctx.restore();
}
