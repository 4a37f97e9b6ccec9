// How a flip, a method and an interval are shown: by sign and word and place, never by colour alone.

import { INK } from "../chart.js";
import { el } from "../dom.js";
import { isNumber } from "../format.js";
import { SERIES } from "../look.js";
import { pruningOf } from "./view.js";

export const FLIP = {
  lost: { sign: "−", word: "Lost", help: "right with all tokens, wrong pruned" },
  won: { sign: "+", word: "Won", help: "wrong with all tokens, right pruned" },
  changed: { sign: "≠", word: "Changed", help: "another answer, neither lost nor won" },
  same: { sign: "=", word: "Same", help: "the same answer" },
};
const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

export function flipBadge(flip) {
  const { sign, word, help } = FLIP[flip] ?? { sign: "?", word: "Unknown", help: "it could not be asked" };
  return el(
    "span",
    { class: "fx-flip", "data-flip": flip, title: help },
    el("i", { "aria-hidden": "true" }, sign),
    word,
  );
}

/** A method's letter and colour, of its place in the sweep; the seventh and later have no colour of their own. */
export function markOf(sweep, method) {
  const at = pruningOf(sweep).indexOf(method);
  return { letter: LETTERS[at] ?? "", color: SERIES[at] ?? "", ink: INK[at] ?? "" };
}

export function methodMark(sweep, method) {
  const { letter, color, ink } = markOf(sweep, method);
  const node = el("i", { class: "fx-letter", "aria-hidden": "true" }, letter);
  if (color) Object.assign(node.style, { background: color, color: ink });
  return node;
}

export function budgetText(budget) {
  return budget === null || budget === undefined ? "its own" : String(budget);
}

/** A share in percent with one decimal, so that columns of them line up. */
export function percent(share) {
  return isNumber(share) ? `${(100 * share).toFixed(1)}\u202f%` : "–";
}

/** A difference of shares in points, with its sign. */
export function points(difference) {
  if (!isNumber(difference)) return "–";
  const text = Math.abs(100 * difference).toFixed(1);
  return `${Number(text) === 0 ? "" : difference < 0 ? "−" : "+"}${text}`;
}

/** "86.5 % (82.1–90.3)". */
export function withInterval(value, low, high) {
  if (!isNumber(low) || !isNumber(high)) return percent(value);
  return `${percent(value)} (${(100 * low).toFixed(1)}–${(100 * high).toFixed(1)})`;
}

/** Sets CSS variables; a style attribute would be refused by the page's policy. @template {HTMLElement} N
 *  @param {N} node @returns {N} */
export function placed(node, variables) {
  for (const [name, value] of Object.entries(variables)) node.style.setProperty(`--${name}`, String(value));
  return node;
}

/** A value with its interval on a line from `low` to `high`, beside a reference; all numbers, drawn by data.css. */
export function intervalBar({ value, low, high, from, to, reference = null }) {
  const at = (x) => Math.min(1, Math.max(0, (x - from) / (to - from || 1)));
  const parts = [];
  if (isNumber(low) && isNumber(high))
    parts.push(placed(el("i", { class: "fx-between" }), { at: at(low), to: at(high) }));
  if (isNumber(reference)) parts.push(placed(el("i", { class: "fx-reference" }), { at: at(reference) }));
  if (isNumber(value)) parts.push(placed(el("i", { class: "fx-value" }), { at: at(value) }));
  return el("span", { class: "fx-interval", "aria-hidden": "true" }, ...parts);
}
