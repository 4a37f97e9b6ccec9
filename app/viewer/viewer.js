// A saved view as one file: the same canvas, slider, cards and playback as the page's, from the data in the file alone.

import { VIRIDIS_GRADIENT } from "../static/color.js";
import { SCORES, describe, endsOf, facts, heatOf, neverEncoded, place, roleName, splitOf } from "../static/describe.js";
import { el, fill, refs, setText, toggle } from "../static/dom.js";
import { makeGeometry, step as stepTo, tokenAt } from "../static/geometry.js";
import { paintStep } from "../static/lecture/paint_step.js";
import { sceneAt, stepsOf, textOf } from "../static/lecture/steps.js";
import { foreignOf } from "../static/life.js";
import { HALO, ROLES, VEIL_ON_BRIGHT } from "../static/look.js";
import { ROLE, snapBudget, viewAt } from "../static/plan.js";
import { LAYERS } from "../static/store.js";
import { veilOver } from "../static/veil.js";
import { pictureOf, placeImage, viewsOf, windowOf } from "../static/views.js";
import { because } from "../static/why/sentences.js";

const STEP_MS = 350;
const SIDES = { ArrowLeft: 0, ArrowUp: 1, ArrowRight: 2, ArrowDown: 3 };
const SHOWN = [
  ["focus", "Focus", "needed for the question"],
  ["scan", "Scan", "context"],
  ["kept", "Kept", "reaches the language model"],
  ["merged", "Merged", "averaged into an anchor"],
  ["dropped", "Dropped", "never reaches it"],
];

/** @type {any} */
const data = JSON.parse(document.getElementById("fsr-data").textContent);
const { trace, pictures } = data;
const at = refs(document.body);
const n = trace.tokens.n;
const quiet = matchMedia("(prefers-reduced-motion: reduce)").matches;
const methods = Object.keys(trace.methods);
const state = {
  trace,
  pictures,
  answers: trace.answers ?? {},
  method: methods.includes(data.method) ? data.method : methods[0],
  budget: data.budget || Math.max(1, Math.round(n / 9)),
  frame: 0,
  tile: -1,
  layer: "roles",
  layers: new Set(LAYERS),
  cursor: -1,
  playback: null,
  view: null,
  geometry: null,
  veil: VEIL_ON_BRIGHT,
};

/** The view follows the budget, everything on the page follows the view. */
function show() {
  const plan = trace.methods[state.method]?.plan ?? null;
  state.view = plan ? viewAt(plan, n, state.budget) : null;
  const { view } = state;
  setText(at.count, String(view?.budget ?? n));
  const split = view ? splitOf(view) : "";
  setText(at.split, split && `· ${split}`);
  fill(
    at.legend,
    ...SHOWN.filter(([name]) => view?.counts[ROLE[name.toUpperCase()]]).map(([name, label, help]) =>
      el(
        "li",
        { class: name, title: help, style: `--c: ${ROLES[name] ?? "currentColor"}` },
        el("i", { "aria-hidden": "true" }),
        name === "dropped" && neverEncoded(trace, state.method) ? "Never encoded" : label,
        el("b", {}, view.counts[ROLE[name.toUpperCase()]]),
      ),
    ),
  );
  const steps = stepsOf(state);
  toggle(at.playback, steps.length > 0);
  at.scrub.max = String(Math.max(0, steps.length - 1));
  showAnswers();
  showCard();
  draw();
}

function showAnswers() {
  const full = state.answers.full;
  const budget = state.view?.budget ?? n;
  const known = Object.values(state.answers).filter((a) => a.method === state.method);
  const ours = known.sort((a, b) => Math.abs(a.budget - budget) - Math.abs(b.budget - budget))[0];
  const label = trace.methods[state.method]?.label ?? state.method;
  const told = [
    [`All ${n} tokens`, full],
    [ours ? `${label}, ${ours.budget} tokens` : label, ours],
  ];
  const same = full && ours && full.text.trim() === ours.text.trim();
  fill(
    at.answers,
    ...told.map(([title, answer]) =>
      el("article", {}, el("h2", {}, title), el("p", {}, answer ? answer.text || "(no text)" : "Not answered.")),
    ),
    full && ours ? el("p", { class: "verdict" }, same ? "The same answer." : "The answers differ.") : null,
  );
}

function showCard() {
  const { cursor, view } = state;
  if (cursor < 0) return fill(at.card, el("p", {}, "Point at a token, or use the arrow keys on the picture."));
  const why = because(state, cursor);
  fill(
    at.card,
    el("p", {}, el("b", {}, `#${cursor}`), view ? ` ${roleName(state, cursor)}` : ""),
    el("p", {}, place(trace, cursor)),
    why ? el("p", {}, why) : null,
    el("dl", {}, ...facts(state, cursor).flatMap(([label, value]) => [el("dt", {}, label), el("dd", {}, value)])),
  );
  at.canvas.setAttribute("aria-label", describe(state, cursor));
}

function fit() {
  const [x0, y0, x1, y1] = windowOf(trace, state.frame, state.tile);
  at.picture.style.aspectRatio = `${x1 - x0} / ${y1 - y0}`;
  placeImage(at.image, trace, state.frame, state.tile);
  at.image.classList.toggle("part", state.tile >= 0);
  const width = Math.round(at.picture.getBoundingClientRect().width * (devicePixelRatio || 1));
  if (width < 1) return;
  state.geometry = makeGeometry(trace, state.frame, width, state.tile);
  Object.assign(at.canvas, { width: state.geometry.width, height: state.geometry.height });
  draw();
}

function draw() {
  if (!state.geometry) return;
  const heat = state.layer === "roles" ? null : heatOf(trace, state.layer);
  toggle(at.scale, Boolean(heat));
  if (heat) endsOf(heat).forEach((text, i) => setText(i ? at.high : at.low, text));
  const foreign = trace.clip && state.view ? foreignOf(state.view, trace) : null;
  const { view, layers, cursor, veil } = state;
  const palette = { ...ROLES, halo: HALO };
  const crossed = neverEncoded(trace, state.method);
  const scene = {
    view,
    crossed,
    layers,
    heat,
    cursor,
    foreign,
    palette,
    veil,
    pixel: devicePixelRatio || 1,
    marks: null,
  };
  const played = state.playback === null ? null : sceneAt(state, state.playback);
  paintStep(at.canvas.getContext("2d"), state.geometry, { ...scene, ...played });
  Object.assign(at.canvas.dataset, { budget: view?.budget ?? "", cursor, method: state.method });
}

function look(frame, tile = -1) {
  Object.assign(state, { frame, tile, cursor: -1 });
  at.image.src = pictureOf(state, frame);
  [...at.frames.children].forEach((button) =>
    button.setAttribute("aria-pressed", String(button.dataset.at === `${frame}/${tile}`)),
  );
  fit();
  showCard();
}

function hold(cursor) {
  if (cursor === state.cursor) return;
  state.cursor = cursor;
  showCard();
  draw();
}

function play(step) {
  const steps = stepsOf(state);
  state.playback = step === null ? null : Math.max(0, Math.min(steps.length - 1, step));
  at.scrub.value = String(state.playback ?? 0);
  setText(at.step, state.playback === null ? "" : textOf(state, state.playback));
  draw();
}

let timer = 0;

function pause() {
  clearInterval(timer);
  timer = 0;
  setText(at.play, "▶ Play");
}

function run() {
  if (timer) return pause();
  const last = stepsOf(state).length - 1;
  if (state.playback === null || state.playback >= last) play(0);
  if (quiet) return play(state.playback + 1);
  setText(at.play, "❚❚ Pause");
  timer = window.setInterval(() => {
    play((state.playback ?? -1) + 1);
    if (state.playback >= last) pause();
  }, STEP_MS);
}

function mount() {
  setText(at.question, trace.question);
  document.title = trace.question;
  setText(at.about, `${trace.model.title}. Kept tokens, scores and answers as they were when this file was saved.`);
  setText(at.foot, "Saved from FSR Explorer. Nothing in this file asks a server or a network.");
  setText(at.total, String(n));
  at.gradient.style.background = VIRIDIS_GRADIENT;
  at.budget.max = String(n);
  at.budget.value = String(state.budget);
  fill(at.method, ...methods.map((name) => el("option", { value: name }, trace.methods[name].label)));
  at.method.value = state.method;
  const scores = Object.keys(SCORES).filter((name) => trace.scores[name]);
  fill(at.layer, ...["roles", ...scores].map((name) => el("option", { value: name }, SCORES[name]?.label ?? "Roles")));
  const views = viewsOf(trace);
  toggle(at.frames, views.length > 1);
  const buttons = views.map(({ frame, tile, label, name }) =>
    el(
      "button",
      { type: "button", "data-at": `${frame}/${tile}`, title: name, onclick: () => look(frame, tile) },
      label,
    ),
  );
  fill(at.frames, ...buttons);
  at.budget.addEventListener("input", () => {
    state.budget = snapBudget(trace.methods[state.method]?.plan, n, Number(at.budget.value));
    pause();
    play(null);
    show();
  });
  at.method.addEventListener("change", () => ((state.method = at.method.value), pause(), play(null), show()));
  at.layer.addEventListener("change", () => ((state.layer = at.layer.value), draw()));
  at.play.addEventListener("click", run);
  at.back.addEventListener("click", () => (pause(), play((state.playback ?? 0) - 1)));
  at.forward.addEventListener("click", () => (pause(), play((state.playback ?? -1) + 1)));
  at.scrub.addEventListener("input", () => (pause(), play(Number(at.scrub.value))));
  mountCanvas();
  at.image.addEventListener("load", () => ((state.veil = veilOver(at.image)), fit()));
  new ResizeObserver(fit).observe(at.picture);
  show();
  look(
    Math.max(
      0,
      trace.frames.findIndex((f) => f.part === "tiles"),
    ),
  );
}

function mountCanvas() {
  const pick = (event) => {
    const box = at.canvas.getBoundingClientRect();
    const scale = at.canvas.width / box.width;
    return tokenAt(state.geometry, (event.clientX - box.left) * scale, (event.clientY - box.top) * scale);
  };
  at.canvas.addEventListener("pointermove", (event) => hold(pick(event)));
  at.canvas.addEventListener("pointerdown", (event) => hold(pick(event)));
  at.canvas.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hold(-1);
    if (!(event.key in SIDES)) return;
    event.preventDefault();
    hold(stepTo(state.geometry, state.cursor, SIDES[event.key]));
  });
}

mount();
