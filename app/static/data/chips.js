// What the list is narrowed to: flips, search, a chip for each column that is asked of, and a form for any other.

import { el, fill, refs, setText, toggle } from "../dom.js";
import { chipsOf, flipsOf, FLIPS, questionsOf, said, searched, searching, withFlips, without } from "./filter.js";
import { refill } from "./focus.js";
import { FLIP } from "./marks.js";
import { isScored } from "./view.js";
import { sweepOf } from "./store.js";

const TYPING = 250; // ms

export function mountChips(root, store) {
  const at = refs(root);
  mountSearch(at.search, store);
  mountForm(at, store);
  at.flips.addEventListener("click", (event) => {
    const flip = event.target.closest("button")?.dataset.flip;
    if (!flip) return;
    const { filter } = store.state.view;
    const flips = flipsOf(filter);
    const next = flips.includes(flip) ? flips.filter((one) => one !== flip) : [...flips, flip];
    store.look({ filter: withFlips(filter, next), at: null, ...(FLIPS.indexOf(flip) < 3 && next.length === 1 ? { flip: next[0] } : {}) }); // prettier-ignore
  });
  at.chips.addEventListener("click", (event) => {
    const column = event.target.closest("button")?.dataset.column;
    if (column === undefined) return;
    store.look({ filter: without(store.state.view.filter, column), at: null });
    at.add.focus();
  });
  at.clear.addEventListener("click", () => store.look({ filter: [], at: null }));
  store.on(["view", "columns", "headline", "sweeps"], (state) => {
    const { view, columns, headline } = state;
    const row = headline.value?.find((one) => one.method === view.method && one.budget === view.budget);
    const on = flipsOf(view.filter);
    const sweep = sweepOf(state);
    const kinds = FLIPS.filter((flip) => !sweep || isScored(sweep) || flip === "changed" || flip === "same");
    refill(at.flips, "flip", ...kinds.map((flip) => flipButton(flip, on.includes(flip), countOf(row, flip))));
    fill(at.chips, ...chipsOf(view.filter, columns).map(chip));
    toggle(at.clear, view.filter.length > 0);
  });
}

function countOf(row, flip) {
  if (!row) return null;
  if (flip !== "same") return row[flip];
  return row.questions - (row.lost ?? 0) - (row.won ?? 0) - (row.changed ?? 0);
}

function flipButton(flip, on, count) {
  const { sign, word, help } = FLIP[flip];
  return el(
    "button",
    { type: "button", "data-flip": flip, "aria-pressed": String(on), title: help },
    el("i", { "aria-hidden": "true" }, sign),
    word,
    count === null || count === undefined ? null : el("small", {}, count),
  );
}

function chip({ column, text }) {
  return el(
    "button",
    { type: "button", "data-column": column, title: "Take this condition away" },
    text,
    el("span", { "aria-hidden": "true" }, " ×"),
  );
}

/** Typing asks once it rests; Enter asks at once; Escape empties the box. */
function mountSearch(box, store) {
  let waiting = 0;
  const ask = () => {
    clearTimeout(waiting);
    const filter = searching(store.state.view.filter, box.value);
    if (JSON.stringify(filter) !== JSON.stringify(store.state.view.filter)) store.look({ filter, at: null });
  };
  box.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = window.setTimeout(ask, TYPING);
  });
  box.addEventListener("keydown", (event) => {
    if (event.key === "Escape") box.value = "";
    if (event.key === "Enter" || event.key === "Escape") ask();
  });
  store.on(["view"], ({ view }) => {
    if (document.activeElement !== box) box.value = searched(view.filter);
  });
}

/** A condition of any column: which, how, and a value of those that it has. */
function mountForm(at, store) {
  const columnNow = () => store.state.columns.find((c) => c.name === at.column.value);
  const show = () => {
    const column = columnNow();
    if (!column) return;
    fill(at.is, ...questionsOf(column.kind).map(([is, words]) => el("option", { value: is }, words)));
    const values = column.kind === "flag" ? [{ value: true }, { value: false }] : (column.values ?? []);
    fill(at.values, ...values.map(({ value }) => el("option", { value: said(value) })));
    at.value.value = "";
    at.value.placeholder =
      column.kind === "number" && column.min !== undefined ? `${said(column.min)} to ${said(column.max)}` : "a value";
    needed();
  };
  const needed = () => toggle(at.value, at.is.value !== "empty");
  const box = /** @type {HTMLDetailsElement} */ (at.form.parentElement);
  box.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !box.open) return;
    box.open = false;
    at.add.focus();
  });
  document.addEventListener("click", (event) => {
    if (!box.contains(/** @type {Node} */ (event.target))) box.open = false;
  });
  at.column.addEventListener("change", show);
  at.is.addEventListener("change", needed);
  at.form.addEventListener("submit", (event) => {
    event.preventDefault();
    const column = columnNow();
    const found = column && conditionOf(column, at.is.value, at.value.value);
    setText(at.formnote, found?.note ?? "");
    if (!found?.condition) return;
    store.look({ filter: [...store.state.view.filter, found.condition], at: null });
    box.open = false;
    at.add.focus();
  });
  store.on(["columns"], ({ columns }) => {
    fill(
      at.column,
      ...columns.filter(({ name }) => name !== "flip").map((c) => el("option", { value: c.name }, c.label)),
    );
    show();
  });
}

/** What the form says, as a condition, or a note that says what it must be.
 *  @returns {{ condition?: import("./filter.js").Condition, note?: string }} */
export function conditionOf({ name, label, kind }, is, text) {
  if (is === "empty") return { condition: { column: name, is } };
  const value = text.trim();
  if (!value) return { note: "Write a value first." };
  if (kind === "number") {
    const number = Number(value.replace(",", ".").replace("−", "-"));
    return Number.isFinite(number)
      ? { condition: { column: name, is, value: number } }
      : { note: `${label} is a number.` };
  }
  if (kind === "flag") {
    const flag = { yes: true, true: true, no: false, false: false }[value.toLowerCase()];
    return flag === undefined ? { note: `${label} is yes or no.` } : { condition: { column: name, is, value: flag } };
  }
  return { condition: { column: name, is, value: value.slice(0, 300) } };
}
