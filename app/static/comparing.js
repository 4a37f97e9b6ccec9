// What the compare view shows, computed from the store alone: which methods at which budgets, what each keeps, what it
// answered. Pure but for memory of the last results. No DOM, no network.

import { ROLE, entryBudgets, viewAt } from "./plan.js";
import { isOfSetting, keepsAll, nearestAnswer, tunedOf, tunedText } from "./made.js";
import { forcedKey, withForced } from "./why/forced.js";

export const MOST = 6;
export const LETTERS = ["A", "B", "C", "D", "E", "F"];
const ROW_SHARES = [1 / 3, 2 / 9, 1 / 9, 1 / 18]; // 192, 128, 64, 32 of 576
const PARTS = 576; // a budget as so many parts of all tokens, where their number is not known yet: every share is whole

/** The budgets of a row for n tokens, largest first. */
export function rowBudgets(n) {
  const budgets = ROW_SHARES.map((share) => Math.max(1, Math.round((n || PARTS) * share)));
  return [...new Set(budgets)];
}

/** [method, budget] of every run that is asked for. */
export function runsOf(state) {
  const n = state.trace?.tokens.n ?? 0;
  if (state.arrange === "budgets") return rowBudgets(n).map((budget) => [state.rowMethod, budget]);
  const budget = n ? Math.min(n, Math.max(1, state.budget)) : PARTS / 9;
  return state.chosen.map((method) => [method, budget]);
}

/** What Python needs to know to run the comparison. */
export function wantedOf(state) {
  const runs = runsOf(state);
  const methods = [...new Set(runs.map(([method]) => method))];
  const budgets = [...new Set(runs.map(([, budget]) => budget))];
  const known = state.setting ? (state.trace?.methods ?? {}) : {};
  const planned = methods.filter((name) => Object.hasOwn(known, name)); // a saved trace may have others than we do
  const held = Object.fromEntries(planned.map((name) => [name, known[name].parameters]));
  return { of: state.trace?.tokens.n ?? PARTS, compare: { methods, budgets, shown: state.setting, held } };
}

/** Why the comparison cannot be asked for, or nothing. */
export function problemOf(state) {
  return state.arrange === "methods" && state.chosen.length < 2 ? "Choose at least two methods." : "";
}

export function layerOf(state, method, plan) {
  return plan?.kind === "layers" ? Math.min(plan.layers - 1, state.layerAt[method] ?? plan.layers - 1) : 0;
}

const views = new WeakMap();

/** forced: tokens kept or dropped by hand that the plan does not know of. */
function viewOf(plan, n, budget, layer, forced) {
  if (!views.has(plan)) views.set(plan, new Map());
  const known = views.get(plan);
  const key = `${budget}/${layer}/${forcedKey(forced)}`;
  if (!known.has(key)) {
    if (known.size >= 2 * MOST) known.clear();
    const view = viewAt(plan, n, budget, layer);
    known.set(key, forced ? withForced(view, plan, n, forced) : view);
  }
  return known.get(key);
}

let last = { on: [], entries: [] };

/** One entry a run: letter (of one method at several budgets: the budget), method, label, tuned ("alpha 0"), budget asked, plan, view (what it keeps), answer, whether
 *  that is stale, or made with other parameters; whole: it keeps all tokens, so its answer is that of all tokens. */
export function entriesOf(state, config) {
  const { trace, budget, chosen, arrange, rowMethod, answers, aside, edited, layerAt, problems, forced } = state;
  const on = [trace, budget, chosen, arrange, rowMethod, answers, aside, edited, layerAt, problems, forced];
  if (on.every((x, i) => x === last.on[i])) return last.entries;
  const letter = (k, i) => (arrange === "methods" ? LETTERS[i] : String(k)); // letters are methods' alone
  const entries = runsOf(state).map(([method, k], i) => entryOf(state, config, method, k, letter(k, i)));
  const origins = new Set(
    [answers.full, ...entries.map((e) => e.answer)].filter(Boolean).map((a) => Boolean(a.recorded)),
  );
  for (const entry of entries) entry.recorded = origins.size > 1 && Boolean(entry.answer?.recorded);
  last = { on, entries };
  return entries;
}

function entryOf(state, config, method, budget, letter) {
  const { trace, answers, aside, edited, problems } = state;
  const about = config.compare.find((m) => m.name === method);
  const plan = trace?.methods[method]?.plan ?? null;
  const layer = layerOf(state, method, plan);
  const unknown = forcedKey(trace?.methods[method]?.forced) === forcedKey(state.forced) ? null : state.forced;
  const view = plan ? viewOf(plan, trace.tokens.n, budget, layer, unknown) : null;
  const known = Object.values(answers).filter((a) => a.method === method);
  const fixed = plan?.kind === "table" && plan.budgets.length === 1; // keeps its own number, whatever the budget
  const snapped = plan?.kind === "table" && answers[`${method}@${view.budget}`];
  const exact = answers[`${method}@${budget}`] ?? (snapped || null) ?? (fixed ? known[0] : null);
  const whole = plan?.kind !== "layers" && keepsAll(view);
  const full = whole && !exact && answers.full ? { ...answers.full, method, budget } : null;
  const waiting = Object.values(aside).find(
    (a) => a.method === method && a.budget === budget && isOfSetting(config, state, a), // for its plan
  );
  const near = exact ?? full ?? waiting ?? nearestAnswer(answers, method, budget) ?? null;
  const answer = near ?? nearestAnswer(aside, method, budget) ?? null;
  const problem = problems[`${method}@${budget}`] ?? problems[method] ?? "";
  return {
    letter,
    method,
    about,
    label: about?.label ?? method,
    tuned: tunedText(tunedOf(config, method, edited[method])),
    budget,
    plan,
    layer,
    view,
    answer,
    stale: Boolean(answer) && ![exact, full, waiting].includes(answer),
    other: Boolean(answer) && !near,
    whole,
    problem,
  };
}

/** How many tokens a view keeps. */
export function keptCount(view) {
  return view.counts[ROLE.KEPT] + view.counts[ROLE.SCAN] + view.counts[ROLE.FOCUS];
}

export function keeps(view, token) {
  return view.roles[token] >= ROLE.KEPT;
}

/** For every token, how many of the entries keep it. */
export function keptBy(entries, n) {
  const counts = new Uint8Array(n);
  for (const { view } of entries) if (view) for (let i = 0; i < n; i++) if (keeps(view, i)) counts[i]++;
  return counts;
}

/** How many tokens only the first, only the second, and both views keep. */
export function shared(a, b) {
  const out = { one: 0, other: 0, both: 0 };
  for (let i = 0; i < a.roles.length; i++) {
    const [one, other] = [keeps(a, i), keeps(b, i)];
    if (one && other) out.both++;
    else if (one) out.one++;
    else if (other) out.other++;
  }
  return out;
}

/** Intersection over union of what two views keep. */
export function iou(a, b) {
  const { one, other, both } = shared(a, b);
  return one + other + both ? both / (one + other + both) : 1;
}

/** Where entries keep different numbers of tokens: how many each, and what that means for their overlap. */
export function unequalText(entries) {
  const counts = entries.map((e) => keptCount(e.view));
  const [least, most] = [Math.min(...counts), Math.max(...counts)];
  const known = entries.every((e, i) => e.letter === String(counts[i])); // it stands there already
  if (!entries.length || least === most || known) return "";
  const said = entries.map((e, i) => {
    const inside = e.plan.kind === "layers";
    return `${e.letter} ${counts[i]}${inside ? ` alive in layer ${e.layer + 1} (${e.view.budget} a layer on average)` : ""}`;
  });
  return `They keep different numbers of tokens: ${said.join(", ")}. Of ${most} and ${least} tokens the overlap is ${(least / most).toFixed(2)} at most.`;
}

/** The two entries compared token by token; the first two that have plans where the chosen ones are gone. */
export function pairOf(state, entries) {
  const at = (i) => (entries[i]?.view ? entries[i] : null);
  const with_ = entries.filter((e) => e.view);
  const one = at(state.pair[0]) ?? with_[0] ?? null;
  const other = at(state.pair[1]) ?? with_.find((e) => e !== one) ?? null;
  return one && other && one !== other ? [one, other] : with_.length > 1 ? [with_[0], with_[1]] : null;
}

const firsts = new WeakMap();

/** The smallest budget at which a method keeps the token, null where that is not one number (inside the model). */
export function entersAt(plan, n, token) {
  if (!plan || plan.kind === "layers") return null;
  if (!firsts.has(plan)) firsts.set(plan, entryBudgets(plan, n));
  return firsts.get(plan)[token];
}

export function roleOf(view, token) {
  const role = view.roles[token];
  if (role === ROLE.SCAN && view.refine.absorbed[token]) return "Scan, anchor";
  return ["Dropped", "Merged", "Kept", "Scan", "Focus"][role];
}

/** What a model puts in the place of a score that a method was made for, in the model's own words. */
export function madeOf(state, entries) {
  const pathways = state.trace?.model.pathways ?? {};
  const needed = new Set(entries.flatMap((e) => [...(e.about?.requires ?? []), ...(e.about?.optional ?? [])]));
  return Object.entries(pathways).filter(([name]) => needed.has(name));
}

/** The methods to begin with: those that the page is about; of a recorded trace as far as they are in it, else others. */
export function firstChoice(trace, config, most = config.compareFirst.length) {
  const known = config.compare
    .map((m) => m.name)
    .filter((name) => !trace?.recorded || Object.hasOwn(trace.methods, name));
  return [...new Set([...config.compareFirst.filter((name) => known.includes(name)), ...known])].slice(0, most);
}
