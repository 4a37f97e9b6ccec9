// The grammar of filters: a list of conditions that must all hold. Pure functions.

import { isNumber, sig3 } from "../format.js";

/**
 * @typedef {"=" | "!=" | "<" | "<=" | ">" | ">=" | "in" | "has" | "empty"} Is
 * @typedef {string | number | boolean | null} Plain
 * @typedef {{ column: string, is: Is, value?: Plain | Plain[] }} Condition
 * @typedef {{ name: string, label: string, kind: "number" | "flag" | "text", values?: { value: Plain, count: number }[],
 *   min?: number, max?: number, own: boolean }} Column
 */

export const FLIPS = ["lost", "won", "changed", "same"];
export const ANYWHERE = "anywhere"; // question or an answer
const MOST = 32; // conditions
const LONGEST = 300; // characters
const ORDERED = ["<", "<=", ">", ">="];

/** What can be asked of a kind of column, in the words of the form. @returns {[Is, string][]} */
export function questionsOf(kind) {
  if (kind === "number")
    return [
      [">=", "at least"],
      ["<=", "at most"],
      ["=", "equal to"],
      ["!=", "not"],
      ["empty", "empty"],
    ];
  const equal = /** @type {[Is, string][]} */ ([
    ["=", "is"],
    ["!=", "is not"],
  ]);
  return kind === "flag" ? [...equal, ["empty", "empty"]] : [...equal, ["has", "contains"], ["empty", "empty"]];
}

const isPlain = (value) =>
  value === null ||
  typeof value === "boolean" ||
  isNumber(value) ||
  (typeof value === "string" && value.length <= LONGEST);

/** @returns {value is Condition} */
function isCondition(value) {
  if (typeof value !== "object" || value === null) return false;
  const { column, is } = value;
  if (typeof column !== "string" || !column || column.length > LONGEST) return false;
  if (is === "empty") return [undefined, null, true, false].includes(value.value);
  if (is === "in") return Array.isArray(value.value) && value.value.length <= 100 && value.value.every(isPlain);
  if (is === "has") return typeof value.value === "string" && isPlain(value.value);
  return ["=", "!=", ...ORDERED].includes(is) && isPlain(value.value);
}

/** A condition with nothing else in it; "empty" needs no value. @returns {Condition} */
const plain = ({ column, is, value }) => (is === "empty" && value !== false ? { column, is } : { column, is, value });

/** The filter that a text holds, null where it holds none. @returns {Condition[] | null} */
export function readFilter(text) {
  if (!text) return [];
  try {
    const list = JSON.parse(text);
    if (!Array.isArray(list) || list.length > MOST || !list.every(isCondition)) return null;
    return list.map(plain);
  } catch {
    return null;
  }
}

/** As an address holds it; nothing for no condition. @param {Condition[]} filter */
export function writtenFilter(filter) {
  return filter.length ? JSON.stringify(filter.map(plain)) : "";
}

const key = (condition) => JSON.stringify(plain(condition));

/** Whether all of these conditions are in the filter. @param {Condition[]} filter @param {Condition[]} conditions */
export function holds(filter, conditions) {
  const keys = new Set(filter.map(key));
  return conditions.length > 0 && conditions.every((one) => keys.has(key(one)));
}

/** The filter without what is asked of a column. @param {Condition[]} filter @param {string} column */
export function without(filter, column) {
  return filter.filter((one) => one.column !== column);
}

/** These conditions instead of what was asked of their columns; or, where they are there, without them.
 *  @param {Condition[]} filter @param {Condition[]} conditions @returns {Condition[]} */
export function toggled(filter, conditions) {
  const columns = new Set(conditions.map(({ column }) => column));
  const others = filter.filter(({ column }) => !columns.has(column));
  return holds(filter, conditions) ? others : [...others, ...conditions];
}

/** What of the filter is about the questions themselves, whatever method answered. Of the others a headline, which has
 *  all methods, knows nothing. @param {Condition[]} filter @param {Column[]} columns */
export function ofQuestions(filter, columns) {
  const own = new Set(columns.filter((c) => c.own).map((c) => c.name));
  for (const name of ["question", "opening", "media", "answers"]) own.add(name);
  return filter.filter(({ column }) => own.has(column));
}

/** Which flips the filter lets through: all where it does not say. @param {Condition[]} filter @returns {string[]} */
export function flipsOf(filter) {
  const asked = filter.find(({ column, is }) => column === "flip" && (is === "=" || is === "in"));
  if (!asked) return [];
  return FLIPS.filter((flip) => (Array.isArray(asked.value) ? asked.value : [asked.value]).includes(flip));
}

/** The filter with these flips only; none or all of them asks nothing. @returns {Condition[]} */
export function withFlips(filter, flips) {
  const others = without(filter, "flip");
  const wanted = FLIPS.filter((flip) => flips.includes(flip));
  if (!wanted.length || wanted.length === FLIPS.length) return others;
  if (wanted.length === 1) return [{ column: "flip", is: "=", value: wanted[0] }, ...others];
  return [{ column: "flip", is: "in", value: wanted }, ...others];
}

/** The filter that asks for this text in question or answers; none where it is empty. @returns {Condition[]} */
export function searching(filter, text) {
  const others = without(filter, ANYWHERE);
  const value = text.trim().slice(0, LONGEST);
  return value ? [...others, { column: ANYWHERE, is: "has", value }] : others;
}

export function searched(filter) {
  return String(filter.find(({ column }) => column === ANYWHERE)?.value ?? "");
}

/** A value as a person reads it. */
export function said(value) {
  if (value === null || value === undefined || value === "") return "nothing";
  if (typeof value === "boolean") return value ? "yes" : "no";
  return typeof value === "number" ? (Number.isInteger(value) ? String(value) : sig3(value)) : String(value);
}

/** @param {Condition} condition */
function clause({ is, value }) {
  if (is === "empty") return value === false ? "is there" : "is empty";
  if (is === "has") return `contains “${said(value)}”`;
  if (is === "in") return `is ${/** @type {Plain[]} */ (value).map(said).join(" or ")}`;
  const words = { "=": "is", "!=": "is not", "<=": "≤", ">=": "≥" };
  return `${words[is] ?? is} ${said(value)}`;
}

/** @param {Condition[]} conditions of one column */
function clauses(conditions) {
  const not = conditions.filter(({ is }) => is === "!=");
  if (not.length < 2) return conditions.map(clause).join(" and ");
  const rest = conditions.filter((one) => !not.includes(one) && !(one.is === "empty" && one.value === false));
  return [
    `is none of ${not.map(({ value }) => said(/** @type {Plain} */ (value))).join(", ")}`,
    ...rest.map(clause),
  ].join(" and ");
}

/** What the filter asks of each column, in words: a chip each. @param {Condition[]} filter @param {Column[]} columns
 *  @returns {{ column: string, text: string }[]} */
export function chipsOf(filter, columns) {
  const labels = new Map(columns.map((c) => [c.name, c.label]));
  const names = [...new Set(filter.map(({ column }) => column))].filter((c) => c !== "flip" && c !== ANYWHERE);
  return names.map((column) => {
    return {
      column,
      text: `${labels.get(column) ?? column} ${clauses(filter.filter((one) => one.column === column))}`,
    };
  });
}
