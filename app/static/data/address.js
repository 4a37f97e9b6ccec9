// The view as the query of an address, and back. An address is hostile: what it cannot hold is left out, and said.

import { FLIPS, readFilter, writtenFilter } from "./filter.js";
import { emptyView } from "./view.js";

/** @typedef {import("./view.js").View} View */

const whole = (text) => (/^\d{1,9}$/.test(text) ? Number(text) : undefined);
const name = (text) => (text.length <= 300 ? text : undefined);
const oneOf = (allowed) => (text) => (allowed.includes(text) ? text : undefined);

/** How each key is written and read; read gives undefined for what it is not. */
const ROWS = /** @type {[string, keyof View, (text: string) => any, ((value: any) => string)?][]} */ ([
  ["sweep", "sweep", name],
  ["method", "method", name],
  ["budget", "budget", (text) => (text === "own" ? null : whole(text)), (value) => String(value ?? "own")],
  ["filter", "filter", (text) => readFilter(text) ?? undefined, writtenFilter],
  ["sort", "sort", name],
  ["down", "down", (text) => ({ 1: true, 0: false })[text], (value) => (value ? "1" : "0")],
  ["at", "at", whole],
  ["beside", "beside", name],
  ["beside_method", "besideMethod", name],
  ["beside_budget", "besideBudget", whole],
  ["flip", "flip", oneOf(FLIPS.slice(0, 3))],
  ["show", "show", oneOf(["table", "curves"])],
  ["part", "part", oneOf(["questions", "methods", "common"])],
  ["theme", "theme", oneOf(["light", "dark"])],
]);
const ALWAYS = new Set(["sweep", "method", "budget"]);

/** The query of a view, with its question mark; what is as by default is left out. @param {View} view */
export function written(view) {
  const defaults = emptyView();
  const query = new URLSearchParams();
  for (const [key, field, , write = String] of ROWS) {
    if (!ALWAYS.has(key) && JSON.stringify(view[field]) === JSON.stringify(defaults[field])) continue;
    query.set(key, write(view[field]));
  }
  return `?${query}`;
}

/** What a query asks for, and the keys that it names in vain. @returns {{ asked: Partial<View>, ignored: string[] }} */
export function read(text) {
  const asked = {};
  const ignored = [];
  const query = new URLSearchParams(text.slice(0, 20000));
  for (const [key, field, parse] of ROWS) {
    const value = query.get(key);
    if (value === null) continue;
    const parsed = parse(value);
    if (parsed === undefined) ignored.push(key);
    else asked[field] = parsed;
  }
  return { asked, ignored };
}

const QUIET = new Set(["at", "theme", "part"]);

/** Whether going from one view to the other is a step that Back takes back. @param {View} before @param {View} after */
export function isStep(before, after) {
  return Object.keys(after).some(
    (field) => !QUIET.has(field) && JSON.stringify(before[field]) !== JSON.stringify(after[field]),
  );
}
