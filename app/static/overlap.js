// Beside the contact sheet: one token seen by all methods, and how much the methods' choices overlap.

import { entersAt, entriesOf, iou, keeps, keptBy, pairOf, roleOf, unequalText } from "./comparing.js";
import { isNumber, sig3 } from "./format.js";
import { SCORES, place } from "./describe.js";
import { showWith } from "./tabs.js";
import { el, fill, refs, setText, toggle } from "./dom.js";
import { hold } from "./inspect.js";

export function mountOverlap(root, store, config) {
  const at = refs(root);
  showWith(store, "answer", at.panel);
  const shape = ["mode", "trace", "budget", "chosen", "arrange", "rowMethod", "layerAt"];
  store.on(
    [...shape, "cursor"],
    (state) => state.mode === "compare" && drawCard(at.linkedcard, state, entriesOf(state, config), store),
  );
  store.on(
    [...shape, "pair"],
    (state) => state.mode === "compare" && drawMatrix(at, state, entriesOf(state, config), store),
  );
}

/** One token's verdicts; without a token the same card with dashes, so that nothing moves when one is pointed at. */
function drawCard(card, state, all, store) {
  const { trace } = state;
  const cursor = trace ? state.cursor : -1;
  const entries = all.filter((e) => e.view);
  card.classList.toggle("fx-linked-empty", cursor < 0);
  const close = { type: "button", class: "fx-close", "aria-label": "Close", onclick: () => hold(store, -1) };
  const enters = "smallest budget at which it is kept: its rank where the method has one order";
  const head = el(
    "tr",
    {},
    el("th", { scope: "col" }, "Method"),
    el("th", { scope: "col" }, "Role"),
    el("th", { scope: "col", title: enters }, "Enters at"),
  );
  const n = trace?.tokens.n ?? 0;
  const count = cursor < 0 ? 0 : keptBy(entries, n)[cursor];
  const hint =
    "Point at a token in any picture: it is marked in all of them, and what every method does with it stands here.";
  fill(
    card,
    el(
      "header",
      {},
      el("b", {}, cursor < 0 ? "One token" : `#${cursor}`),
      el("span", {}, cursor < 0 ? "" : place(trace, cursor)),
      el("button", close, "×"),
    ),
    el("p", { class: "fx-linked-count" }, cursor < 0 ? hint : `Kept by ${count} of ${entries.length}`),
    entries.length
      ? el("table", {}, el("thead", {}, head), el("tbody", {}, ...entries.map((entry) => cardRow(entry, n, cursor))))
      : null,
    el("p", { class: "fx-linked-scores" }, cursor < 0 ? "" : scoresText(trace, cursor)),
  );
}

function scoresText({ scores }, token) {
  const known = Object.entries(SCORES).filter(([name]) => isNumber(scores?.[name]?.[token]));
  return known.map(([name, { label }]) => `${label} ${sig3(scores[name][token])}`).join(" · ");
}

function cardRow(entry, n, cursor) {
  const name = el("th", { scope: "row" }, el("i", { class: "fx-letter" }, entry.letter), el("span", {}, entry.label));
  if (cursor < 0) return el("tr", {}, name, el("td", { class: "fx-role" }, "–"), el("td", {}, "–"));
  const from = entersAt(entry.plan, n, cursor);
  const enters = entry.plan.kind === "layers" ? layersOf(entry, cursor) : from > 0 ? String(from) : "never";
  return el(
    "tr",
    { "data-kept": String(keeps(entry.view, cursor)) },
    name,
    el("td", { class: "fx-role", "data-role": entry.view.roles[cursor] }, roleOf(entry.view, cursor)),
    el("td", {}, enters),
  );
}

/** How deep a token gets inside the language model. */
function layersOf({ plan, view }, token) {
  const depth = view.depth?.[token] ?? 0;
  return depth >= plan.layers ? "all layers" : `${depth} of ${plan.layers} layers`;
}

function drawMatrix(at, state, all, store) {
  const entries = all.filter((e) => e.view);
  toggle(at.matrixbox, entries.length > 1);
  if (entries.length < 2) return;
  const pair = pairOf(state, all);
  setText(at.unequal, unequalText(entries));
  const head = el(
    "tr",
    {},
    el("td"),
    ...entries.map((e) => el("th", { scope: "col", title: e.label }, el("i", { class: "fx-letter" }, e.letter))),
  );
  const rows = entries.map((a) =>
    el(
      "tr",
      {},
      el("th", { scope: "row" }, el("i", { class: "fx-letter" }, a.letter), el("span", {}, a.label)),
      ...entries.map((b) =>
        el(
          "td",
          {},
          a === b ? el("span", { class: "fx-iou-self", "aria-hidden": "true" }) : cellOf(a, b, all, pair, store),
        ),
      ),
    ),
  );
  const focused = /** @type {HTMLElement} */ (document.activeElement)?.dataset?.pair;
  fill(
    at.matrix,
    el(
      "table",
      { class: "fx-matrix" },
      el("caption", { class: "fx-sr" }, "Overlap of the kept tokens, intersection over union"),
      el("thead", {}, head),
      el("tbody", {}, ...rows),
    ),
  );
  if (focused) at.matrix.querySelector(`[data-pair="${focused}"]`)?.focus();
}

function cellOf(a, b, all, pair, store) {
  const value = iou(a.view, b.view);
  const places = [all.indexOf(a), all.indexOf(b)];
  const chosen = pair && pair.includes(a) && pair.includes(b);
  return el(
    "button",
    {
      type: "button",
      class: "fx-iou",
      style: `--iou:${value.toFixed(3)}`,
      "data-pair": places.join("-"),
      "aria-pressed": String(Boolean(chosen)),
      "data-strong": String(value > 0.55),
      "aria-label": `${a.letter} ${a.label} and ${b.letter} ${b.label}: overlap ${value.toFixed(2)}`,
      onclick: () => store.set({ pair: places }),
    },
    value.toFixed(2).replace(/^0/, ""),
  );
}
