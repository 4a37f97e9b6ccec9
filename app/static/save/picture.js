// The picture on screen as a file: with its tokens or its heat, what they mean, and where all of it comes from.

import { sides } from "../answers.js";
import { viridis } from "../color.js";
import { endsOf, SCORES } from "../describe.js";
import { linkTo, nameOf, save } from "../export.js";
import { clock } from "../film_time.js";
import { isNumber, sig3 } from "../format.js";
import { makeGeometry } from "../geometry.js";
import { stepsOf } from "../lecture/steps.js";
import { GROUND, HALO, ROLES, VEILED } from "../look.js";
import { paint } from "../paint.js";
import { ROLE } from "../plan.js";
import { sceneOf } from "../stage.js";
import { viewsOf, windowOf } from "../views.js";
import { diverging } from "../why/diverging.js";
import { LAYERS } from "../why/layer.js";
import { wordScale } from "../words/scale.js";
import { withWords } from "./png.js";

const WIDTH = 1344; // pixels of the exported picture
const [LINE, PAD] = [38, 24];
const [INK, FAINT] = ["#111111", "#444444"];
const FONT = "26px 'IBM Plex Sans', sans-serif";

/** The picture with its tokens, and below it scale, legend, question, settings and both answers; settings inside, too. */
export function savePng(state, stage) {
  drawPicture(state, stage)?.toBlob(async (blob) => {
    if (!blob) return;
    const bytes = withWords(new Uint8Array(await blob.arrayBuffer()), wordsOf(state));
    save(nameOf(state, "png"), new Blob([/** @type {BlobPart} */ (bytes)], { type: "image/png" }));
  }, "image/png");
}

/** What the file says of itself, by name. */
export function wordsOf(state) {
  const { trace, view, method } = state;
  const layer = drawnLayer(state);
  const { full, ours } = sides(state);
  return {
    Software: "FSR Explorer",
    Question: trace.question,
    Model: trace.model.title,
    Method: labelOf(state),
    Parameters: parametersOf(trace.methods[method]?.parameters),
    Budget: view ? `${view.budget} of ${trace.tokens.n} visual tokens` : "",
    Layer: wordScale(state)?.text ?? (SCORES[layer] ?? LAYERS[layer])?.label ?? "",
    "Answer with all tokens": full?.text ?? "",
    Answer: ours ? `${ours.text} (${ours.budget} tokens)` : "",
    Source: linkTo(state),
  };
}

/** "alpha 3, beta 1" of a method's parameters; what is unset is left out. */
export function parametersOf(parameters) {
  const words = Object.entries(parameters ?? {}).filter(([, value]) => value !== null && value !== undefined);
  return words
    .map(([name, value]) => `${name.replaceAll("_", " ")} ${isNumber(value) ? Number(value.toPrecision(3)) : value}`)
    .join(", ");
}

function labelOf({ trace, method }) {
  return trace.methods[method]?.label ?? method;
}

export function drawPicture(state, stage) {
  if (!state.trace) return null;
  const geometry = makeGeometry(state.trace, state.frame, WIDTH, state.tile);
  const scene = { ...sceneOf(state, stage, 2), cursor: -1, palette: { ...ROLES, halo: HALO } };
  const lines = caption(state);
  const canvas = document.createElement("canvas");
  canvas.width = geometry.width;
  const measured = scene.marks?.layer;
  const below = [scene.heat || measured ? LINE : 0, state.view ? LINE + 8 : 0];
  canvas.height = geometry.height + 40 + below[0] + below[1] + LINE * lines.length;
  const overlay = document.createElement("canvas");
  overlay.width = geometry.width;
  overlay.height = geometry.height;
  paint(overlay.getContext("2d"), geometry, scene);
  const ctx = canvas.getContext("2d");
  ctx.fillStyle = "#ffffff";
  ctx.fillRect(0, 0, canvas.width, canvas.height);
  ctx.imageSmoothingQuality = "high";
  const [x0, y0, x1, y1] = windowOf(state.trace, state.frame, state.tile);
  const { image } = stage.at;
  const file = image.naturalWidth / state.trace.frames[state.frame].width; // pixels of the file for one of the picture
  const from = [x0, y0, x1 - x0, y1 - y0].map((v) => v * file);
  ctx.drawImage(image, from[0], from[1], from[2], from[3], 0, 0, geometry.width, geometry.height);
  ctx.drawImage(overlay, 0, 0);
  ctx.font = FONT;
  let y = geometry.height + 50;
  if (scene.heat || measured) (drawScale(ctx, scaleOf(state, scene), y), (y += below[0]));
  if (state.view) (drawLegend(ctx, state, scene, y), (y += below[1]));
  for (const [text, color] of lines) {
    ctx.fillStyle = color;
    ctx.fillText(text, PAD, y, geometry.width - 2 * PAD);
    y += LINE;
  }
  return canvas;
}

/** The layer on the picture; during a playback what its step shows, which may be none. */
const drawnLayer = (state) => (state.playback === null ? state.layer : stepsOf(state)[state.playback].stage);

/** What lies on the picture: a word's map, a step's or the layer's score, or what was measured; its colours and ends. */
function scaleOf(state, { heat, marks }) {
  const word = wordScale(state);
  if (word) return { ...word, text: `${word.text}:` };
  if (heat) {
    const layer = drawnLayer(state);
    const [low, high] = endsOf(heat);
    const kind = heat.kind === "log" ? "logarithmic" : "linear";
    return { text: `${SCORES[layer].label} ${SCORES[layer].letter}, ${kind}:`, low, high, signed: false };
  }
  const { label, help } = LAYERS[state.layer];
  const most = sig3(marks.layer.reach);
  return { text: `${label}, ${help}:`, low: `−${most}`, high: `+${most} nats`, signed: true };
}

function drawScale(ctx, { text, low, high, signed }, y) {
  let x = write(ctx, text, PAD, y, INK) + 24;
  x = Math.round(write(ctx, low, x, y, FAINT)) + 12;
  for (let i = 0; i < 320; i++) {
    ctx.fillStyle = signed ? diverging((2 * i) / 319 - 1) : viridis(i / 319);
    ctx.fillRect(x + i, y - 20, 1, 22);
  }
  write(ctx, high, x + 332, y, FAINT);
}

const SIGNS = [
  ["focus", "Focus"],
  ["scan", "Scan"],
  ["kept", "kept"],
  ["anchors", "anchors"],
  ["merged", "merged"],
  ["dropped", "dropped"],
];

/** What occurs, each with its sign and its number. */
function drawLegend(ctx, { view }, { heat, veil }, y) {
  let x = PAD;
  for (const [name, label] of SIGNS) {
    const count = name === "anchors" ? view.anchors : view.counts[ROLE[name.toUpperCase()]];
    if (!count || (heat && name === "dropped")) continue; // no veil lies under heat
    drawSign(ctx, name, x, y - 22, veil);
    x = write(ctx, `${label} ${count}`, x + 36, y, INK) + 34;
  }
}

function drawSign(ctx, name, x, y, veil) {
  const size = 26;
  if (name === "merged" || name === "dropped") {
    ctx.fillStyle = GROUND;
    ctx.fillRect(x, y, size, size);
    ctx.globalAlpha = VEILED[name];
    ctx.fillStyle = veil;
    ctx.fillRect(x, y, size, size);
    ctx.globalAlpha = 1;
    if (name === "merged") (dot(ctx, x, y, 6, HALO), dot(ctx, x, y, 4.5, ROLES.scan));
    return;
  }
  const color = ROLES[name] ?? ROLES.scan;
  ctx.strokeStyle = color;
  ctx.lineWidth = 4;
  ctx.strokeRect(x + 2, y + 2, size - 4, size - 4);
  if (name === "anchors") (dot(ctx, x, y, 8, ROLES.scan), dot(ctx, x, y, 6.5, HALO), dot(ctx, x, y, 3.5, ROLES.scan));
  if (name !== "focus") return;
  ctx.fillStyle = color;
  ctx.beginPath();
  for (const [dx, dy] of [
    [0, 0],
    [15, 0],
    [0, 15],
  ])
    ctx.lineTo(x + dx, y + dy);
  ctx.fill();
}

function dot(ctx, x, y, radius, color) {
  ctx.fillStyle = color;
  ctx.beginPath();
  ctx.arc(x + 13, y + 13, radius, 0, 2 * Math.PI);
  ctx.fill();
}

/** Writes a word and tells where it ends. */
function write(ctx, text, x, y, color) {
  ctx.fillStyle = color;
  ctx.fillText(text, x, y);
  return x + ctx.measureText(text).width;
}

/** Lines of words with their colours. */
function caption(state) {
  const { view, trace, method } = state;
  const lines = [[`“${trace.question}”`, INK]];
  if (trace.clip)
    lines.push([`Frame ${state.frame + 1} of ${trace.frames.length}, ${clock(trace.frames[state.frame].time)}`, INK]);
  if (view) {
    const views = viewsOf(trace);
    const name = views.find((v) => v.frame === state.frame && v.tile === state.tile)?.name.toLowerCase();
    const drawn = views.length > 1 ? ` (drawn: ${name})` : "";
    lines.push([`${labelOf(state)}, ${view.budget} of ${trace.tokens.n} visual tokens${drawn}`, INK]);
  }
  const { full, ours } = sides(state);
  if (full) lines.push([`All ${trace.tokens.n}: ${full.text}`, INK]);
  if (ours) lines.push([`${ours.budget} tokens: ${ours.text}`, INK]);
  const parameters = view ? parametersOf(trace.methods[method]?.parameters) : "";
  lines.push([[trace.model.title, parameters].filter(Boolean).join(" · "), FAINT]);
  return lines;
}
