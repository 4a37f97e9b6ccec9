// All methods at all budgets: a table whose rows choose, or curves.

import { el, fill, refs, setText, toggle } from "../dom.js";
import { isNumber } from "../format.js";
import { drawCurves, legendOf } from "./curves.js";
import { chipsOf, ofQuestions } from "./filter.js";
import { refill } from "./focus.js";
import { FLIP, budgetText, intervalBar, methodMark, percent, points, withInterval } from "./marks.js";
import { besideNameOf } from "./row.js";
import { byBudget, endsOf, isSure, measureOf, pairText } from "./scores.js";
import { sweepOf } from "./store.js";
import { FULL, labelOf } from "./view.js";

const HEADS = [
  ["Method", ""],
  ["Score", "mean score, with its 95 % interval; the line is the unpruned model's"],
  ["", ""],
  ["Kept", "of the unpruned model's score"],
  ["Agree", "same answer as the unpruned model"],
  [FLIP.lost.sign, `Lost: ${FLIP.lost.help}`],
  [FLIP.won.sign, `Won: ${FLIP.won.help}`],
  [FLIP.changed.sign, `Changed: ${FLIP.changed.help}`],
];
const BESIDE = [
  ["Beside", "mean score of what stands beside, on the questions that both answered"],
  ["Difference", "points more than beside, with the 95 % interval of the pairs, every question with itself"],
  ["Here", "questions that are right here and wrong beside"],
  ["There", "questions that are wrong here and right beside"],
];

export function mountHeadline(root, store) {
  const at = refs(root);
  let drawn = /** @type {any[]} */ ([]);
  for (const button of at.ways.querySelectorAll("button"))
    button.addEventListener("click", () => store.look({ show: button.dataset.show }));
  at.table.addEventListener("click", (event) => choose(store, event.target.closest("tr[data-method]")));
  at.table.addEventListener("keydown", (event) => step(at.table, event));
  store.on(["headline", "paired", "unpaired", "view", "sweeps"], (state) => {
    const { headline, view } = state;
    const sweep = sweepOf(state);
    const rows = headline.value;
    for (const button of at.ways.querySelectorAll("button"))
      button.setAttribute("aria-pressed", String(button.dataset.show === view.show));
    root.toggleAttribute("data-pale", headline.phase === "asking" && Boolean(rows));
    setText(at.headlinestatus, statusOf(headline));
    setText(at.headlineof, subsetText(state, rows));
    setText(at.besideof, sweep ? besideText(state, sweep) : "");
    toggle(at.table, Boolean(sweep && rows) && view.show === "table");
    toggle(at.curves, Boolean(sweep && rows) && view.show === "curves");
    const now = [sweep, rows, state.paired, view.method, view.budget, view.show];
    if (!sweep || !rows || now.every((part, i) => Object.is(part, drawn[i]))) return;
    drawn = now;
    if (view.show === "table") drawTable(at.table, sweep, rows, state);
    else fill(at.curves, drawCurves(sweep, rows, view), legendOf(sweep, rows, view));
  });
}

function choose(store, row) {
  if (!row) return;
  const { method, budget } = row.dataset;
  store.look({ method, budget: budget === "" ? null : Number(budget), at: null });
}

/** Up and down go from row to row; Enter, on the button there, chooses. */
function step(table, event) {
  const way = { ArrowUp: -1, ArrowDown: 1 }[event.key];
  const buttons = [...table.querySelectorAll("tbody button")];
  const now = buttons.indexOf(event.target);
  if (!way || now < 0) return;
  event.preventDefault();
  buttons[Math.min(buttons.length - 1, Math.max(0, now + way))].focus();
}

function statusOf({ phase, text, value }) {
  if (phase === "failed") return `The scores cannot be read: ${text}`;
  if (phase === "asking") return value ? "" : "Reading the scores.";
  return value.length ? "" : "No question has these properties, so there is no score.";
}

function subsetText({ view, columns }, rows) {
  const own = ofQuestions(view.filter, columns);
  if (!own.length || !rows) return "";
  return `Of the ${rows[0]?.questions ?? 0} questions with ${chipsOf(own, columns)
    .map(({ text }) => text)
    .join(", ")}.`;
}

/** What the chosen line is beside the other, in words. */
function besideText({ view, sweeps, paired, unpaired }, sweep) {
  if (!view.beside) return "";
  if (unpaired) return `Side by side: ${unpaired}`;
  const line = paired.find((one) => one.method === view.method && one.budget === view.budget);
  if (!line) return "";
  const what = `${labelOf(sweep, view.method)} at ${budgetText(view.budget)} beside ${besideNameOf(sweeps, view)}`;
  return `${what}, ${pairText(line)}`;
}

function drawTable(node, sweep, rows, { view, paired }) {
  const measure = measureOf(rows);
  const [from, to] = endsOf(rows, measure);
  const full = rows.find((row) => row.method === FULL);
  const context = { sweep, measure, from, to, reference: full?.[measure] ?? null, view, paired };
  node.toggleAttribute("data-beside", paired.length > 0);
  const stepping = node.contains(document.activeElement);
  const scrolled = node.scrollTop;
  const heads = paired.length ? [...HEADS.slice(0, 2), ...BESIDE] : HEADS;
  const head = heads.map(([text, help]) => el("th", { scope: "col", title: help || null }, text));
  refill(
    node,
    "row",
    el(
      "table",
      {},
      el("thead", {}, el("tr", {}, ...head)),
      full ? el("tbody", {}, rowOf(full, context)) : null,
      ...byBudget(rows, measure).map(([budget, group]) =>
        el(
          "tbody",
          {},
          el("tr", { class: "fx-group" }, el("th", { scope: "rowgroup", colspan: head.length }, groupText(budget))),
          ...group.map((row) => rowOf(row, context)),
        ),
      ),
    ),
  );
  node.scrollTop = scrolled;
  const chosen = node.querySelector("tr[aria-current]");
  for (const button of node.querySelectorAll("button")) button.tabIndex = chosen?.contains(button) ? 0 : -1;
  if (!chosen) node.querySelector("button")?.setAttribute("tabindex", "0");
  if (chosen && !stepping) reveal(node, chosen);
}

const HEAD = 30; // pixels of the table's own head

/** Scrolls the table alone, never the page. */
function reveal(node, row) {
  const [top, bottom] = [row.offsetTop, row.offsetTop + row.offsetHeight];
  if (top >= node.scrollTop + HEAD && bottom <= node.scrollTop + node.clientHeight) return;
  node.scrollTop = row.parentElement.offsetTop - HEAD; // from the heading of its budget on
}

function groupText(budget) {
  return budget === null ? "As many tokens as the method keeps" : `${budget} visual tokens`;
}

function rowOf(row, { sweep, measure, from, to, reference, view, paired }) {
  const full = row.method === FULL;
  const name = labelOf(sweep, row.method);
  const chosen = !full && row.method === view.method && row.budget === view.budget;
  const [low, high] = [row[`${measure}_low`], row[`${measure}_high`]];
  const score = full ? percent(row[measure]) : withInterval(row[measure], low, high);
  const bar = intervalBar({ value: row[measure], low, high, from, to, reference });
  const line = paired.find((one) => one.method === row.method && one.budget === row.budget);
  const cells = [
    paired.length ? null : el("td", { class: "fx-barcell", title: score }, bar),
    el("td", { title: score }, percent(row[measure])),
    ...(paired.length ? besideCells(line) : ownCells(row, full)),
  ];
  if (full) return el("tr", { class: "fx-full" }, el("th", { scope: "row" }, `${name}, ${tokensText(row)}`), ...cells);
  const label = `${name} at ${budgetText(row.budget)} tokens: ${score}, ${row.lost ?? 0} lost, ${row.won ?? 0} won`;
  const button = el(
    "button",
    { type: "button", "aria-label": label, "data-row": `${row.method} ${row.budget}` },
    methodMark(sweep, row.method),
    name,
  );
  return el(
    "tr",
    { "data-method": row.method, "data-budget": row.budget ?? "", "aria-current": chosen ? "true" : null },
    el("th", { scope: "row" }, button),
    ...cells,
  );
}

function ownCells(row, full) {
  const kept = full ? null : withInterval(row.retention, row.retention_low, row.retention_high);
  return [
    el("td", { title: kept }, full ? "" : percent(row.retention)),
    el("td", {}, full ? "" : percent(row.agreement)),
    ...["lost", "won", "changed"].map((flip) => el("td", { "data-flip": flip }, full ? "" : (row[flip] ?? "–"))),
  ];
}

function besideCells(line) {
  if (!line) return BESIDE.map(() => el("td", {}, "–"));
  const { difference, difference_low: low, difference_high: high } = line;
  const interval = el("small", {}, ` ${points(low)} to ${points(high)}`);
  return [
    el("td", {}, percent(line.there)),
    el("td", { title: pairText(line), "data-sure": isSure(line) }, points(difference), interval),
    el("td", {}, line.only_here),
    el("td", {}, line.only_there),
  ];
}

function tokensText({ visual_tokens: tokens }) {
  return isNumber(tokens) ? `${Math.round(tokens)} tokens` : "all tokens";
}
