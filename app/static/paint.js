// Draws one frame's tokens on a 2D context: veil, heat, roles, anchors, ties. It reads a plain scene and keeps no state.
// fillRect is used for every straight edge: at thousands of edges it is several times faster than stroking a path.

import { ROLE } from "./plan.js";
import { center } from "./geometry.js";
import { heatColors } from "./color.js";
import { CROSSED, CROSS_INSET, HEAT_OPACITY, PAIR, VEILED } from "./look.js";
import { paintLayer, paintMarks } from "./why/marks.js";

/**
 * scene: { view, layers: Set of shown layer names, heat: values and their scale | null, cursor: token | -1, ties: bool,
 *          palette: {focus, scan, kept, halo}, veil: "rgb(...)", crossed: whether dropped tokens are crossed out, pixel: device pixels per CSS pixel,
 *          foreign: how many tokens of other frames each token absorbed, or null, marks: see why/marks.js }
 */
export function paint(ctx, geometry, scene) {
  ctx.clearRect(0, 0, geometry.width, geometry.height);
  if (scene.heat) paintHeat(ctx, geometry, scene.heat);
  else if (scene.view && scene.layers.has("dropped")) paintVeil(ctx, geometry, scene);
  if (scene.crossed && scene.view && scene.layers.has("dropped")) paintCrossed(ctx, geometry, scene);
  if (scene.marks?.layer) paintLayer(ctx, geometry, scene.marks.layer);
  paintUnseen(ctx, geometry, scene);
  paintBorders(ctx, geometry, scene);
  if (!scene.view) return void (scene.cursor >= 0 && paintCursor(ctx, geometry, scene));
  paintRole(ctx, geometry, scene, ROLE.KEPT, "kept");
  paintRole(ctx, geometry, scene, ROLE.SCAN, "scan");
  paintRole(ctx, geometry, scene, ROLE.FOCUS, "focus");
  if (scene.layers.has("merged")) paintMerged(ctx, geometry, scene);
  if (scene.layers.has("ties")) paintTies(ctx, geometry, scene, () => true);
  if (scene.layers.has("scan")) paintAnchors(ctx, geometry, scene);
  paintMarks(ctx, geometry, scene);
  if (scene.cursor >= 0) paintCursor(ctx, geometry, scene);
}

/** Two selections apart. scene: as `paint`, with `one` and `other`, the views. Both: outlined; one: corners; other: discs. */
export function paintPair(ctx, geometry, scene) {
  const { one, other, pixel } = scene;
  ctx.clearRect(0, 0, geometry.width, geometry.height);
  const kept = (view, i) => view.roles[i] >= ROLE.KEPT;
  const roles = Uint8Array.from(one.roles, (_, i) => (kept(one, i) ? 1 : 0) + (kept(other, i) ? 2 : 0));
  paintVeil(ctx, geometry, { ...scene, view: { roles: roles.map((r) => (r ? ROLE.KEPT : ROLE.DROPPED)) } });
  paintUnseen(ctx, geometry, scene);
  paintBorders(ctx, geometry, scene);
  const { box, index } = geometry;
  const line = Math.max(1, Math.round(1.5 * pixel));
  index.forEach((i, slot) => {
    if (!roles[i]) return;
    ctx.fillStyle = PAIRED[roles[i]];
    edges(ctx, geometry, roles, slot, line, line);
    const b = slot * 4;
    const size = Math.min(geometry.cell, 40 * pixel);
    if (roles[i] === 1) corners(ctx, geometry, slot, Math.round(size * 0.62));
    if (roles[i] === 2) (disc(ctx, center(geometry, i), size * 0.26), ctx.fill());
    if (roles[i] === 3) {
      ctx.globalAlpha = 0.35;
      ctx.fillRect(box[b], box[b + 1], box[b + 2] - box[b], box[b + 3] - box[b + 1]);
      ctx.globalAlpha = 1;
    }
  });
  if (scene.cursor >= 0) paintCursor(ctx, geometry, scene);
}

const PAIRED = ["", PAIR.one, PAIR.other, PAIR.both]; // only the first, only the second, both

const LAYER = ["dropped", "merged", "kept", "scan", "focus"]; // by role number

function paintVeil(ctx, { index, box, seen }, { view, layers, veil }) {
  ctx.globalAlpha = VEILED.dropped;
  ctx.fillStyle = veil;
  ctx.fillRect(seen.x0, seen.y0, seen.x1 - seen.x0, seen.y1 - seen.y0);
  for (let slot = 0; slot < index.length; slot++) {
    const role = view.roles[index[slot]];
    if (role === ROLE.DROPPED || !layers.has(LAYER[role])) continue;
    const b = slot * 4;
    ctx.clearRect(box[b], box[b + 1], box[b + 2] - box[b], box[b + 3] - box[b + 1]);
    if (role !== ROLE.MERGED) continue;
    ctx.globalAlpha = VEILED.merged;
    ctx.fillRect(box[b], box[b + 1], box[b + 2] - box[b], box[b + 3] - box[b + 1]);
    ctx.globalAlpha = VEILED.dropped;
  }
  ctx.globalAlpha = 1;
}

/** What never entered the vision tower: each dropped token with a cross from corner to corner. */
function paintCrossed(ctx, { index, box, cell }, { view, pixel }) {
  const inset = Math.round(Math.min(cell, 40 * pixel) * CROSS_INSET);
  ctx.beginPath();
  for (let slot = 0; slot < index.length; slot++) {
    if (view.roles[index[slot]] !== ROLE.DROPPED) continue;
    const b = slot * 4;
    const [x0, y0, x1, y1] = [box[b] + inset, box[b + 1] + inset, box[b + 2] - inset, box[b + 3] - inset];
    ctx.moveTo(x0, y0);
    ctx.lineTo(x1, y1);
    ctx.moveTo(x0, y1);
    ctx.lineTo(x1, y0);
  }
  ctx.strokeStyle = CROSSED;
  ctx.lineWidth = Math.max(1, pixel);
  ctx.stroke();
}

function paintHeat(ctx, { index, box }, heat) {
  const colors = heatColors(heat.values, heat);
  ctx.globalAlpha = HEAT_OPACITY;
  for (let slot = 0; slot < index.length; slot++) {
    const b = slot * 4;
    ctx.fillStyle = colors[index[slot]];
    ctx.fillRect(box[b], box[b + 1], box[b + 2] - box[b], box[b + 3] - box[b + 1]);
  }
  ctx.globalAlpha = 1;
}

/** What the model never saw (a crop's outside): hatched. */
function paintUnseen(ctx, { seen, width, height }, { veil, pixel }) {
  if (seen.x0 <= 0 && seen.y0 <= 0 && seen.x1 >= width && seen.y1 >= height) return;
  const around = [
    [0, 0, width, seen.y0],
    [0, seen.y1, width, height - seen.y1],
    [0, seen.y0, seen.x0, seen.y1 - seen.y0],
    [seen.x1, seen.y0, width - seen.x1, seen.y1 - seen.y0],
  ];
  ctx.save();
  ctx.beginPath();
  for (const [x, y, w, h] of around) if (w > 0 && h > 0) ctx.rect(x, y, w, h);
  ctx.clip();
  ctx.globalAlpha = VEILED.unseen;
  ctx.fillStyle = veil;
  ctx.fillRect(0, 0, width, height);
  ctx.globalAlpha = 0.35;
  ctx.strokeStyle = CROSSED;
  ctx.lineWidth = pixel;
  ctx.beginPath();
  for (let x = -height; x < width; x += 9 * pixel) {
    ctx.moveTo(x, height);
    ctx.lineTo(x + height, 0);
  }
  ctx.stroke();
  ctx.restore();
}

/** Where the tiles of a mosaic meet: dashed in light on dark, so that they show on any picture. */
function paintBorders(ctx, { borders }, { pixel }) {
  if (!borders.length) return;
  ctx.save();
  ctx.lineWidth = 2 * pixel;
  for (const [color, dash] of [
    ["rgb(0 0 0 / .75)", []],
    ["#fff", [6 * pixel, 6 * pixel]],
  ]) {
    ctx.strokeStyle = color;
    ctx.setLineDash(dash);
    for (const [x0, y0, x1, y1] of borders) ctx.strokeRect(x0, y0, x1 - x0, y1 - y0);
  }
  ctx.restore();
}

/** Outline of every token of a role: a thick line around a group, a hairline inside it; Focus adds solid corners. */
function paintRole(ctx, geometry, scene, role, layer) {
  if (!scene.layers.has(layer)) return;
  const { roles } = scene.view;
  const wanted = Math.min(geometry.cell, 40 * scene.pixel) * (role === ROLE.FOCUS ? 0.1 : 0.065);
  const thick = Math.round(Math.max(1.5 * scene.pixel, wanted));
  const slots = [];
  for (let slot = 0; slot < geometry.index.length; slot++) if (roles[geometry.index[slot]] === role) slots.push(slot);
  const hair = Math.max(1, Math.round(scene.pixel * 0.75));
  ctx.fillStyle = scene.palette.halo;
  for (const slot of slots) edges(ctx, geometry, roles, slot, thick + hair, 0);
  ctx.fillStyle = scene.palette[layer];
  for (const slot of slots) edges(ctx, geometry, roles, slot, thick, hair);
  if (role === ROLE.FOCUS)
    for (const slot of slots)
      corners(ctx, geometry, slot, Math.round(Math.min(geometry.cell, 40 * scene.pixel) * 0.36));
}

/** Sides of one token: `thick` towards other roles, `thin` towards its own. */
function edges(ctx, { box, index, next }, roles, slot, thick, thin) {
  const b = slot * 4;
  const [x0, y0, x1, y1] = [box[b], box[b + 1], box[b + 2], box[b + 3]];
  const role = roles[index[slot]];
  for (let side = 0; side < 4; side++) {
    const other = next[b + side];
    const w = other >= 0 && roles[other] === role ? thin : thick;
    if (w === 0) continue;
    if (side === 0) ctx.fillRect(x0, y0, w, y1 - y0);
    else if (side === 1) ctx.fillRect(x0, y0, x1 - x0, w);
    else if (side === 2) ctx.fillRect(x1 - w, y0, w, y1 - y0);
    else ctx.fillRect(x0, y1 - w, x1 - x0, w);
  }
}

function corners(ctx, { box }, slot, size) {
  const b = slot * 4;
  const [x, y] = [box[b], box[b + 1]];
  ctx.beginPath();
  ctx.moveTo(x, y);
  ctx.lineTo(x + size, y);
  ctx.lineTo(x, y + size);
  ctx.fill();
}

/** @param {CanvasRenderingContext2D} ctx @param {number[]} middle @param {number} radius */
function disc(ctx, [x, y], radius) {
  ctx.beginPath();
  ctx.arc(x, y, radius, 0, 2 * Math.PI);
}

function paintMerged(ctx, geometry, { view, palette, pixel }) {
  const radius = Math.max(1.5 * pixel, Math.min(geometry.cell, 40 * pixel) * 0.09);
  for (const i of geometry.index) {
    if (view.roles[i] !== ROLE.MERGED) continue;
    disc(ctx, center(geometry, i), radius + pixel * 0.75);
    ctx.fillStyle = palette.halo;
    ctx.fill();
    disc(ctx, center(geometry, i), radius);
    ctx.fillStyle = palette.scan;
    ctx.fill();
  }
}

/** An anchor carries a white ring; its width grows with the number of tokens it absorbed. */
function paintAnchors(ctx, geometry, { view, palette, pixel, foreign }) {
  for (const i of geometry.index) {
    const absorbed = view.refine.absorbed[i];
    if (!absorbed) continue;
    const cell = Math.min(geometry.cell, 40 * pixel);
    const radius = cell * 0.24;
    const width = Math.min(cell * 0.2, pixel * (0.75 + 0.75 * absorbed));
    disc(ctx, center(geometry, i), radius + width / 2);
    ctx.fillStyle = palette.scan;
    ctx.fill();
    disc(ctx, center(geometry, i), radius);
    ctx.lineWidth = width;
    ctx.strokeStyle = palette.halo;
    ctx.stroke();
    if (foreign?.[i]) paintForeign(ctx, center(geometry, i), radius + width / 2 + 2 * pixel, pixel);
  }
}

/** A second, dashed ring: the anchor holds tokens of other frames. */
function paintForeign(ctx, middle, radius, pixel) {
  /** @type {[string, number, number[]][]} */
  const rings = [
    ["#000", 4, []],
    ["#fff", 2, [3 * pixel, 2.5 * pixel]],
  ];
  for (const [color, width, dash] of rings) {
    disc(ctx, middle, radius);
    ctx.setLineDash(dash);
    ctx.lineWidth = width * pixel;
    ctx.strokeStyle = color;
    ctx.stroke();
  }
  ctx.setLineDash([]);
}

/** Lines from merged tokens to their anchors, for those that `chosen` accepts. */
export function paintTies(ctx, geometry, { view, palette, pixel }, chosen) {
  for (const [color, width] of [
    [palette.halo, 3],
    [palette.scan, 1.5],
  ]) {
    ctx.strokeStyle = color;
    ctx.lineWidth = width * pixel;
    ctx.beginPath();
    for (const i of geometry.index) {
      if (view.roles[i] !== ROLE.MERGED || !chosen(i)) continue;
      const to = center(geometry, view.refine.anchor[i]);
      if (!to) continue;
      ctx.moveTo(...center(geometry, i));
      ctx.lineTo(...to);
    }
    ctx.stroke();
  }
}

/** The token under the cursor, and the lines that tie it to its anchor or to what it absorbed. */
function paintCursor(ctx, geometry, scene) {
  const { cursor, view, pixel } = scene;
  const b = geometry.at[cursor] * 4;
  if (b < 0) return;
  if (view) paintTies(ctx, geometry, scene, (i) => i === cursor || view.refine.anchor[i] === cursor);
  const { box } = geometry;
  /** @type {[string, number, number][]} */
  const frames = [
    ["#000", 2.5, 1.5],
    ["#fff", 1, 2],
  ];
  for (const [color, grow, width] of frames) {
    ctx.strokeStyle = color;
    ctx.lineWidth = width * pixel;
    const g = grow * pixel;
    ctx.strokeRect(box[b] - g, box[b + 1] - g, box[b + 2] - box[b] + 2 * g, box[b + 3] - box[b + 1] + 2 * g);
  }
}
