// What the Why tab adds to a painted canvas: a line to the nearest kept token. It reads a plain scene, as paint.js does.

import { center } from "../geometry.js";
import { nearestKept } from "./sketch.js";

/** The marks of what is on screen. @param {{ trace: any, view: any, cursor: number }} about */
export function marksOf({ trace, view, cursor }) {
  const found = trace && view ? nearestKept(trace, view, cursor) : null;
  return { nearest: found && { token: cursor, to: found.token } };
}

/**
 * marks: { nearest: { token, to } | null }
 * @param {CanvasRenderingContext2D} ctx @param {any} geometry @param {any} scene
 */
export function paintMarks(ctx, geometry, { marks, pixel }) {
  if (marks?.nearest) paintNearest(ctx, geometry, marks.nearest, pixel);
}

/** Dashed from the token to a ring around the one that is most like it; only the ring where the first is elsewhere. */
function paintNearest(ctx, geometry, { token, to }, pixel) {
  const [from, end] = [center(geometry, token), center(geometry, to)];
  if (!from || !end) return;
  const radius = Math.max(4 * pixel, Math.min(geometry.cell, 40 * pixel) * 0.42);
  const length = Math.hypot(end[0] - from[0], end[1] - from[1]);
  const share = Math.max(0, length - radius) / (length || 1);
  const stop = [from[0] + (end[0] - from[0]) * share, from[1] + (end[1] - from[1]) * share];
  /** @type {[string, number, number[]][]} */
  const strokes = [
    ["#000", 3.5, []],
    ["#fff", 1.75, [5 * pixel, 3 * pixel]],
  ];
  ctx.save();
  for (const [color, width, dash] of strokes) {
    ctx.strokeStyle = color;
    ctx.lineWidth = width * pixel;
    ctx.setLineDash(dash);
    ctx.beginPath();
    ctx.moveTo(from[0], from[1]);
    ctx.lineTo(stop[0], stop[1]);
    ctx.stroke();
    ctx.setLineDash([]);
    ctx.beginPath();
    ctx.arc(end[0], end[1], radius, 0, 2 * Math.PI);
    ctx.stroke();
  }
  ctx.restore();
}
