// Paints one step of the playback: what `paint` does, and the grid of tokens or a frame around those that just entered.

import { paint } from "../paint.js";

/** @param {CanvasRenderingContext2D} ctx @param {any} geometry @param {any} scene as of `paint`, with grid and newest */
export function paintStep(ctx, geometry, scene) {
  paint(ctx, geometry, scene);
  if (scene.grid) paintGrid(ctx, geometry, scene.pixel);
  if (scene.newest?.length) paintNewest(ctx, geometry, scene);
}

/** A dark and a light hairline around every token: seen on any picture. */
function paintGrid(ctx, { index, box }, pixel) {
  const line = Math.max(1, Math.round(pixel));
  for (const [color, shift] of /** @type {[string, number][]} */ ([
    ["rgb(0 0 0 / .6)", 0],
    ["rgb(255 255 255 / .85)", line],
  ])) {
    ctx.fillStyle = color;
    for (let slot = 0; slot < index.length; slot++) {
      const b = slot * 4;
      ctx.fillRect(box[b] + shift, box[b + 1], line, box[b + 3] - box[b + 1]);
      ctx.fillRect(box[b], box[b + 1] + shift, box[b + 2] - box[b], line);
    }
  }
}

function paintNewest(ctx, { at, box }, { newest, pixel }) {
  for (const [color, width] of /** @type {[string, number][]} */ ([
    ["#000", 6],
    ["#fff", 3],
  ])) {
    ctx.strokeStyle = color;
    ctx.lineWidth = width * pixel;
    for (const token of newest) {
      if (at[token] < 0) continue;
      const b = at[token] * 4;
      const grow = 3 * pixel;
      ctx.strokeRect(
        box[b] - grow,
        box[b + 1] - grow,
        box[b + 2] - box[b] + 2 * grow,
        box[b + 3] - box[b + 1] + 2 * grow,
      );
    }
  }
}
