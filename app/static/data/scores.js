// What a headline says, put in order: pure functions.

import { isNumber } from "../format.js";
import { FULL } from "./view.js";

/** What is compared: scores, or without known answers how often the answer is the same. */
export function measureOf(rows) {
  return rows.some((row) => isNumber(row.score)) ? "score" : "agreement";
}

/** Ends of the axis of all rows: their intervals with some air, within 0 and 1. */
export function endsOf(rows, measure) {
  const all = rows.flatMap((row) => [row[measure], row[`${measure}_low`], row[`${measure}_high`]]).filter(isNumber);
  const [low, high] = [Math.min(...all, 1), Math.max(...all, 0)];
  const air = Math.max(0.02, 0.06 * (high - low));
  return [Math.max(0, low - air), Math.min(1, high + air)];
}

/** Rows of the methods that prune, budget by budget from the largest, the best first. */
export function byBudget(rows, measure) {
  const groups = new Map();
  for (const row of rows) {
    if (row.method === FULL) continue;
    if (!groups.has(row.budget)) groups.set(row.budget, []);
    groups.get(row.budget).push(row);
  }
  for (const group of groups.values()) group.sort((a, b) => (b[measure] ?? -1) - (a[measure] ?? -1));
  return [...groups].sort(([a], [b]) => (b ?? Infinity) - (a ?? Infinity));
}
