// The pipeline as steps: from the picture to both answers. Pure functions of a trace's plan at a budget: no DOM, no
// network, so that the page, an exported file and the tests step through the same list.

import { ROLE, rolesAt, snapBudget, viewAt } from "../plan.js";
import { heatOf, place, SCORES } from "../describe.js";
import { percent, sig3 } from "../format.js";
import { answerKey, sameText } from "../answers.js";
import { planOf } from "../store.js";

/** What a step is part of, in the order of the pipeline, with its name on the page. */
export const STAGES = {
  picture: "Picture",
  tokens: "Tokens",
  saliency: "Saliency",
  relevance: "Relevance",
  priority: "Priority",
  focus: "Focus",
  scan: "Scan",
  keep: "Keep",
  layer: "Layers",
  refine: "Refine",
  prompt: "Prompt",
  answers: "Answers",
};

const MOST = 96; // steps of one stage: above that many tokens, several enter at once

/**
 * stage: of `STAGES`. kept: how many tokens are kept after this step, -1 before any is. newest: those that enter with it.
 * layer: of the language model, for methods that prune inside it.
 * @typedef {{ stage: string, kept: number, newest: number[], layer: number }} Step
 */

/** @returns {Step} */
function step(stage, kept = -1, newest = [], layer = 0) {
  return { stage, kept, newest, layer };
}

/** Steps in which the tokens of `order` enter one by one, or a few at once where they are many. */
function entering(stage, order, before) {
  const size = Math.max(1, Math.ceil(order.length / MOST));
  const steps = [];
  for (let at = 0; at < order.length; at += size) {
    const newest = order.slice(at, at + size);
    steps.push(step(stage, before + at + newest.length, newest));
  }
  return steps;
}

/** The first `count` tokens by a rank that is -1 for those without one. */
function firstBy(rank, count) {
  const order = new Array(Math.max(0, count));
  for (let i = 0; i < rank.length; i++) if (rank[i] >= 0 && rank[i] < count) order[rank[i]] = i;
  return order;
}

/** Scores that the method reads and the trace holds. */
function scoresOf({ trace, method, needs }, plan) {
  const wanted = needs?.[method] ?? Object.keys(SCORES);
  const read = ["saliency", "relevance"].filter((name) => wanted.includes(name) && trace.scores[name]);
  return plan.kind === "nested" && trace.scores.priority ? [...read, "priority"] : read;
}

let known = { plan: null, budget: 0, scores: null, steps: [] };

/** All steps of the method on screen at the budget on screen; none without a plan. @returns {Step[]} */
export function stepsOf(state) {
  const plan = planOf(state);
  if (!plan) return [];
  const budget = snapBudget(plan, state.trace.tokens.n, state.budget);
  if (known.plan !== plan || known.budget !== budget || known.scores !== state.trace.scores)
    known = { plan, budget, scores: state.trace.scores, steps: made(state, plan, budget) };
  return known.steps;
}

function made(state, plan, budget) {
  const { n } = state.trace.tokens;
  const first = ["picture", "tokens", ...scoresOf(state, plan)].map((stage) => step(stage));
  return [...first, ...choosing(plan, n, budget), step("prompt", budget), step("answers", budget)];
}

function choosing(plan, n, budget) {
  if (plan.kind === "rank") return entering("keep", firstBy(plan.rank, budget), 0);
  if (plan.kind === "layers") return layersOf(plan, budget);
  const { counts } = viewAt(plan, n, budget);
  const refine = counts[ROLE.MERGED] ? [step("refine", budget)] : [];
  if (plan.kind === "nested") {
    const focus = entering("focus", firstBy(plan.focus_rank, Math.min(plan.k_focus, budget)), 0);
    const scan = entering("scan", firstBy(plan.scan_rank, budget - plan.k_focus), plan.k_focus);
    return [...focus, ...scan, ...refine];
  }
  return [step(counts[ROLE.FOCUS] ? "focus" : "keep", budget - counts[ROLE.SCAN])]
    .concat(counts[ROLE.FOCUS] && counts[ROLE.SCAN] ? step("scan", budget) : [])
    .concat(refine);
}

/** One step for every layer after which fewer tokens remain. */
function layersOf(plan, budget) {
  const depth = plan.depth[plan.budgets.indexOf(budget)];
  const ends = [...new Set(depth)].sort((a, b) => a - b).slice(0, -1);
  return ends.map((layer) => step("layer", depth.filter((d) => d > layer).length, [], layer));
}

/** The place of a stage's last step, or -1: what "focus" in a tour stands for. */
export function endOf(steps, stage) {
  return steps.findLastIndex((one) => one.stage === stage);
}

/** The running share of all priority that the first k Focus tokens hold; null where no plan says. */
export function shareAt(plan, k) {
  if (plan?.kind !== "nested") return null;
  let [part, all] = [0, 0];
  for (let i = 0; i < plan.phi.length; i++) {
    all += plan.phi[i];
    if (plan.focus_rank[i] < k) part += plan.phi[i];
  }
  return all > 0 ? part / all : null;
}

let reached = { history: null, bounds: [] };

/**
 * How far Scan leaves the worst token: bounds[m] says that with the first m Scan tokens kept no token is farther than
 * that from a kept one, in 1 - cosine. Scan takes the farthest token, so the distance from the m-th to the Scan tokens
 * before it bounds the covering radius from above, and so does every bound before; it is the radius itself unless a
 * Focus token lies nearer. bounds[0] is null: nothing is known before the first.
 */
export function reachOf(plan) {
  if (plan?.kind !== "nested" || !plan.history) return [];
  if (reached.history === plan.history) return reached.bounds;
  const { offsets, similarity } = plan.history;
  const count = plan.scan_rank.reduce((most, rank) => Math.max(most, rank + 1), 0);
  const order = firstBy(plan.scan_rank, count);
  const bounds = [null];
  for (let m = 1; m < count; m++) {
    const last = offsets[order[m] + 1] - 1; // a token's records end where it is kept itself
    const bound = last >= offsets[order[m]] ? Math.max(0, 1 - similarity[last]) : bounds[m - 1];
    bounds.push(bounds[m - 1] === null ? bound : Math.min(bounds[m - 1], bound));
  }
  reached = { history: plan.history, bounds };
  return bounds;
}

const NOTHING = { anchor: [], similarity: [], weight: [], absorbed: [], merged: 0 };

/** Roles at a step, before Refine, in the shape of `viewAt`. */
function viewOf(plan, n, { kept, stage, layer }, budget) {
  if (["refine", "prompt", "answers"].includes(stage)) return viewAt(plan, n, budget);
  const roles = roles0(plan, n, { kept, stage, layer }, budget);
  const counts = [0, 0, 0, 0, 0];
  for (const role of roles) counts[role]++;
  const refine = { ...NOTHING, anchor: new Int32Array(n).fill(-1), absorbed: new Uint16Array(n) };
  return { budget, roles, refine, counts, anchors: 0, depth: null };
}

function roles0(plan, n, { kept, stage, layer }, budget) {
  if (plan.kind === "layers") return rolesAt(plan, n, budget, layer);
  if (plan.kind !== "table") return rolesAt(plan, n, Math.max(1, kept));
  const shown = stage === "focus" ? [ROLE.FOCUS] : stage === "scan" ? [ROLE.FOCUS, ROLE.SCAN] : null;
  return rolesAt(plan, n, budget).map((role) =>
    (shown ? shown.includes(role) : role >= ROLE.KEPT) ? role : ROLE.DROPPED,
  );
}

const ROLES = ["focus", "scan", "kept", "dropped"];

/**
 * What `paint` and `paintStep` need for a step, to be laid over a scene: view, layers and heat, whether the grid is
 * drawn, and the tokens that have just entered. Null where there is no such step.
 * @param {any} state a store's state: trace, method, budget, needs
 * @param {number} at
 */
export function sceneAt(state, at) {
  const { trace } = state;
  const steps = stepsOf(state);
  const now = steps[at];
  if (!now) return null;
  const bare = { view: null, layers: new Set(), heat: null, grid: now.stage === "tokens", newest: [] };
  if (now.kept < 0) return { ...bare, heat: Object.hasOwn(SCORES, now.stage) ? heatOf(trace, now.stage) : null };
  const plan = planOf(state);
  const view = viewOf(plan, trace.tokens.n, now, snapBudget(plan, trace.tokens.n, state.budget));
  const layers = new Set(now.stage === "refine" ? [...ROLES, "merged", "ties"] : ROLES);
  return { ...bare, view, layers, newest: now.newest };
}

/** A step in words that a student understands. */
export function textOf(state, at) {
  const steps = stepsOf(state);
  const now = steps[at];
  if (!now) return "";
  const { trace } = state;
  const { n } = trace.tokens;
  const says = {
    picture: () =>
      `${trace.clip ? "This clip" : "This picture"} and the question “${trace.question}” are all that the model gets.`,
    tokens: () =>
      `The vision encoder cuts ${trace.clip ? "every frame" : "the picture"} into patches and turns each into one token: ${n} tokens. The language model would read them all, and every one costs time.`,
    saliency: () => "Saliency: how much the vision encoder itself looks at each patch. It does not know the question.",
    relevance: () => "Relevance: how close each patch is to the question. Bright patches match its words.",
    priority: () =>
      "Priority puts both together: a patch counts if it stands out and if the question is about it. Focus takes the highest.",
    focus: () => focusText(state, now),
    scan: () => scanText(state, now),
    keep: () =>
      now.newest.length
        ? `${labelOf(state)} keeps ${tokensText(trace, now.newest)}: ${now.kept} of ${state.view?.budget ?? now.kept}.`
        : `${labelOf(state)} chooses these ${now.kept} tokens.`,
    layer: () =>
      `After layer ${now.layer} of the language model ${labelOf(state)} goes on with ${now.kept} of ${n} tokens.`,
    refine: () => refineText(state),
    prompt: () => promptText(state, now, n),
    answers: () => answersText(state),
  };
  return says[now.stage]();
}

function labelOf({ trace, method }) {
  return trace.methods[method].label ?? method;
}

function tokensText(trace, tokens) {
  const one = `token ${tokens[0]} (${place(trace, tokens[0])})`;
  return tokens.length > 1 ? `${one} and ${tokens.length - 1} more` : one;
}

function focusText(state, now) {
  const plan = planOf(state);
  if (plan.kind !== "nested") return `Focus keeps the ${now.kept} tokens of the highest priority.`;
  const { rho = 0.9 } = state.trace.methods[state.method].parameters;
  const share = shareAt(plan, now.kept);
  const begin = `Focus takes ${tokensText(state.trace, now.newest)}, the highest priority that is left. `;
  const held = share === null ? "" : `These ${now.kept} hold ${percent(share)} of all priority`;
  if (now.kept === plan.k_focus)
    return `${begin}${held ? `${held}: that is at least ${percent(rho)}, so Focus ends.` : "Focus ends."}`;
  const ends = now.kept === (state.view?.budget ?? -1) ? " The budget is used up." : "";
  return `${begin}${held ? `${held}; Focus goes on until ${percent(rho)}.` : ""}${ends}`;
}

function scanText(state, now) {
  const plan = planOf(state);
  if (plan.kind !== "nested") return `Scan adds context, far from what is kept: ${now.kept} tokens by now.`;
  const bound = reachOf(plan)[now.kept - plan.k_focus];
  const far =
    bound === null || bound === undefined ? "" : ` No token is farther than ${sig3(bound)} from a kept one now.`;
  return `Scan takes ${tokensText(state.trace, now.newest)}: of all that is left it looks least like what is kept already.${far}`;
}

function refineText(state) {
  const view = viewAt(planOf(state), state.trace.tokens.n, state.budget);
  const [merged, anchors] = [view.counts[ROLE.MERGED], view.anchors];
  return anchors
    ? `Refine: ${merged} dropped tokens are averaged into the ${anchors} Scan tokens that they resemble most. The number of tokens stays ${view.budget}.`
    : `${merged} dropped tokens are averaged into kept ones. The number of tokens stays ${view.budget}.`;
}

function promptText(state, { kept }, n) {
  if (planOf(state).kind === "layers")
    return `The language model begins with all ${n} tokens and goes on with fewer: ${kept} in the mean of its layers.`;
  const about = state.trace.clip ? "the clip" : "the picture";
  return `The prompt: the language model reads ${kept} tokens of ${about} instead of ${n} (${percent(kept / n)}), and then the question.`;
}

function answersText(state) {
  const { full } = state.answers;
  const ours = state.answers[answerKey(state.method, state.view?.budget ?? state.budget)];
  if (!full?.done || !ours?.done)
    return "The answers: press Ask to see what the model says with all tokens and with these.";
  const said = `With all tokens the model says “${full.text}”, with ${ours.budget} it says “${ours.text}”.`;
  return `${said} ${sameText(full, ours) ? "The same answer." : "The answer has changed."}`;
}
