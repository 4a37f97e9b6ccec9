// Which sweep, what beside it, which method at which budget; the row of buttons; downloads.

import { el, fill, refs, setText, toggle } from "../dom.js";
import { exportAddress } from "./asking.js";
import { refill } from "./focus.js";
import { budgetText } from "./marks.js";
import { sweepOf } from "./store.js";
import { besides, firstView, isPreset, labelOf, presetsOf, pruningOf } from "./view.js";

const option = (value, text, chosen) => el("option", { value, selected: chosen }, text);

export function mountChoosing(root, store) {
  const at = refs(root);
  at.sweep.addEventListener("change", () => {
    const sweep = store.state.sweeps.find(({ name }) => name === at.sweep.value);
    store.set({ view: { ...firstView(sweep), theme: store.state.view.theme }, notes: [] });
  });
  at.method.addEventListener("change", () => store.look({ method: at.method.value, at: null }));
  at.budget.addEventListener("change", () => store.look({ budget: number(at.budget.value), at: null }));
  at.beside.addEventListener("change", () => store.look(begunBeside(store.state, at.beside.value)));
  at.besidemethod.addEventListener("change", () => store.look({ besideMethod: at.besidemethod.value }));
  at.besidebudget.addEventListener("change", () => store.look({ besideBudget: number(at.besidebudget.value) }));
  at.presets.addEventListener("click", (event) => {
    const index = event.target.closest("button")?.dataset.preset;
    if (index !== undefined) store.look(presetsOf(sweepOf(store.state))[index].patch);
  });
  store.on(["view", "sweeps", "total"], (state) => {
    const { sweeps, view, total } = state;
    const sweep = sweepOf(state);
    toggle(at.choosing, Boolean(sweep));
    if (!sweep) return;
    fill(at.sweep, ...sweeps.map(({ name }) => option(name, name, name === view.sweep)));
    setText(at.about, aboutText(sweep));
    refill(
      at.presets,
      "preset",
      ...presetsOf(sweep).map((preset, i) => presetButton(preset, i, isPreset(view, preset))),
    );
    fill(at.method, ...pruningOf(sweep).map((name) => option(name, labelOf(sweep, name), name === view.method)));
    fill(at.budget, ...budgetsOf(sweep, view).map((b) => option(b ?? "", budgetText(b), b === view.budget)));
    fillBeside(at, sweeps, sweep, view);
    setText(at.count, countText(total, sweep));
    for (const as of /** @type {const} */ (["csv", "parquet"])) at[as].setAttribute("href", exportAddress(view, as));
  });
}

/** Those of the sweep, and that which a method has of its own where it is on screen. */
const budgetsOf = (sweep, view) => [...sweep.budgets, ...(view.budget === null ? [null] : [])];

const number = (text) => (text === "" ? null : Number(text));

/** Beside itself a sweep shows another method, for the same again would say nothing. */
function begunBeside(state, name) {
  const sweep = sweepOf(state);
  const own = name === sweep.name;
  const other = pruningOf(sweep).find((method) => method !== state.view.method) ?? "";
  return { beside: name, besideMethod: own ? other : "", besideBudget: null };
}

function fillBeside(at, sweeps, sweep, view) {
  const names = besides(sweeps, sweep).map(({ name }) => name);
  const words = (name) => (name === sweep.name ? "another method" : name);
  fill(
    at.beside,
    option("", "nothing", !view.beside),
    ...names.map((name) => option(name, words(name), name === view.beside)),
  );
  toggle(at.besides, Boolean(view.beside));
  const other = sweeps.find(({ name }) => name === view.beside);
  if (!other) return;
  const methods = pruningOf(other).map((name) => option(name, labelOf(other, name), name === view.besideMethod));
  fill(at.besidemethod, option("", "same method", !view.besideMethod), ...methods);
  const budgets = other.budgets.filter((b) => b !== null).map((b) => option(b, String(b), b === view.besideBudget));
  fill(at.besidebudget, option("", "same budget", view.besideBudget === null), ...budgets);
}

function presetButton({ label }, i, on) {
  return el("button", { type: "button", "data-preset": i, "aria-pressed": String(on) }, label);
}

function aboutText({ data, model, metric, items, problems }) {
  const asked = `${items} questions of ${data}, answered by ${model}`;
  const scored = metric && metric !== "none" ? `, scored by ${metric}` : "";
  return `${asked}${scored}${problems ? `; ${problems} could not be asked` : ""}`;
}

function countText({ phase, value }, { items }) {
  if (phase !== "here") return value === null ? "" : "…";
  return value === items ? `all ${items}` : `${value} of ${items}`;
}
