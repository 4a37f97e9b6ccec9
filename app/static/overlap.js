// Beside the contact sheet: one token seen by all methods, and how much the methods' choices overlap.

import { entersAt, entriesOf, iou, keeps, keptBy, pairOf, roleOf } from "./comparing.js";
import { isNumber, sig3 } from "./format.js";
import { SCORES, place } from "./describe.js";
import { nameOf } from "./sheet.js";
import { showWith } from "./tabs.js";
import { el, fill, refs, toggle } from "./dom.js";

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

function drawCard(card, state, all, store) {
  const { cursor, trace } = state;
  const entries = all.filter((e) => e.view);
  card.classList.toggle("fx-linked-empty", cursor < 0);
  if (!trace || cursor < 0) {
    fill(
      card,
      el(
        "p",
        {},
        "Point at a token in any picture: it is marked in all of them, and every method's verdict stands here.",
      ),
    );
    return;
  }
  const n = trace.tokens.n;
  const count = keptBy(entries, n)[cursor];
  const scores = Object.entries(SCORES).filter(([name]) => isNumber(trace.scores?.[name]?.[cursor]));
  fill(
    card,
    el(
      "header",
      {},
      el("b", {}, `#${cursor}`),
      el("span", {}, place(trace, cursor)),
      el(
        "button",
        { type: "button", class: "fx-close", "aria-label": "Close", onclick: () => store.set({ cursor: -1 }) },
        "×",
      ),
    ),
    el("p", {}, `Kept by ${count} of ${entries.length}`),
    el(
      "table",
      {},
      el(
        "thead",
        {},
        el(
          "tr",
          {},
          el("th", { scope: "col" }, "Method"),
          el("th", { scope: "col" }, "Role"),
          el(
            "th",
            { scope: "col", title: "smallest budget at which it is kept: its rank where the method has one order" },
            "Enters at",
          ),
        ),
      ),
      el("tbody", {}, ...entries.map((entry) => cardRow(entry, entries, n, cursor))),
    ),
    el(
      "p",
      { class: "fx-linked-scores" },
      scores.map(([name, score]) => `${score.label} ${sig3(trace.scores[name][cursor])}`).join(" · "),
    ),
  );
}

function cardRow(entry, entries, n, cursor) {
  const from = entersAt(entry.plan, n, cursor);
  const enters = entry.plan.kind === "layers" ? layersOf(entry, cursor) : from > 0 ? String(from) : "never";
  return el(
    "tr",
    { "data-kept": String(keeps(entry.view, cursor)) },
    el("th", { scope: "row" }, el("i", { class: "fx-letter" }, entry.letter), nameOf(entry, entries)),
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
      el("th", { scope: "row" }, el("i", { class: "fx-letter" }, a.letter), el("span", {}, nameOf(a, entries))),
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
      "aria-label": `${a.label} and ${b.label}: overlap ${value.toFixed(2)}`,
      onclick: () => store.set({ pair: places }),
    },
    value.toFixed(2).replace(/^0/, ""),
  );
}
