// The contact sheet: one small picture a method with what it keeps, its answer and its cost; then where they agree.

import { makeGeometry, step, tokenAt } from "./geometry.js";
import { paint, paintPair } from "./paint.js";
import { drawText, isRunning, sameText } from "./answers.js";
import { tunedText } from "./made.js";
import { entersAt, entriesOf, keptBy, keptCount, pairOf, roleOf } from "./comparing.js";
import { bytes, firstDifference, isNumber, milliseconds, reordered, spread } from "./format.js";
import { HALO, ROLES, VEIL_ON_BRIGHT } from "./look.js";
import { pictureOf, placeImage, windowOf } from "./views.js";
import { neverEncoded, place } from "./describe.js";
import { makeCellTime } from "./film_cells.js";
import { drawCount, drawPair, label } from "./sheet_shared.js";
import { measuredOf } from "./why/layer.js";
import { marksOf } from "./why/marks.js";
import { mountDrag } from "./why/whatif.js";
import { el, fill, setText, toggle } from "./dom.js";
import { hold, leave } from "./inspect.js";

const SHOWN = new Set(["focus", "scan", "kept", "merged", "dropped"]);
const LOOKS = { ...ROLES, halo: HALO };

export function mountSheet(at, store, config, stageOf) {
  const sheet = { cells: new Map(), geometry: null };
  const cellOf = (id, build) => {
    if (!sheet.cells.has(id)) sheet.cells.set(id, build());
    return sheet.cells.get(id);
  };

  function draw(state) {
    if (state.mode !== "compare") return;
    const entries = entriesOf(state, config);
    const pair = pairOf(state, entries);
    const cells = [cellOf("full", () => makeCell(store, sheet, "full"))];
    drawFull(cells[0], state);
    entries.forEach((entry, i) => {
      const cell = cellOf(`run${i}`, () => makeCell(store, sheet, "run"));
      drawRun(cell, state, entry, store);
      cells.push(cell);
    });
    if (entries.filter((e) => e.view).length > 1) {
      const count = cellOf("count", () => makeCell(store, sheet, "count"));
      drawCount(count, entries);
      cells.push(count);
    }
    if (pair) {
      const cell = cellOf("pair", () => makeCell(store, sheet, "pair"));
      drawPair(cell, entries, /** @type {[any, any]} */ (pair), store);
      cells.push(cell);
    }
    const nodes = cells.map((c) => c.node);
    if (nodes.length !== at.sheet.children.length || nodes.some((node, i) => node !== at.sheet.children[i]))
      at.sheet.replaceChildren(...nodes);
    const picture = pictureOf(state, state.frame);
    const [x0, y0, x1, y1] = state.trace
      ? windowOf(state.trace, state.frame, state.tile)
      : [0, 0, picture?.width, picture?.height];
    for (const cell of cells) {
      if (picture && cell.image.src !== picture.file.url) cell.image.src = picture.file.url;
      placeImage(cell.image, state.trace, state.frame, state.tile);
      if (picture) cell.mini.style.aspectRatio = `${x1 - x0} / ${y1 - y0}`;
    }
  }

  /** All pictures have one size, so one geometry serves them all. */
  function fit() {
    const { trace, frame, tile, mode } = store.state;
    const first = sheet.cells.get("full");
    if (mode !== "compare" || !trace || !first) return;
    const width = Math.round(first.mini.getBoundingClientRect().width * (window.devicePixelRatio || 1));
    if (width < 8) return;
    const known = sheet.geometry;
    if (known?.of !== trace || known.width !== width || known.frame !== frame || known.tile !== tile) {
      sheet.geometry = { ...makeGeometry(trace, frame, width, tile), of: trace };
    }
    for (const { canvas } of sheet.cells.values()) {
      if (canvas.width !== sheet.geometry.width || canvas.height !== sheet.geometry.height) {
        Object.assign(canvas, { width: sheet.geometry.width, height: sheet.geometry.height });
      }
    }
  }

  function repaint(state) {
    if (state.mode !== "compare" || !state.trace) return;
    fit();
    if (!sheet.geometry) return;
    const entries = entriesOf(state, config);
    const stage = stageOf();
    const scene = {
      view: null,
      heat: null,
      layers: SHOWN,
      cursor: state.cursor,
      palette: stage?.palette ?? LOOKS,
      veil: stage?.veil ?? VEIL_ON_BRIGHT,
      pixel: window.devicePixelRatio || 1,
    };
    const draw = (id, more) => {
      const cell = sheet.cells.get(id);
      if (!cell) return;
      paint(cell.canvas.getContext("2d"), sheet.geometry, { ...scene, ...more });
      cell.canvas.dataset.cursor = String(state.cursor);
    };
    draw("full", {});
    entries.forEach((entry, i) => {
      const cell = sheet.cells.get(`run${i}`);
      if (!cell) return; // chosen just now: its cell is made in the next frame
      draw(`run${i}`, {
        view: entry.view,
        crossed: neverEncoded(state.trace, entry.method),
        marks: marksOf(
          { ...state, view: entry.view },
          entry.view && measuredOf(state, { ...entry, budget: entry.view.budget }),
        ),
      });
      cell.time.draw(state, entry.view);
      Object.assign(cell.canvas.dataset, {
        method: entry.method,
        budget: entry.view?.budget ?? "",
        counts: entry.view?.counts.join(",") ?? "",
        layer: entry.layer,
      });
    });
    const with_ = entries.filter((e) => e.view);
    draw("count", { heat: { values: keptBy(entries, state.trace.tokens.n), min: 0, max: with_.length } });
    const pair = pairOf(state, entries);
    const cell = sheet.cells.get("pair");
    if (pair && cell)
      paintPair(cell.canvas.getContext("2d"), sheet.geometry, { ...scene, one: pair[0].view, other: pair[1].view });
  }

  const shape = [
    "mode",
    "trace",
    "frame",
    "tile",
    "pictures",
    "budget",
    "chosen",
    "arrange",
    "rowMethod",
    "layerAt",
    "pair",
    "problems",
    "forced",
  ];
  store.on([...shape, "answers", "aside", "edited", "status"], draw);
  store.on([...shape, "cursor", "veil", "layer", "study"], repaint);
  store.on(["cursor", "mode"], (state) => setText(at.linked, state.mode === "compare" ? sentence(state, config) : ""));
  new ResizeObserver(() => repaint(store.state)).observe(at.sheet);
  store.when("theme", () => repaint(store.state));
}

// -- the parts of one cell

function makeCell(store, sheet, kind) {
  const cell = {
    kind,
    letter: el("i", { class: "fx-letter", "aria-hidden": "true" }),
    title: el("h3"),
    count: el("span", { class: "fx-cell-count" }),
    tune: el("button", { type: "button", class: "fx-tune", "aria-haspopup": "dialog" }, "Tune"),
    image: el("img", { alt: "", draggable: "false" }),
    canvas: el("canvas", { tabindex: "0", role: "application", "aria-roledescription": "token canvas" }),
    badge: el("p", { class: "fx-cell-badge" }),
    tuned: el("p", { class: "fx-cell-tuned", hidden: true }),
    caution: el("p", { class: "fx-cell-caution", hidden: true }),
    text: el("p", { class: "fx-text" }),
    agree: el("p", { class: "fx-agree" }),
    costs: el("dl", { class: "fx-cell-costs" }),
    more: el("div", { class: "fx-cell-more" }),
  };
  cell.mini = el("div", { class: "fx-mini" }, cell.image, cell.canvas);
  cell.time = kind === "run" ? makeCellTime(store) : null;
  const answered = kind === "run" || kind === "full";
  cell.node = el(
    "article",
    { class: `fx-cell fx-cell-${kind}` },
    el("header", {}, cell.letter, cell.title, cell.count, kind === "run" ? cell.tune : null),
    cell.mini,
    cell.time?.node,
    cell.more,
    ...(kind === "run" ? [cell.tuned, cell.badge] : []),
    ...(answered ? [cell.text, cell.agree, cell.costs] : []),
    kind === "run" ? cell.caution : null,
  );
  mountPointer(cell.canvas, sheet, store);
  mountDrag({ canvas: cell.canvas, picture: cell.mini }, sheet, store);
  cell.tune.addEventListener("click", () => store.act("drawer", cell.method));
  return cell;
}

function mountPointer(canvas, sheet, store) {
  const pick = (event) => {
    if (!sheet.geometry) return -1;
    const box = canvas.getBoundingClientRect();
    const scale = canvas.width / box.width;
    return tokenAt(sheet.geometry, (event.clientX - box.left) * scale, (event.clientY - box.top) * scale);
  };
  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerType === "mouse" || event.pressure > 0) store.set({ cursor: pick(event) });
  });
  canvas.addEventListener("pointerdown", (event) => hold(store, pick(event)));
  canvas.addEventListener("pointerleave", (event) => {
    if (event.pointerType === "mouse") leave(store);
  });
  canvas.addEventListener("blur", () => leave(store));
  canvas.addEventListener("focus", () => {
    if (store.state.cursor < 0 && sheet.geometry && canvas.matches(":focus-visible"))
      hold(store, step(sheet.geometry, -1, 0));
  });
  canvas.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hold(store, -1);
    const side = { ArrowLeft: 0, ArrowUp: 1, ArrowRight: 2, ArrowDown: 3 }[event.key];
    if (side === undefined || !sheet.geometry) return;
    event.preventDefault();
    let token = store.state.cursor;
    for (let i = 0; i < (event.shiftKey ? 5 : 1); i++) token = step(sheet.geometry, token, side);
    hold(store, token);
  });
}

function drawFull(cell, state) {
  const n = state.trace?.tokens.n;
  setText(cell.title, "All tokens");
  setText(cell.count, n ? String(n) : "");
  label(cell, n ? `All ${n} tokens, nothing pruned` : "All tokens");
  const full = state.answers.full ?? null;
  drawText(cell.text, full, null, state.status, "full");
  setText(cell.agree, full?.done ? "The unpruned answer" : "");
  cell.agree.dataset.same = "";
  drawCosts(cell.costs, full?.cost, true);
}

function drawRun(cell, state, entry, store) {
  const { view, answer, stale, whole, problem } = entry;
  setText(cell.letter, entry.letter);
  setText(cell.title, entry.label);
  const kept = view ? keptCount(view) : entry.budget;
  const inside = entry.plan?.kind === "layers";
  const count = inside ? `${view.budget} a layer` : String(kept);
  setText(cell.count, count === entry.letter ? "" : count);
  cell.count.title = inside
    ? "visual tokens per layer, on average"
    : entry.about?.exact_count === false
      ? "this method's own number of tokens"
      : "visual tokens kept";
  label(cell, `${entry.label}: ${kept} visual tokens kept. Arrow keys move from token to token.`);
  cell.node.classList.toggle("fx-stale", stale);
  drawLayers(cell, entry, store);
  const others = entry.about?.exact_count === false && view && !inside ? `keeps its own number: ${kept}` : "";
  const with_ = entry.other ? `, with ${tunedText(answer.parameters) || "the default parameters"}` : "";
  const staleText = !stale
    ? whole && answer
      ? "keeps all: the full answer"
      : ""
    : inside
      ? `run at ${answer.budget} tokens per layer on average${with_}`
      : `answered at ${answer.budget} tokens${with_}`;
  cell.method = entry.method;
  setText(cell.tune, entry.tuned ? "Tuned" : "Tune");
  cell.tune.dataset.tuned = String(Boolean(entry.tuned));
  cell.tune.setAttribute("aria-label", `${entry.tuned ? "Tuned" : "Tune"}: ${entry.label}`);
  const first = state.arrange === "methods" || cell.node === cell.node.parentElement?.children[1]; // one method, one button
  toggle(cell.tune, first && Boolean(entry.about?.parameters?.length));
  setText(cell.tuned, entry.tuned);
  toggle(cell.tuned, Boolean(entry.tuned));
  const planned =
    view && !inside && !others && view.budget !== entry.budget
      ? `drawn at ${view.budget}, the nearest that is planned`
      : "";
  const origin = entry.recorded ? "recorded" : "";
  setText(cell.badge, [staleText, stale ? "" : others, planned, origin].filter(Boolean).join("; "));
  toggle(cell.badge, Boolean(cell.badge.textContent));
  setText(cell.caution, entry.about?.caution ?? "");
  toggle(cell.caution, Boolean(entry.about?.caution));
  drawAnswer(cell, state, entry, problem);
  drawCosts(cell.costs, answer?.cost, whole && !stale, entry.about?.stage === "inside");
}

function drawAnswer(cell, state, { method, budget, answer, stale }, problem) {
  const { full } = state.answers;
  const asked = state.status.phase === "method" && state.asked === `${method}@${budget}`;
  const status = isRunning(state.status) && !problem ? { phase: asked ? "method" : "waiting" } : { phase: "idle" };
  const difference = full?.done && answer?.done ? firstDifference(full.text, answer.text) : null;
  drawText(cell.text, answer, difference?.right, status, "method");
  if (problem) setText(cell.text, `Cannot run here: ${problem}`);
  cell.text.dataset.state = problem ? "problem" : cell.text.dataset.state;
  cell.node.classList.toggle("fx-cell-off", Boolean(problem));
  const known = !problem && full?.done && answer?.done;
  const same = known && sameText(answer, full);
  cell.agree.dataset.same = known ? String(same) : "";
  const where = difference?.left
    ? ` from “${quoted(full.text.slice(...difference.left))}”`
    : " from the unpruned answer";
  const differs = known && reordered(full.text, answer.text) ? "The same things in another order" : `Differs${where}`;
  setText(cell.agree, !known ? "" : same ? `Same answer${stale ? " there" : ""}` : differs);
}

/** A word as it is quoted; without blanks between words, as in Chinese, one can be a whole answer. */
const quoted = (word) => (word.length > QUOTED ? `${[...word].slice(0, QUOTED).join("")}…` : word);
const QUOTED = 24; // characters

function drawLayers(cell, { plan, method, label: name, layer, view }, store) {
  const inside = plan?.kind === "layers";
  toggle(cell.more, inside);
  if (!inside) return;
  if (!cell.layer) {
    cell.layer = el("input", { type: "range", min: 0, step: 1 });
    cell.layerText = el("output");
    cell.layer.addEventListener("input", () =>
      store.set({ layerAt: { ...store.state.layerAt, [cell.method]: Number(cell.layer.value) } }),
    );
    fill(cell.more, cell.layer, cell.layerText);
  }
  cell.method = method;
  cell.layer.max = String(plan.layers - 1);
  if (Number(cell.layer.value) !== layer) cell.layer.value = String(layer);
  const text = `layer ${layer + 1} of ${plan.layers}: ${keptCount(view)} alive`;
  cell.layer.setAttribute("aria-label", `${name}: layer of the language model`);
  cell.layer.setAttribute("aria-valuetext", text);
  setText(cell.layerText, text);
}

/** Label, name in the cost, how it is written. @type {[string, string, (x: number) => string][]} */
const COSTS = [
  ["tokens", "visual_tokens", String],
  ["select", "select_ms", milliseconds],
  ["prefill", "prefill_ms", milliseconds],
  ["KV", "kv_bytes", bytes],
];

function drawCosts(node, cost, isFull, isInside = false) {
  toggle(node, Boolean(cost));
  if (!cost || node.shown === cost) return;
  node.shown = cost;
  fill(
    node,
    ...COSTS.flatMap(([name, key, show]) => {
      const within = isInside && key === "select_ms"; // the choice is part of the prefill
      const value = within
        ? "in prefill"
        : isNumber(cost[key]) && !(isFull && key === "select_ms")
          ? show(cost[key])
          : "–";
      const range =
        !within && value !== "–" && cost.spread?.[key]
          ? el("small", { class: "fx-spread" }, spread(cost.spread[key], cost[key]))
          : null;
      return [el("div", {}, el("dt", {}, name), el("dd", {}, value, range))];
    }),
  );
}

/** A method's label, with the budget where the same method stands there several times. */
function nameOf(entry, entries) {
  return entries.every((e) => e.method === entry.method) ? `${entry.label} ${entry.budget}` : entry.label;
}

function sentence(state, config) {
  if (state.cursor < 0 || !state.trace) return "";
  const entries = entriesOf(state, config).filter((e) => e.view);
  const said = entries.map((e) => {
    const from = entersAt(e.plan, state.trace.tokens.n, state.cursor);
    return `${nameOf(e, entries)}: ${roleOf(e.view, state.cursor)}${from ? `, from ${from} tokens on` : ""}`;
  });
  return `Token ${state.cursor}, ${place(state.trace, state.cursor)}. ${said.join(". ")}.`;
}
