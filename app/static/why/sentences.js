// Why a token was kept or dropped: a sentence for every method, from its plan, its scores and what its record tells.
// Pure functions of a trace and a view; what the record does not hold is not said.

import { ROLE, entryBudgets } from "../plan.js";
import { isNumber, percent, sig3 } from "../format.js";
import { isForced, wayOf } from "./forced.js";
import { ofGrid, ofPixelPrune, ofPooling } from "./places.js";
import { nearest } from "./sketch.js";

/**
 * What a sentence is about: method, its record, the view on screen (roles, budget, refine) and the trace.
 * forced: tokens kept or dropped by hand.
 * @typedef {{ trace: any, method: string, view: any, forced?: any }} About
 */

const firsts = new WeakMap(); // plan -> the budget at which each token is kept first

function entryOf(plan, n, token) {
  if (!firsts.has(plan)) firsts.set(plan, entryBudgets(plan, n));
  return firsts.get(plan)[token];
}

/** 1st, 2nd, 3rd, 11th ... */
export function ordinal(n) {
  const tens = n % 100;
  const suffix = tens > 10 && tens < 14 ? "th" : ({ 1: "st", 2: "nd", 3: "rd" }[n % 10] ?? "th");
  return `${n}${suffix}`;
}

/** One or two sentences; empty where there is no plan. @param {About} about @param {number} token */
export function because(about, token) {
  const { trace, method, view } = about;
  const record = trace?.methods?.[method];
  if (!record?.plan || !view || token < 0) return "";
  const { plan } = record;
  const byHand = about.forced ? wayOf(about.forced, token) : "";
  if (byHand)
    return `${byHand === "in" ? "Kept" : "Dropped"} by hand, whatever the method says. The rest of the budget is the method's.`;
  const facts = {
    ...about,
    record,
    plan,
    n: trace.tokens.n,
    budget: view.budget,
    kept: view.roles[token] >= ROLE.KEPT,
  };
  if (plan.kind === "nested") return ofStages(facts, token);
  if (plan.kind === "layers") return ofLayers(facts, token);
  if ((isShared(trace) && plan.kind === "rank") || (plan.kind === "table" && record.forced && isForced(record.forced)))
    return ofShare(facts, token);
  const own = OWN[method];
  return own ? own(facts, token) : plan.anchors ? ofCappedStages(facts, token) : ofShare(facts, token);
}

const isShared = (trace) => trace.share === "per_group";
const score = (trace, name, token) => trace.scores?.[name]?.[token];

/** The row of a column of `why` at the budget on screen; null where the record has none there. */
function told({ record, budget }, name) {
  const at = record.why?.budgets?.indexOf(budget) ?? -1;
  return at < 0 ? null : (record.why.at?.[name]?.[at] ?? null);
}

function toldAt({ record }) {
  const budgets = record.why?.budgets ?? [];
  return budgets.length ? ` Of which one is known at ${budgets.join(", ")} tokens.` : "";
}

const keptOrDropped = (kept) => (kept ? "Kept" : "Dropped");

// -- FSR

function ofStages({ plan, n, budget, view, method }, token) {
  const rank = plan.focus_rank[token] + 1;
  const focus = Math.min(plan.k_focus, budget);
  const scanOnly = method === "fsr-scan";
  const priority = `${scanOnly ? "Saliency" : `Priority ${sig3(plan.phi[token])}`} is rank ${rank}`;
  const role = view.roles[token];
  if (role === ROLE.FOCUS) {
    if (scanOnly) return "Kept as the most salient token, from which Scan starts.";
    const ends = budget < plan.k_focus ? `the budget ends Focus at ${focus}` : `Focus takes the first ${focus}`;
    return `Kept by Focus. ${priority} of ${n}; ${ends}.`;
  }
  const missed = scanOnly ? "" : `${priority}; Focus ended at ${focus}. `;
  if (role === ROLE.SCAN) {
    const place = plan.scan_rank[token] + 1;
    const took = view.refine.absorbed[token] ? ` ${absorbedText(view.refine.absorbed[token])}` : "";
    return `Kept by Scan. ${missed}Scan took it as its ${ordinal(place)}: then it was the farthest from all that was kept.${took}`;
  }
  return `${role === ROLE.MERGED ? "Merged" : "Dropped"}. ${missed}${scanText(plan, token, budget, view)}`;
}

const absorbedText = (count) => `${count} token${count > 1 ? "s were" : " was"} averaged into it.`;

function scanText(plan, token, budget, view) {
  const place = plan.scan_rank[token] + 1;
  if (place <= 0) return plan.k_focus > budget ? `It is kept from ${plan.focus_rank[token] + 1} tokens on.` : "";
  const would = `Scan would take it as its ${ordinal(place)}, at ${plan.k_focus + place} tokens`;
  const anchor = view.refine.anchor[token];
  if (anchor < 0) return budget <= plan.k_focus ? `${would}; at this budget nothing is scanned.` : `${would}.`;
  const who = `#${anchor} (cosine ${sig3(view.refine.similarity[token])})`;
  if (view.roles[token] === ROLE.MERGED) return `${would}; until then anchor ${who} speaks for it.`;
  return `${would}; until then nothing speaks for it: ${who} is the scan token most like it, but ${noneText(plan)}.`;
}

const noneText = (plan) => (plan.kappa > 0 ? "others were more alike and took its place" : "nothing is merged");

/** FSR where the cap depends on the budget: a table of roles. */
function ofCappedStages({ plan, n, budget, view, record }, token) {
  const before = plan.phi.reduce(
    (count, phi, i) => count + (phi > plan.phi[token] || (phi === plan.phi[token] && i < token)),
    0,
  );
  const priority = `Priority ${sig3(plan.phi[token])} is rank ${before + 1} of ${n}`;
  const focus = `Focus took ${view.counts[ROLE.FOCUS]}, at most ${percent(record.facts?.focus_cap ?? 1)} of the budget`;
  const role = view.roles[token];
  if (role === ROLE.FOCUS) return `Kept by Focus. ${priority}; ${focus}.`;
  if (role === ROLE.SCAN)
    return `Kept by Scan: when it was taken it was the farthest from all that was kept. ${priority}; ${focus}.`;
  const entry = entryOf(plan, n, token);
  const on = entry > budget ? ` It is kept from about ${entry} tokens on.` : "";
  if (role === ROLE.MERGED)
    return `Merged. ${priority}; ${focus}. Anchor #${view.refine.anchor[token]} speaks for it.${on}`;
  return `Dropped. ${priority}; ${focus}.${on}`;
}

// -- methods that keep the first of one order

function cutoff({ trace, plan, budget }, name) {
  const last = plan.rank.indexOf(budget - 1);
  const value = score(trace, name, last);
  return isNumber(value) ? `, and the last one kept has ${sig3(value)}` : "";
}

const ranked = (name, label) => (facts, token) => {
  const { trace, plan, kept, n, budget, record } = facts;
  const own = isNumber(score(trace, name, token)) && !record.parameters?.relevance_sign;
  const value = own ? ` ${sig3(score(trace, name, token))}` : "";
  const limit = own ? cutoff(facts, name) : "";
  return `${keptOrDropped(kept)}. ${label}${value} is rank ${plan.rank[token] + 1} of ${n}; the first ${budget} are kept${limit}.`;
};

function ofRandom({ plan, kept, budget, record }, token) {
  const order = `the random order of seed ${record.parameters?.seed ?? 0}`;
  return `${keptOrDropped(kept)}: ${ordinal(plan.rank[token] + 1)} in ${order}, of which the first ${budget} are kept. Neither picture nor question counts.`;
}

function ofCDPruner({ plan, kept, budget, record }, token) {
  const place = plan.rank[token] + 1;
  const { relevance, residual } = record.why?.every ?? {};
  const pick = kept
    ? `Kept as the ${ordinal(place)} pick`
    : `Dropped: it would be the ${ordinal(place)} pick, and ${budget} are kept`;
  if (!relevance || !residual) return `${pick}. Picks go by relevance and by how much is new in a token.`;
  const [r, u] = [relevance[token], residual[token]];
  if (!u)
    return `${pick}. Nothing in it is new beside those picked before, so only its relevance ${sig3(r)} counts, after all that bring something new.`;
  const asked = record.facts?.relevance_used === 0 ? "" : `relevance ${sig3(r)} squared × `;
  const by = asked ? `${asked}${percent(u)} new = gain ${sig3(r * r * u)}` : `${percent(u)} of it new`;
  return `${pick}. ${place > 1 ? `Beside the ${place - 1} before it: ` : ""}${by}, the highest of all left.`;
}

function ofDivPrune({ trace, plan, kept, budget }, token) {
  const place = plan.rank[token] + 1;
  if (place === 1) return "Kept as the first pick: no other token is as unlike its own nearest neighbour.";
  const pick = kept
    ? `Kept as the ${ordinal(place)} pick`
    : `Dropped: it would be the ${ordinal(place)} pick, and ${budget} are kept`;
  const close = nearest(trace, token, (other) => plan.rank[other] < place - 1);
  const how = close ? `, its nearest, #${close.token}, at cosine ${aboutCosine(close)}` : "";
  return `${pick}. Each pick is the token farthest from all picked before${how}.`;
}

function ofToDRE({ plan, kept, budget }, token) {
  const place = plan.rank[token] + 1;
  if (place === 1) return "Kept as the first pick: the most salient token. Saliency counts for no other.";
  const pick = kept
    ? `Kept as the ${ordinal(place)} pick`
    : `Dropped: it would be the ${ordinal(place)} pick, and ${budget} are kept`;
  const before = place === 2 ? "smallest cosine to the one" : `smallest sum of cosines to all ${place - 1}`;
  return `${pick}. Then it has the ${before} picked before it.`;
}

function ofMMTok({ plan, kept, budget, record }, token) {
  const place = plan.rank[token] + 1;
  const pick = kept
    ? `Kept as the ${ordinal(place)} pick`
    : `Dropped: it would be the ${ordinal(place)} pick, and ${budget} are kept`;
  const { score: adds, relevance } = record.why?.every ?? {};
  const rule =
    "Each pick covers most of what those before it do not: the question's words, and all tokens of the picture";
  if (!adds || !relevance) return `${pick}. ${rule}.`;
  if (!adds[token]) return `${pick}. It covers nothing that those before it do not.`;
  const asked = relevance[token] < 0.005 ? "none of it" : `${percent(relevance[token])} of that`;
  return `${pick}: it adds ${percent(adds[token])} of all there is to cover, ${asked} of the question's words. ${rule}.`;
}

/** A cosine from the sketch of a trace: with as many digits as are sure. */
export const aboutCosine = ({ cosine, error }) =>
  error < 5e-4 ? sig3(cosine) : `about ${cosine.toFixed(2)}`.replace("-", "−");

function ofEVS({ plan, kept, n, budget, record }, token) {
  const said = `${keptOrDropped(kept)}. `;
  const { of, cosine } = record.why?.every ?? {};
  if (!of)
    return `${said}Change against the frame before is rank ${plan.rank[token] + 1} of ${n}; the first ${budget} are kept.`;
  if (of[token] < 0)
    return `${said}It is of the first frame, which comes before all that changes, from the top: ${ordinal(plan.rank[token] + 1)}.`;
  const like = cosine[token] >= 1 ? "It equals" : `Cosine ${cosine[token].toFixed(4)} to`;
  return `${said}${like} #${of[token]}, the same place in the frame before. By change it is rank ${plan.rank[token] + 1} of ${n}; the first ${budget} are kept.`;
}

// -- methods with a table of roles

/** The place of a token by saliency, from 0; of the order that the trace holds, else of the values. */
function saliencyRank(trace, token) {
  const order = trace.methods.saliency?.plan;
  if (order?.kind === "rank" && !isShared(trace)) return order.rank[token];
  const values = trace.scores?.saliency;
  if (!values) return -1;
  return values.reduce((count, v, i) => count + (v > values[token] || (v === values[token] && i < token)), 0);
}

const salient = (trace, token) =>
  `Saliency ${sig3(score(trace, "saliency", token))} is rank ${saliencyRank(trace, token) + 1}`;
const SLACK = 1e-9;

function ofVisPruner(facts, token) {
  const { trace, kept, budget, record } = facts;
  if (isShared(trace) || saliencyRank(trace, token) < 0) return ofShare(facts, token);
  const important = Math.floor((record.parameters?.rho ?? 0.5) * budget + SLACK);
  const own = salient(trace, token);
  if (saliencyRank(trace, token) < important) return `Kept as one of the ${important} important tokens. ${own}.`;
  const missed = `${own}; the ${important} most salient are kept as important.`;
  if (kept)
    return `Kept as one of ${budget - important} diverse tokens: it was left when duplicates had been removed. ${missed}`;
  const of = told(facts, "of")?.[token] ?? -1;
  if (of < 0) return `Dropped as a duplicate. ${missed}${toldAt(facts)}`;
  return `Dropped as a duplicate of #${of} (cosine ${sig3(told(facts, "cosine")[token])} before the projector). ${missed}`;
}

function ofAgilePruner({ trace, plan, kept, budget, record }, token) {
  const own = saliencyRank(trace, token) < 0 ? "" : ` ${salient(trace, token)}.`;
  const of = record.why?.every?.of?.[token] ?? -1;
  if (of >= 0) {
    const like = `it is too like #${of} (cosine ${sig3(record.why.every.cosine[token])}), which is more salient, and such tokens come last`;
    return `${kept ? "Kept, though" : "Dropped:"} ${like}.${own}`;
  }
  const place = plan.rank[token] + 1;
  if (kept)
    return `Kept as the ${ordinal(place)}${record.why ? ": no more salient token that was taken is too like it" : ""}.${own}`;
  return `Dropped: it would be the ${ordinal(place)}, and ${budget} are kept.${own}`;
}

/** [first, end) of the stretch of the sequence that a token is in, see fsr/pruners/holov.py. */
export function chunkOf(n, budget, chunks, token) {
  const parts = Math.min(n, Math.max(1, chunks ?? Math.floor((1024 * n) / (576 * budget))));
  const [size, larger] = [Math.floor(n / parts), n % parts];
  const chunk =
    token < larger * (size + 1)
      ? Math.floor(token / (size + 1))
      : larger + Math.floor((token - larger * (size + 1)) / size);
  const first = chunk * size + Math.min(chunk, larger);
  return { chunk, parts, first, end: first + size + (chunk < larger ? 1 : 0) };
}

function ofHoloV(facts, token) {
  const { trace, kept, budget, record, n, view } = facts;
  if (isShared(trace)) return ofShare(facts, token);
  const { chunk, parts, first, end } = chunkOf(n, budget, record.parameters?.chunks, token);
  const values = trace.scores?.saliency;
  let [count, place] = [0, 1];
  for (let i = first; i < end; i++) {
    const isKept = view.roles[i] >= ROLE.KEPT;
    if (isKept) count++;
    if (kept === isKept && values && (values[i] > values[token] || (values[i] === values[token] && i < token))) place++;
  }
  const where = `Chunk ${chunk + 1} of ${parts} (tokens #${first} to #${end - 1}) got ${count} of ${budget} places, ${percent(count / budget)}, by its mean attention`;
  const by = record.parameters?.diverse ? "its score" : `saliency ${sig3(score(trace, "saliency", token))}`;
  const rank = values && !record.parameters?.diverse ? `; ${by} is ${ordinal(kept ? place : count + place)} in it` : "";
  return `${keptOrDropped(kept)}. ${where}${rank}.`;
}

function ofVisionZip(facts, token) {
  const { trace, kept, budget, record, view } = facts;
  if (isShared(trace) || saliencyRank(trace, token) < 0) return ofShare(facts, token);
  const context = Math.floor((record.parameters?.contextual_share ?? 10 / 64) * budget + 0.5 + SLACK);
  const dominant = view.counts[ROLE.KEPT] - context;
  const own = salient(trace, token);
  if (kept && (context === 0 || saliencyRank(trace, token) < dominant))
    return `Kept as dominant. ${own}; the first ${dominant} are.`;
  if (kept)
    return `Kept as one of ${context} contextual tokens, evenly spaced among the rest, which the others are averaged into. ${own}; dominant are the first ${dominant}.`;
  const of = told(facts, "of")?.[token] ?? -1;
  const into =
    of < 0
      ? "one of the contextual tokens"
      : `contextual token #${of} (cosine ${sig3(told(facts, "cosine")[token])} of the keys)`;
  return `Merged into ${into}. ${own}; dominant are the first ${dominant}.${of < 0 ? toldAt(facts) : ""}`;
}

function ofFastVID(facts, token) {
  const { trace, kept, record, view } = facts;
  if (isShared(trace)) return ofShare(facts, token);
  const { frame } = trace.tokens;
  const share = percent(record.parameters?.context ?? 0.4);
  const held = view.refine.absorbed[token];
  if (held)
    return `Kept as an anchor: dense, and far from what is denser. ${held} token${held > 1 ? "s" : ""} of its segment of the clip ${held > 1 ? "are" : "is"} merged into it.`;
  if (kept)
    return `Kept: one of the most salient of its frame, or an anchor that nothing is merged into; anchors get ${share} of the budget.`;
  const anchor = view.refine.anchor[token];
  if (anchor < 0) return "Dropped: none of the most salient of its frame, and no anchor in its segment of the clip.";
  const cosine = told(facts, "cosine")?.[token];
  const how = isNumber(cosine) ? ` (cosine ${sig3(cosine)})` : "";
  const across = frame && frame[anchor] !== frame[token] ? `, which is in frame ${frame[anchor] + 1}: across time` : "";
  return `Merged into #${anchor}${how}${across}. It is none of the most salient of its frame, and that anchor is the most like it in its segment.`;
}

function ofPruMerge(facts, token) {
  const { kept, view } = facts;
  const outlier = told(facts, "outlier")?.[token];
  if (kept && outlier === undefined) return "Kept: an outlier of the [CLS] attention, or one of the even grid.";
  if (kept)
    return outlier
      ? "Kept: its [CLS] attention is an outlier, above Q3 + 1.5 (Q3 − Q1)."
      : "Kept as a part of the even grid; its attention is no outlier.";
  const of = told(facts, "of")?.[token] ?? -1;
  if (view.roles[token] !== ROLE.MERGED)
    return "Dropped: no outlier, not on the even grid, and among the nearest neighbours of no kept token.";
  const who = of < 0 ? "" : `; the most similar is #${of} (cosine ${sig3(told(facts, "cosine")[token])} of the keys)`;
  return `Merged into the kept tokens it is a near neighbour of${who}. It is no outlier and not on the even grid.`;
}

/** A method of which only roles are known, or where every frame or tile is pruned by itself. */
function ofShare({ plan, n, budget, kept, trace }, token) {
  const entry = entryOf(plan, n, token);
  const own = isShared(trace) ? " Every frame or tile has its own share of the budget and is pruned by itself." : "";
  if (kept) return `Kept${entry > 0 && entry < budget ? `; first at ${entry} tokens` : ""}.${own}`;
  return `Dropped${entry > budget ? `: it is kept from ${entry} tokens on` : ""}.${own}`;
}

// -- methods that prune inside the language model

const RANKED_BY = {
  fastv: "the attention that the prompt's last token pays it",
  pyramiddrop: "the attention that the prompt's last token pays it",
  sparsevlm: "the attention of the question's picture words",
  dart: "how unlike the pivots it is",
};

function ofLayers(facts, token) {
  const { plan, view, method, n } = facts;
  const depth = view.depth[token];
  const scores = told(facts, "score");
  const by = RANKED_BY[method] ?? "the attention it gets";
  const value = scores
    ? ` (${sig3(scores[token])}, rank ${1 + scores.filter((s) => s > scores[token]).length} of ${n} where tokens go first)`
    : "";
  if (depth >= plan.layers)
    return `Kept: it stays through all ${plan.layers} layers of the language model, by ${by}${value}.`;
  return `Read by the first ${depth} of ${plan.layers} layers, then gone: what decides is ${by}${value}.`;
}

const OWN = {
  full: () => "Kept, as every token is: nothing is pruned.",
  random: ofRandom,
  grid: ofGrid,
  saliency: ranked("saliency", "Saliency"),
  relevance: ranked("relevance", "Relevance"),
  cdpruner: ofCDPruner,
  divprune: ofDivPrune,
  todre: ofToDRE,
  mmtok: ofMMTok,
  evs: ofEVS,
  fastvid: ofFastVID,
  vispruner: ofVisPruner,
  agilepruner: ofAgilePruner,
  holov: ofHoloV,
  visionzip: ofVisionZip,
  prumerge: ofPruMerge,
  pixelprune: ofPixelPrune,
  pool2x2: ofPooling,
};
