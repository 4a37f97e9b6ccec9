// The film panel: play and scrub, the filmstrip, kept tokens over time, a region's life. All in the browser.

import { ROLE } from "./plan.js";
import { HALO } from "./look.js";
import { percent, sig3 } from "./format.js";
import { SCORES } from "./describe.js";
import { countOf, foreignOf, framesOf, keptByFrame, meanByFrame, tokensByFrame, tokensInRegion } from "./life.js";
import { SPEEDS, clock, nameOf, shownFor, stepFrame } from "./film_time.js";
import { mountStrip } from "./film_strip.js";
import { makeBars, makeLine } from "./film_chart.js";
import { goTo, mountScrub } from "./scrub.js";
import { el, fill, refs, setText, toggle } from "./dom.js";

const REDUCED = window.matchMedia("(prefers-reduced-motion: reduce)");

export function mountFilm(root, store) {
  const at = refs(root);
  let palette = readPalette(root); // reading styles makes the browser compute them: not at every repaint
  const strip = mountStrip(at, store, () => palette);
  store.on(["trace", "pictures", "clip"], (state) => {
    const frames = framesOf(state);
    const shown = frames.length > 1;
    toggle(at.film, shown);
    document.body.classList.toggle("fx-clip", shown);
    if (!shown) store.set({ playing: false, marking: false });
    setText(at.wrap, `All ${frames.length}`);
    const clip = state.trace?.clip ?? state.clip;
    setText(at.about, shown && clip ? aboutText(clip, frames) : "");
  });
  store.on(["frame", "trace"], ({ frame }) => strip.show(frame));
  store.when("theme", () => ((palette = readPalette(root)), strip.paint()));
  mountPlay(at, store);
  mountKept(at, store);
  mountLife(at, store);
  mountNumbers(at, store);
  mountKeys(root, store);
  at.wrap.addEventListener("click", () => {
    const on = at.strip.classList.toggle("fx-strip-all");
    at.wrap.setAttribute("aria-pressed", String(on));
    if (!on) strip.show(store.state.frame);
  });
}

function readPalette(root) {
  const style = getComputedStyle(root);
  const read = (name) => style.getPropertyValue(`--fx-${name}`).trim();
  return { focus: read("focus"), scan: read("scan"), kept: read("kept"), halo: HALO };
}

function aboutText({ name, width, height, fps, count, decoder, duration, sampled }, frames) {
  const file = [name, `${width} × ${height}`, `${sig3(duration)}\u202fs`, `${sig3(fps)} frames a second`]
    .filter(Boolean)
    .join(" · ");
  const numbers = frames.map((f) => f.index);
  const few = numbers.length > 8 ? [...numbers.slice(0, 3), "…", ...numbers.slice(-2)] : numbers;
  const read = { decord: "decord", opencv: "OpenCV" }[decoder] ?? decoder;
  const together =
    sampled > frames.length
      ? ` The model reads several as one: the first of each ${Math.ceil(sampled / frames.length)} is shown.`
      : "";
  return `${file}. ${sampled} of ${count} frames sampled (${few.join(", ")}), read with ${read}.${together}`;
}

// -- time

function mountPlay(at, store) {
  let timer = 0;
  let due = 0;
  const next = () => {
    const { frame } = store.state;
    const last = frame >= framesOf(store.state).length - 1;
    if (last && REDUCED.matches) store.set({ playing: false });
    else store.set({ frame: last ? 0 : frame + 1, cursor: -1 });
  };
  store.on(["playing", "speed", "frame"], (state, keys) => {
    const { playing, frame, speed } = state;
    const frames = framesOf(state);
    clearTimeout(timer);
    at.playicon.dataset.state = playing ? "playing" : "paused";
    at.play.setAttribute("aria-label", playing ? "Pause" : "Play");
    if (!playing || !frames.length) return;
    const now = performance.now();
    if (keys.has("playing") || keys.has("speed")) due = now;
    const again = keys.has("playing") && frame >= frames.length - 1;
    due = again ? now : Math.max(due + shownFor(frames, frame, speed), now); // a frame that is drawn late makes the rest late
    timer = setTimeout(again ? () => store.set({ frame: 0, cursor: -1 }) : next, due - now);
  });
  at.play.addEventListener("click", () => flipPlay(store));
  fill(at.speed, ...SPEEDS.map((s) => el("option", { value: s, selected: s === 1 }, `${s === 0.5 ? "½" : s}\u202f×`)));
  at.speed.addEventListener("change", () => store.set({ speed: Number(at.speed.value) }));
  store.on(["frame", "trace", "pictures", "clip"], (state) => {
    const { trace, frame } = state;
    const frames = framesOf(state);
    if (!frames[frame]) return;
    const duration = (trace?.clip ?? state.clip)?.duration;
    const long = duration >= 60;
    const all = clock(duration, long);
    setText(at.now, clock(frames[frame].time, long));
    setText(at.of, `${all ? `of ${all} · ` : ""}frame ${frame + 1} of ${frames.length}`);
  });
}

export function flipPlay(store) {
  if (framesOf(store.state).length > 1) store.set({ playing: !store.state.playing, cursor: -1 });
}

/** Space plays; arrows, Home and End go from frame to frame where nothing else wants them. */
function mountKeys(root, store) {
  const wanted = (target) =>
    target === document.body || (root.contains(target) && !target.closest("select, summary, .fx-scroll"));
  document.addEventListener("keydown", (event) => {
    const { frame } = store.state;
    const n = framesOf(store.state).length;
    if (!n || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const target = /** @type {HTMLElement} */ (event.target);
    if (event.key === " ") {
      if (target.closest("button, a, input, textarea, select, summary, [contenteditable], dialog")) return;
      event.preventDefault();
      flipPlay(store);
      return;
    }
    const to = {
      ArrowLeft: frame - 1,
      ArrowRight: frame + 1,
      Home: 0,
      End: n - 1,
      PageUp: frame - 4,
      PageDown: frame + 4,
    }[event.key];
    if (to === undefined || !wanted(target)) return;
    if (target === document.body && event.key.startsWith("Page")) return;
    event.preventDefault();
    goTo(store, stepFrame(n, to, 0));
  });
}

// -- kept tokens over time

const KEYS = [
  ["focus", "focus"],
  ["scan", "scan"],
  ["kept", "kept"],
  ["ties", "anchors"],
  ["foreign", "across frames"],
];

const HINTS = {
  anchors: "kept tokens that absorbed dropped ones",
  "across frames": "anchors with a dashed ring hold tokens of other frames",
};

function mountKept(at, store) {
  const bars = makeBars(92, true);
  const keys = KEYS.map(([swatch, word]) =>
    el(
      "span",
      { "data-part": word, title: HINTS[word] ?? null },
      el("i", { class: `fx-key fx-key-${swatch}`, "aria-hidden": "true" }),
      el("span", {}, word),
    ),
  );
  fill(at.axis, bars.root);
  fill(at.keys, ...keys);
  let hovered = -1;
  const say = () => {
    const { trace, view, frame } = store.state;
    const f = hovered >= 0 ? hovered : frame;
    if (!trace?.clip || !trace.frames[f]) return;
    const words = (long) =>
      `frame ${f + 1}, ${nameOf(trace.frames, f)}${view ? `: ${columnText(keptByFrame(view, trace)[f], view, long)}` : ""}`;
    setText(at.readout, words(false));
    at.axis.setAttribute("aria-valuetext", `${words(true)}, of ${trace.frames.length} frames`);
  };
  const drawAll = () => {
    const { trace, view, frame, mode } = store.state;
    toggle(at.kept, Boolean(view) && mode !== "compare");
    if (!trace?.clip || !view || mode === "compare") return;
    bars.resize(at.axis.clientWidth, trace.frames);
    bars.draw(keptByFrame(view, trace));
    bars.go(frame);
  };
  store.on(["trace", "mode"], drawAll);
  store.on(["view"], (state) => {
    if (!state.trace?.clip || state.mode === "compare") return;
    if (at.kept.hidden === Boolean(state.view)) return void drawAll();
    if (!state.view) return;
    bars.draw(keptByFrame(state.view, state.trace));
    const staged = !state.view.counts[ROLE.KEPT];
    for (const key of keys)
      toggle(
        key,
        staged !== (key.dataset.part === "kept") || (key.dataset.part === "anchors" && state.view.anchors > 0),
      );
    const across = foreignOf(state.view, state.trace).reduce((sum, held) => sum + (held > 0), 0);
    toggle(keys.at(-1), across > 0);
    setText(keys.at(-1).lastChild, `${across} across frames`);
  });
  store.on(["frame", "trace"], ({ trace, frame }) => {
    if (!trace?.clip) return;
    bars.go(frame);
    at.axis.setAttribute("aria-valuemax", String(trace.frames.length));
    at.axis.setAttribute("aria-valuenow", String(frame + 1));
  });
  store.on(["frame", "trace", "view"], say);
  new ResizeObserver(drawAll).observe(at.axis);
  mountScrub(at.axis, store, (frame) => ((hovered = frame), say()));
}

function columnText({ focus, scan, anchors, kept, merged }, view, long) {
  const holds = anchors && long ? `, ${anchors} of them anchors` : "";
  if (view.counts[ROLE.KEPT]) return `${kept} kept${holds}${view.counts[ROLE.MERGED] ? `, ${merged} merged` : ""}`;
  return `${focus} focus + ${scan} scan${holds}, ${merged} merged`;
}

// -- a region's life

function mountLife(at, store) {
  const kept = makeBars(50, false);
  const lines = Object.fromEntries(["saliency", "relevance"].map((name) => [name, makeLine(34)]));
  const row = (title, chart) =>
    el(
      "div",
      { class: "fx-life-row" },
      el("span", { title: "mean over the region's tokens" }, title),
      el("div", { class: "fx-axis-of" }, chart.root),
    );
  const rows = {
    kept: row("kept", kept),
    ...Object.fromEntries(
      Object.entries(lines).map(([name, line]) => [name, row(`mean ${SCORES[name].label.toLowerCase()}`, line)]),
    ),
  };
  fill(at.liferows, ...Object.values(rows));
  let of = { lists: [] };
  const shownIn = ({ trace, region, mode }) => Boolean(trace?.clip && region) && mode !== "compare";

  at.mark.addEventListener("click", () => store.set({ marking: !store.state.marking, playing: false }));
  at.unmark.addEventListener(
    "click",
    () => (store.set({ region: null, marking: false }), at.mark.focus({ preventScroll: true })),
  );
  const drawAll = () => {
    const { state } = store;
    const shown = shownIn(state);
    toggle(at.life, shown || (state.marking && state.mode !== "compare"));
    toggle(at.mark, Boolean(state.trace) && state.mode !== "compare");
    toggle(at.unmark, Boolean(state.region) && state.mode !== "compare");
    at.row.classList.toggle("fx-has-region", shown);
    at.mark.setAttribute("aria-pressed", String(state.marking));
    toggle(at.liferows, shown);
    if (!shown) {
      if (state.marking)
        setText(
          at.lifetext,
          "Drag a rectangle on the picture, or use the arrow keys: with Shift they change its size, Enter keeps it.",
        );
      return;
    }
    const { trace, region, frame } = state;
    of = { lists: tokensInRegion(trace, region) };
    for (const [name, value] of Object.entries(region)) at.row.style.setProperty(`--${name}`, value);
    const width = kept.root.parentNode.clientWidth;
    kept.resize(width, trace.frames);
    for (const [name, line] of Object.entries(lines)) {
      const values = trace.scores?.[name];
      toggle(rows[name], Boolean(values));
      if (!values) continue;
      line.resize(width, trace.frames);
      line.draw(meanByFrame(values, of.lists));
      line.go(frame);
    }
    kept.go(frame);
    drawKept(state);
  };
  const drawKept = (state) => {
    if (!shownIn(state) || !state.view) return;
    const columns = of.lists.map((list) => countOf(state.view, list));
    kept.draw(columns);
    setText(at.lifetext, lifeText(columns, of.lists, state.frame));
  };
  store.on(["region", "marking", "trace", "mode"], drawAll);
  store.on(["view", "frame"], drawKept);
  store.on(["frame"], ({ frame }) => [kept, ...Object.values(lines)].forEach((chart) => chart.go(frame)));
  new ResizeObserver(drawAll).observe(at.liferows);
}

function lifeText(columns, lists, frame) {
  const size = lists[frame].length;
  const sum = columns.reduce((all, c) => all + c.all, 0);
  const total = lists.reduce((all, list) => all + list.length, 0);
  const alive = columns.filter((c) => c.all).length;
  const now = `${columns[frame].all} of ${size} kept in this frame`;
  return `Region: ${now}; ${sum} of ${total} over time (${percent(total ? sum / total : 0)}), in ${alive} of ${columns.length} frames.`;
}

// -- the same in numbers

function mountNumbers(at, store) {
  const draw = ({ trace, view, region, mode }) => {
    toggle(at.numbers, Boolean(trace?.clip && view) && mode !== "compare");
    if (!at.numbers.open || at.numbers.hidden) return;
    const staged = !view.counts[ROLE.KEPT];
    const merges = staged || view.anchors > 0;
    const parts = [...(staged ? ["focus", "scan"] : ["kept"]), ...(merges ? ["anchors", "merged"] : []), "dropped"];
    const lists = region ? tokensInRegion(trace, region) : null;
    const foreign = foreignOf(view, trace);
    const held = tokensByFrame(trace).map((list) => list.reduce((sum, i) => sum + foreign[i], 0));
    const head = [
      "Frame",
      "Time",
      ...parts,
      ...(merges ? ["from other frames"] : []),
      ...(lists ? ["kept in region"] : []),
    ];
    const body = keptByFrame(view, trace).map((c, f) => [
      `${f + 1}`,
      clock(trace.frames[f].time),
      ...parts.map((p) => c[p]),
      ...(merges ? [held[f]] : []),
      ...(lists ? [`${countOf(view, lists[f]).all} of ${lists[f].length}`] : []),
    ]);
    fill(
      at.table,
      el("thead", {}, el("tr", {}, ...head.map((h) => el("th", { scope: "col" }, h)))),
      el(
        "tbody",
        {},
        ...body.map(([first, ...cells]) =>
          el("tr", {}, el("th", { scope: "row" }, first), ...cells.map((c) => el("td", {}, c))),
        ),
      ),
    );
  };
  store.on(["trace", "view", "region", "mode"], draw);
  at.numbers.addEventListener("toggle", () => draw(store.state));
}

// -- taking it away

/** What a film, or a sheet, is made from: one method of the record on screen, with its answers. */
export function savedOf({ trace, answers, method, view }, kind) {
  const keys = ["full", `${method}@${view.budget}`];
  const known = Object.fromEntries(Object.entries(answers).filter(([key]) => keys.includes(key)));
  const small = { methods: { [method]: trace.methods[method] }, scores: {}, answers: known };
  return { kind, key: keys[1], budget: view.budget, method, trace: JSON.stringify({ ...trace, ...small }) };
}
