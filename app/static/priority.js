// The priority of a token as Focus computes it (Eq. 3, fsr/focus.py): both scores scaled to [0, 1], then multiplied.
// Pure functions of a trace.

import { sig3 } from "./format.js";

const ABOUT = 0.02; // of phi: beyond, these scores are not the ones that it was made of

const ROUNDED = 6e-4; // what four digits may be off, of the number

const scaled = new WeakMap(); // scores -> the same in [0, 1]

/** As `min_max`: a constant score says nothing and becomes all ones. groups: tokens that are scaled together. */
export function minMax(values, groups) {
  if (!scaled.has(values)) {
    const out = new Float64Array(values.length);
    for (const group of groups) {
      let [low, high] = [Infinity, -Infinity];
      for (const i of group) {
        low = Math.min(low, values[i]);
        high = Math.max(high, values[i]);
      }
      for (const i of group) out[i] = low === high ? 1 : (values[i] - low) / (high - low);
    }
    scaled.set(values, out);
  }
  return scaled.get(values);
}

/** All tokens, or, where each tile or frame has its own share of the budget, those of each: they are scaled by themselves. */
function groupsOf({ tokens, share }) {
  const own = share === "per_group" ? (tokens.tile ?? tokens.frame) : null;
  const found = new Map();
  for (let i = 0; i < tokens.n; i++) {
    const name = own ? own[i] : 0;
    if (!found.has(name)) found.set(name, []);
    found.get(name).push(i);
  }
  return [...found.values()];
}

/**
 * A token's priority: as its method ranks by it, which is the score of the trace before that was rounded to four digits;
 * so that all that tell of it round the same number.
 */
export function priorityOf({ methods, scores }, method, token) {
  const score = scores?.priority?.[token];
  const phi = methods[method]?.plan?.phi?.[token];
  return Math.abs(phi - score) <= ROUNDED * Math.abs(score) ? phi : score;
}

/**
 * {relevance, saliency, alpha, beta}: the terms of a token's priority, scaled; relevance null where there is none. Null
 * where the trace has no priority, or another one than these terms make.
 */
export function termsOf(trace, method, token) {
  const { saliency, relevance, priority } = trace?.scores ?? {};
  const known = (name) => trace.methods[name]?.parameters;
  const parameters = known(method)?.alpha === undefined ? known("fsr") : known(method);
  if (!priority || !saliency || !Number.isFinite(parameters?.alpha)) return null;
  const groups = groupsOf(trace);
  const { alpha, beta } = parameters;
  const s = minMax(saliency, groups)[token];
  const r = relevance ? minMax(relevance, groups)[token] : null;
  const phi = (r === null ? 1 : r ** alpha) * s ** beta;
  const terms = { relevance: r, saliency: s, alpha, beta };
  return Math.abs(phi - priority[token]) <= ABOUT * priority[token] + 1e-9 ? terms : null;
}

/** ["r̂³ × ŝ", "0.842³ × 0.310"]: what the priority is made of, in letters and in numbers. */
export function productOf({ relevance, saliency, alpha, beta }) {
  const written = (r, s) => [r === null ? "" : r + power(alpha), s + power(beta)].filter(Boolean).join(" × ");
  return [
    written(relevance === null ? null : "r̂", "ŝ"),
    written(relevance === null ? null : sig3(relevance), sig3(saliency)),
  ];
}

const RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹";

function power(x) {
  if (x === 1) return "";
  return Number.isInteger(x) ? [...String(x)].map((digit) => RAISED[Number(digit)]).join("") : `^${x}`;
}
