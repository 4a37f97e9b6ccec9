// What do the flips share? For each column the share of answers that flipped, by its values; each bar is a filter.

import { el, refs, setText, toggle } from "../dom.js";
import { ANYWHERE, holds, toggled } from "./filter.js";
import { refill } from "./focus.js";
import { FLIP, budgetText, intervalBar, percent, withInterval } from "./marks.js";
import { sweepOf } from "./store.js";
import { labelOf } from "./view.js";

const OPEN = 4; // columns that are shown at first

/** Columns of the data that the filter asks of. @param {import("./filter.js").Condition[]} filter */
export function askedColumns(filter) {
  return [...new Set(filter.map(({ column }) => column))].filter((c) => c !== "flip" && c !== ANYWHERE);
}

/**
 * What flips share with the bars of the columns that are asked of as they were before: a bar that is pressed has its
 * neighbours still, and can be let go. wider: for each such column, what flips share without its conditions.
 */
export function withAsked(value, wider) {
  const columns = value.columns.filter(({ name }) => !wider.has(name));
  for (const [name, whole] of wider) {
    const at = whole.columns.findIndex((column) => column.name === name);
    if (at >= 0) columns.splice(at, 0, { ...whole.columns[at], overall: whole.share });
  }
  return { ...value, columns };
}

export function mountCommon(root, store) {
  const at = refs(root);
  let all = false;
  at.flip.addEventListener("change", () => store.look({ flip: at.flip.value }));
  at.allcolumns.addEventListener("click", () => ((all = !all), draw(store.state)));
  at.blocks.addEventListener("click", (event) => {
    const bar = event.target.closest("button[data-bar]");
    if (!bar) return;
    const [column, index] = bar.dataset.bar.split(" ").map(Number);
    const { filter } = store.state.common.value.columns[column].bars[index];
    store.look({ filter: toggled(store.state.view.filter, filter), at: null });
  });
  const draw = (state) => {
    const { common, view } = state;
    const value = common.value;
    at.flip.value = view.flip;
    root.toggleAttribute("data-pale", common.phase === "asking" && Boolean(value));
    setText(at.commonstatus, statusOf(common, view.flip));
    setText(at.overall, value?.questions ? overallText(value, state) : "");
    const columns = value?.flips ? value.columns : (value?.columns ?? []).filter((column) => isAsked(column, view));
    toggle(at.allcolumns, columns.length > OPEN);
    setText(at.allcolumns, all ? "Fewer" : `${columns.length - OPEN} more`);
    refill(
      at.blocks,
      "bar",
      ...columns.map((column, i) =>
        all || i < OPEN || isAsked(column, view) ? blockOf(column, i, value, view) : null,
      ),
    );
  };
  store.on(["common", "view", "sweeps"], draw);
}

const isAsked = (column, view) => column.bars.some((bar) => holds(view.filter, bar.filter));

function statusOf({ phase, text, value }, flip) {
  if (phase === "failed") return `What they share cannot be read: ${text}`;
  if (phase === "asking") return value ? "" : "Counting.";
  if (!value.questions) return "No question is left by the filter.";
  return value.flips ? "" : `No answer is ${FLIP[flip].word.toLowerCase()} here, so there is nothing to share.`;
}

/** "23 of the 260 questions that were right with all tokens are lost by FSR at 64: 8.8 % (6.0–12.9), the line below." */
export function overallText({ questions, flips, share, low, high, among }, state) {
  const { view } = state;
  const who = `${labelOf(sweepOf(state), view.method)} at ${budgetText(view.budget)}`;
  const verb = flips === 1 ? "is" : "are";
  const of = (among ?? "all questions").replace(/^all /, "");
  return `${flips} of the ${questions} ${of} ${verb} ${FLIP[view.flip].word.toLowerCase()} by ${who}: ${withInterval(share, low, high)}, the line below.`;
}

function blockOf(column, i, { share: all }, view) {
  const share = column.overall ?? all;
  const top = Math.max(share ?? 0, ...column.bars.map((bar) => bar.high ?? bar.share)) || 1;
  return el(
    "section",
    { class: "fx-block" },
    el("h3", {}, column.label),
    ...column.bars.map((bar, j) => barOf(bar, `${i} ${j}`, { top, share, view, column })),
  );
}

function barOf(bar, place, { top, share, view, column }) {
  const on = holds(view.filter, bar.filter);
  const counts = `${bar.flips} of ${bar.questions}`;
  const words = `${column.label} ${bar.label}: ${withInterval(bar.share, bar.low, bar.high)}, ${counts}`;
  return el(
    "button",
    {
      type: "button",
      class: "fx-bar",
      "data-bar": place,
      "aria-pressed": String(on),
      "aria-label": words,
      title: on ? "Show all again" : "Show these only",
    },
    el("span", { class: "fx-barlabel" }, bar.label),
    intervalBar({ value: bar.share, low: bar.low, high: bar.high, from: 0, to: top, reference: share }),
    el("span", { class: "fx-barshare" }, percent(bar.share)),
    el("span", { class: "fx-barcount" }, counts),
  );
}
