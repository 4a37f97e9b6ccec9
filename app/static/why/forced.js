// Tokens that the visitor keeps or drops on top of any method: "what if". Pure functions.

import { ROLE, entryBudgets } from "../plan.js";

export const MOST = 64; // each way; as in app/request.py
/** @typedef {{ in: number[], out: number[] }} Forced */
/** @type {Forced} */
export const NOTHING = { in: [], out: [] };

/** @param {Forced} forced */
export const isForced = (forced) => forced.in.length + forced.out.length > 0;

/** What stands for a set of forced tokens. @param {Forced | undefined} forced */
export const forcedKey = (forced) => (forced && isForced(forced) ? `${forced.in.join()}/${forced.out.join()}` : "");

/** Whether the record of a method was made with these forced tokens. @param {any} record @param {Forced} forced */
export const isApplied = (record, forced) => forcedKey(record?.forced) === forcedKey(forced);

/** Which way a token is forced: "in", "out" or "". @param {Forced} forced @param {number} token */
export function wayOf(forced, token) {
  return forced.in.includes(token) ? "in" : forced.out.includes(token) ? "out" : "";
}

const sorted = (values) => [...new Set(values)].sort((a, b) => a - b);

/**
 * The tokens forced in or out ("in", "out"), or let go of (""). said: one sentence where not all could be.
 * @param {Forced} forced @param {number[]} tokens @param {"in" | "out" | ""} way @param {number} n
 * @returns {{ forced: Forced, said: string }}
 */
export function changed(forced, tokens, way, n) {
  const rest = { in: forced.in.filter((i) => !tokens.includes(i)), out: forced.out.filter((i) => !tokens.includes(i)) };
  if (!way) return { forced: rest, said: "" };
  const most = way === "out" ? Math.min(MOST, n - 1) : MOST;
  const room = most - rest[way].length;
  const added = sorted(tokens).slice(0, Math.max(0, room));
  const left = tokens.length - added.length;
  const said =
    left > 0 ? `At most ${most} tokens can be ${way === "in" ? "kept" : "dropped"} by hand: ${left} left out.` : "";
  return { forced: { ...rest, [way]: sorted([...rest[way], ...added]) }, said };
}

const entries = new WeakMap();

function entryOf(plan, n) {
  if (!entries.has(plan)) entries.set(plan, entryBudgets(plan, n));
  return entries.get(plan);
}

/**
 * A view with the forced tokens as they will be, before a plan that knows of them has come: the budget stays, what it
 * has no room for any more is what the method would have kept last.
 * @param {any} view @param {any} plan @param {number} n @param {Forced} forced
 */
export function withForced(view, plan, n, forced) {
  if (!isForced(forced) || plan.kind === "layers") return view;
  const roles = view.roles.slice();
  const staged = view.counts[ROLE.FOCUS] + view.counts[ROLE.SCAN] > 0;
  for (const i of forced.out) if (i < n) roles[i] = ROLE.DROPPED;
  for (const i of forced.in) if (i < n && roles[i] < ROLE.KEPT) roles[i] = ROLE.KEPT;
  const fixed = new Set([...forced.in, ...forced.out]);
  const wanted = view.counts[ROLE.KEPT] + view.counts[ROLE.SCAN] + view.counts[ROLE.FOCUS];
  const entry = entryOf(plan, n);
  const when = (i) => entry[i] || n + 1;
  const free = Array.from(roles.keys()).filter((i) => !fixed.has(i));
  const kept = free.filter((i) => roles[i] >= ROLE.KEPT).sort((a, b) => when(b) - when(a) || b - a);
  let count = kept.length + forced.in.length;
  for (const i of kept) if (count > wanted) ((roles[i] = ROLE.DROPPED), count--);
  const others = free.filter((i) => roles[i] < ROLE.KEPT).sort((a, b) => when(a) - when(b) || a - b);
  for (const i of others) if (count < wanted) ((roles[i] = staged ? ROLE.SCAN : ROLE.KEPT), count++);
  return recounted(view, roles);
}

/** The view with other roles; what was merged into a token that is no longer kept is dropped. */
function recounted(view, roles) {
  const n = roles.length;
  const absorbed = new Uint16Array(n);
  for (let i = 0; i < n; i++) {
    if (roles[i] !== ROLE.MERGED) continue;
    const anchor = view.refine.anchor[i];
    if (anchor >= 0 && roles[anchor] < ROLE.KEPT) roles[i] = ROLE.DROPPED;
    else if (anchor >= 0) absorbed[anchor]++;
  }
  const counts = [0, 0, 0, 0, 0];
  for (const role of roles) counts[role]++;
  const refine = { ...view.refine, absorbed, merged: counts[ROLE.MERGED] };
  return { ...view, roles, counts, refine, anchors: absorbed.reduce((sum, x) => sum + (x > 0 ? 1 : 0), 0) };
}
