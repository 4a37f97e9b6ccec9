// What the page shows, as one plain value: where it begins, what fits a sweep, the rows of buttons. Pure functions.

import { withFlips } from "./filter.js";

/**
 * @typedef {import("./filter.js").Condition} Condition
 * @typedef {{ name: string, data: string, model: string, metric: string, methods: string[], budgets: (number | null)[],
 *   items: number, problems: number, scored?: boolean, labels?: Record<string, string>, digest?: string }} Sweep
 *
 * sort: a column; at: the item under the cursor; beside: another sweep, or the same one, with a method and a budget of
 * its own or, where these are "" and null, the same; flip: which flips the bars are about; show: table or curves of the
 * methods; part: what of it a phone shows.
 * @typedef {{ sweep: string, method: string, budget: number | null, filter: Condition[], sort: string, down: boolean,
 *   at: number | null, beside: string, besideMethod: string, besideBudget: number | null, flip: string,
 *   show: "table" | "curves", part: "questions" | "methods" | "common", theme: "" | "light" | "dark" }} View
 */

export const FULL = "full"; // the unpruned model, among the methods of a headline
const USUAL = 64; // tokens

/** @returns {View} */
export function emptyView() {
  return {
    sweep: "",
    method: "",
    budget: null,
    filter: [],
    sort: "kl",
    down: true,
    at: null,
    beside: "",
    besideMethod: "",
    besideBudget: null,
    flip: "lost",
    show: "table",
    part: "questions",
    theme: "",
  };
}

/** The methods that prune. @param {Sweep} sweep */
export function pruningOf(sweep) {
  return sweep.methods.filter((name) => name !== FULL);
}

/** FSR where it was asked, else the first. */
export function methodOf(sweep) {
  const names = pruningOf(sweep);
  return names.includes("fsr") ? "fsr" : (names[0] ?? "");
}

/** 64 tokens where they were asked for, else the budget nearest to that by ratio. */
export function budgetOf(sweep) {
  const budgets = sweep.budgets.filter((b) => b !== null);
  const away = (b) => Math.abs(Math.log(b / USUAL));
  return budgets.reduce((best, b) => (best === null || away(b) < away(best) ? b : best), null);
}

/** @param {Sweep} sweep @param {string} method */
export function labelOf(sweep, method) {
  return method === FULL ? "Unpruned" : (sweep?.labels?.[method] ?? (method === "fsr" ? "FSR" : method));
}

/** Whether right and wrong is known: without known answers an answer can only have changed. @param {Sweep} sweep */
export function isScored(sweep) {
  return sweep.scored ?? Boolean(sweep.metric);
}

/** What a newcomer is to find within a minute, one button each. @param {Sweep} sweep
 *  @returns {{ label: string, patch: Partial<View> }[]} */
export function presetsOf(sweep) {
  const [method, budget] = [methodOf(sweep), budgetOf(sweep)];
  const name = labelOf(sweep, method);
  const at = budget === null ? "" : ` at ${budget}`;
  const worst = isScored(sweep) ? "lost" : "changed";
  const begin = {
    method,
    budget,
    sort: "kl",
    down: true,
    at: null,
    flip: worst,
    beside: "",
    besideMethod: "",
    besideBudget: null,
  };
  const rival = pruningOf(sweep).find((other) => other !== method && other !== "random");
  const presets = [{ label: `${name}'s worst flips${at}`, patch: { ...begin, filter: withFlips([], [worst]) } }];
  if (isScored(sweep))
    presets.push({
      label: `Where ${name} wins${at}`,
      patch: { ...begin, filter: withFlips([], ["won"]), flip: "won" },
    });
  if (rival)
    presets.push({
      label: `${name} beside ${labelOf(sweep, rival)}`,
      patch: { ...begin, filter: withFlips([], [worst]), beside: sweep.name, besideMethod: rival },
    });
  presets.push({ label: "All questions", patch: { ...begin, filter: [], sort: "item", down: false } });
  return presets;
}

/** Whether the view is what a button would make it. */
export function isPreset(view, { patch }) {
  return Object.entries(patch).every(
    ([name, value]) => name === "at" || JSON.stringify(view[name]) === JSON.stringify(value),
  );
}

/** The first view of a sweep: its first button. @param {Sweep} sweep @returns {View} */
export function firstView(sweep) {
  return { ...emptyView(), sweep: sweep.name, .../** @type {any} */ (presetsOf(sweep)[0].patch) };
}

/**
 * What an address asks for, made to fit what is there: unknown names give way, and are said.
 * @param {Partial<View>} asked @param {Sweep[]} sweeps @returns {{ view: View, notes: string[] }}
 */
export function settled(asked, sweeps) {
  const notes = [];
  const listed = (names) => names.map((name) => name ?? "its own").join(", ");
  const found = sweeps.find(({ name }) => name === asked.sweep);
  const sweep = found ?? sweeps[0];
  if (asked.sweep !== undefined && !found)
    notes.push(`There is no sweep “${asked.sweep}” here; this is ${sweep.name}.`);
  if (!found) return { view: { ...firstView(sweep), theme: asked.theme ?? "" }, notes };
  const view = { ...emptyView(), flip: isScored(sweep) ? "lost" : "changed", ...asked };
  if (!pruningOf(sweep).includes(view.method)) {
    if (view.method) notes.push(`${sweep.name} has no method “${view.method}”, but ${listed(pruningOf(sweep))}.`);
    view.method = methodOf(sweep);
  }
  if (asked.budget === undefined || (asked.budget !== null && !sweep.budgets.includes(asked.budget))) {
    if (asked.budget) notes.push(`${sweep.name} has no budget of ${asked.budget}, but ${listed(sweep.budgets)}.`);
    view.budget = budgetOf(sweep);
  }
  if (view.beside && !sweeps.some(({ name }) => name === view.beside)) {
    notes.push(`There is no sweep “${view.beside}” to stand beside it.`);
    Object.assign(view, { beside: "", besideMethod: "", besideBudget: null });
  }
  return { view, notes };
}

/** What can stand beside a sweep: itself, and those of the same data. @param {Sweep[]} sweeps @param {Sweep} sweep */
export function besides(sweeps, sweep) {
  const alike = (other) => (sweep.digest ? other.digest === sweep.digest : other.data === sweep.data);
  return sweeps.filter((other) => other.name === sweep.name || alike(other));
}
