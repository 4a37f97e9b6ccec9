// Questions that fit a scene, and whether an answer is true. Pure functions.
//
// Questions come from the library with their true answers: [[type, text, answer], ...].

import { things } from "../format.js";

/** The types in the order in which they are offered. */
const TYPES = ["relation", "count", "exists", "color", "where", "name", "negation", "size", "digit", "list"];
const DULL = new Set(["no", "nothing", "0"]);
// as nobody would ask first, by how many characters longer they count
const ODD = /** @type {[RegExp, number][]} */ ([
  [/^(is|are) not /, 40],
  [/^what is an? /, 25],
  [/^(tell|say|give|count|show) |^the .* is /, 15],
]);
const NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];
export const OFFERED = 6;

/** Lower case, single spaces, no mark at the end. */
export function plain(text) {
  return text
    .toLowerCase()
    .replace(/\s+/g, " ")
    .trim()
    .replace(/[\s?.!]+$/, "");
}

/** The words of a text that a model does not know; none of a model that reads any text (words: null). */
export function unknownIn(text, words) {
  return words ? (text.toLowerCase().match(/[a-z]+/g) ?? []).filter((word) => !words.has(word)) : [];
}

/**
 * Some of the questions, of different types, the plainest of each first; those with a word that the model does not know
 * are left out. round: 0, 1, 2 ... for others.
 * @param {string[][]} questions @param {Set<string> | null} words
 */
export function offer(questions, words, round = 0) {
  const known = questions.filter(([, text, answer]) => !unknownIn(`${text} ${answer}`, words).length);
  const odd = (text) => ODD.reduce((sum, [form, by]) => sum + (form.test(text) ? by : 0), 0);
  const rank = (/** @type {string[]} */ [, text, answer]) => (DULL.has(answer) ? 40 : 0) + odd(text) + text.length;
  const byType = TYPES.map((type) => known.filter((q) => q[0] === type).sort((a, b) => rank(a) - rank(b)));
  const some = byType.filter((list) => list.length);
  const order = [];
  for (let at = 0; order.length < known.length && some.some((list) => at < list.length); at++)
    for (const list of some) if (at < list.length) order.push(list[at]);
  const rounds = Math.max(1, Math.ceil(order.length / OFFERED));
  const from = (round % rounds) * OFFERED;
  return order.slice(from, from + OFFERED);
}

/** As a person writes it. */
export function asked(text) {
  return /^(name|tell|list|say|give|count|show)\b/.test(text) ? text : `${text}?`;
}

/** The true answer of a question, nothing where it is not known. @param {string[][]} questions */
export function truthOf(questions, question) {
  const wanted = plain(question);
  return questions.find(([, text]) => text === wanted) ?? null;
}

/**
 * right: it says the same; holds: the true answer stands in it, as models that write sentences answer; wrong: neither.
 * @param {string} answer @param {string[]} truth @returns {"right" | "holds" | "wrong"}
 */
export function verdict(answer, [type, , truth]) {
  const said = inFigures(plain(answer).replace(/^(a|an|the) /, ""));
  if (said === truth || (type === "list" && things(said) === things(truth))) return "right";
  if (truth === "yes" || truth === "no") return new RegExp(`^${truth}\\b`).test(said) ? "right" : "wrong";
  return type !== "list" && new RegExp(`(^|[^a-z0-9])${truth}(s|es)?($|[^a-z0-9])`).test(said) ? "holds" : "wrong";
}

function inFigures(text) {
  const at = NUMBERS.indexOf(text);
  return at < 0 ? text : String(at);
}
