// What a headline says, put in order: pure functions.

import { isNumber } from "../format.js";
import { percent, points } from "./marks.js";
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

/** Whether the interval of a difference leaves zero out. */
export function isSure({ difference_low: low, difference_high: high }) {
  return isNumber(low) && isNumber(high) && (low > 0 || high < 0);
}

/** What two lines are to each other, of the questions that both answered. */
export function pairText(line) {
  const { questions, measure, here, there, difference, difference_low: low, difference_high: high } = line;
  if (!questions) return "no question was answered by both.";
  const right = measure === "score" ? "right" : "as with all tokens";
  const sure = isSure(line) ? "" : "; it may as well be none";
  return (
    `on the ${questions} questions that both answered: ${percent(here)} and ${percent(there)}, a difference of ` +
    `${points(difference)} points (95 %: ${points(low)} to ${points(high)}${sure}). ` +
    `${line.only_here} are ${right} here alone, ${line.only_there} there alone.`
  );
}
