// What there is to say about one token: for the card, and as one sentence for screen readers.

import { ROLE, entryBudgets } from "./plan.js";
import { scaleOf } from "./color.js";
import { isNumber, percent, sig3 } from "./format.js";
import { holdsText } from "./life.js";
import { SCALES } from "./look.js";
import { priorityOf, productOf, termsOf } from "./priority.js";
import { planOf } from "./store.js";
import { because } from "./why/sentences.js";
import { viewsOf } from "./views.js";

export const SCORES = {
  saliency: { label: "Saliency", letter: "s", help: "attention the vision encoder pays to this patch (Eq. 1)" },
  relevance: { label: "Relevance", letter: "r", help: "how close this patch is to the question (Eq. 2, sign applied)" },
  priority: {
    label: "Priority",
    letter: "φ",
    help: "scaled relevance^alpha × scaled saliency^beta (Eq. 3): Focus takes the highest",
  },
};

/** Whether what this method drops never entered the vision tower (PixelPrune, where the tower reads some patches alone). */
export const neverEncoded = (trace, method) => (trace?.methods?.[method]?.facts?.n_not_encoded ?? 0) > 0;

export function roleName(state, token) {
  const { view } = state;
  const role = view.roles[token];
  if (role === ROLE.DROPPED && neverEncoded(state.trace, state.method)) return "Dropped, never encoded";
  if (role === ROLE.SCAN && view.refine.absorbed[token]) return "Scan, anchor";
  return ["Dropped", "Merged", "Kept", "Scan", "Focus"][role];
}

let warm = { values: null, heat: null };

/** A heat layer's values with their scale, see `scaleOf`, or null where this model or method has no such score. */
export function heatOf(trace, layer) {
  const values = trace?.scores?.[layer];
  if (!values) return null;
  if (warm.values !== values) warm = { values, heat: { values, ...scaleOf(values, SCALES[layer]) } };
  return warm.heat;
}

/** What stands at the ends of a heat layer's scale. */
export function endsOf({ min, max, below }) {
  return [`${below ? "≤\u202f" : ""}${sig3(min)}`, sig3(max)];
}

let known = { plan: null, entry: null };

function entryOf(plan, n) {
  if (known.plan !== plan) known = { plan, entry: entryBudgets(plan, n) };
  return known.entry;
}

function rankOf(plan, token) {
  if (plan.kind === "rank") return plan.rank[token];
  return plan.kind === "nested" ? plan.focus_rank[token] : -1;
}

/** Rows [label, value, title] about a token. */
export function facts(state, token) {
  const { trace, view } = state;
  const plan = planOf(state);
  const rows = [];
  for (const [name, score] of Object.entries(SCORES)) {
    const value = name === "priority" ? priorityOf(trace, state.method, token) : trace.scores?.[name]?.[token];
    if (isNumber(value)) rows.push([`${score.label} ${score.letter}`, sig3(value), score.help]);
  }
  const terms = termsOf(trace, state.method, token);
  if (terms) {
    const [letters, numbers] = productOf(terms);
    rows.push([
      `= ${letters}`,
      numbers,
      "relevance and saliency, each scaled to [0, 1] by its least and greatest value",
    ]);
  }
  if (!plan || !view) return rows;
  const rank = rankOf(plan, token);
  if (rank >= 0)
    rows.push(["Rank", `${rank + 1} of ${trace.tokens.n}`, "place in the order of the score that decides"]);
  const entry = entryOf(plan, trace.tokens.n)[token];
  rows.push([
    "Enters at",
    entry > 0 ? `${entry} token${entry === 1 ? "" : "s"}` : "never",
    "smallest budget at which this token is kept",
  ]);
  return rows.concat(ties(view, trace, token));
}

/** "1 by hand + 27 focus + 36 scan" of a view; nothing of methods without those stages. */
export function splitOf({ counts }) {
  const [hand, focus, scan] = [ROLE.KEPT, ROLE.FOCUS, ROLE.SCAN].map((role) => counts[role]);
  return focus + scan ? `${hand ? `${hand} by hand + ` : ""}${focus} focus + ${scan} scan` : "";
}

/** "holds 14 tokens, 9 of them of other frames (2, 3, 5)" of an anchor that merged through time, else nothing. */
export function holds({ view, trace }, token) {
  return trace?.clip && view && token >= 0 ? holdsText(view, trace, token) : "";
}

function ties(view, trace, token) {
  const { anchor, similarity, weight, absorbed } = view.refine;
  if (absorbed[token]) {
    return [
      [
        "Absorbed",
        `${absorbed[token]} token${absorbed[token] > 1 ? "s" : ""}`,
        "dropped tokens averaged into this anchor (FSR: Eq. 9)",
      ],
      ["Own weight", percent(weight[token]), "share of the token itself in the merged embedding"],
    ];
  }
  if (anchor[token] < 0) return [];
  const to = `#${anchor[token]}${elsewhere(trace, token, anchor[token])}`;
  const rows = [
    view.roles[anchor[token]] === ROLE.KEPT // of a method without stages
      ? ["Anchor", to, "the kept token that it is averaged into"]
      : ["Nearest scan", to, "the scan token most similar to this one (Eq. 8)"],
  ];
  if (isNumber(similarity[token])) rows.push(["Similarity", sig3(similarity[token]), "cosine to that scan token"]);
  if (view.roles[token] === ROLE.MERGED)
    rows.push(["Weight", percent(weight[token]), "its share in the merged embedding"]);
  return rows;
}

function elsewhere(trace, token, anchor) {
  const { frame } = trace.tokens;
  return trace.clip && frame && frame[token] !== frame[anchor] ? `, frame ${frame[anchor] + 1}` : "";
}

export function place(trace, token) {
  const { frame, row, col } = trace.tokens;
  const where = row[token] < 0 ? "outside the grid" : `row ${row[token] + 1}, column ${col[token] + 1}`;
  if (!frame || trace.frames.length < 2) return where;
  const { part } = trace.frames[frame[token]];
  if (!part) return `frame ${frame[token] + 1}, ${where}`;
  const view = viewsOf(trace).find(
    (v) => v.frame === frame[token] && v.tile === (part === "tiles" ? trace.tokens.tile?.[token] : -1),
  );
  return `${view?.name.toLowerCase() ?? "tiles"}, ${where}`;
}

/** One sentence for the live region. */
export function describe(state, token) {
  const { trace, view } = state;
  if (!trace) return "";
  const why = because(state, token);
  const role = why ? `${why} ` : view ? `${roleName(state, token)}. ` : "";
  const rows = facts(state, token).map(([label, value]) => `${label} ${value}`);
  const held = holds(state, token);
  return `Token ${token}, ${place(trace, token)}. ${role}${held ? `${held}. ` : ""}${rows.join(", ")}.`;
}
