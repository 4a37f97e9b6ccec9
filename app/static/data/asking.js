// What the page asks the server: the addresses, one sentence for whatever fails, and only the newest answer counts.

import { written } from "./address.js";
import { isList } from "../listed.js";
import { ofQuestions, without, writtenFilter } from "./filter.js";

/**
 * @typedef {import("./view.js").View} View
 * @typedef {import("./filter.js").Column} Column
 */

export const PAGE = 50; // rows that are asked for at once

/** Relative to the page, so that a root path is kept; what is empty is left out. */
function address(path, query) {
  const filled = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const text = new URLSearchParams(filled.map(([key, value]) => [key, String(value)])).toString();
  return text ? `${path}?${text}` : path;
}

/** @param {View} view */
const chosen = ({ sweep, method, budget }) => ({ sweep, method, budget });

/** @param {View} view */
const other = ({ beside, besideMethod, besideBudget }) =>
  beside ? { beside, beside_method: besideMethod, beside_budget: besideBudget } : {};

export const sweepsAddress = () => "data/api/sweeps";

export const aboutAddress = (sweep) => address("data/api/about", { sweep });

/** @param {View} view @param {Column[]} columns */
export const headlineAddress = (view, columns, sweep = view.sweep) =>
  address("data/api/headline", { sweep, filter: writtenFilter(ofQuestions(view.filter, columns)) });

/** The same lines beside others: the differences, with their paired intervals. @param {View} view @param {Column[]} columns */
export const pairedAddress = (view, columns) =>
  address("data/api/paired", {
    sweep: view.sweep,
    filter: writtenFilter(ofQuestions(view.filter, columns)),
    ...other(view),
  });

/** at: an item whose place in the list is wanted, too.
 *  @param {View} view @param {number} offset @param {number | null} at */
export const questionsAddress = (view, offset, at = null, limit = PAGE) =>
  address("data/api/questions", {
    ...chosen(view),
    filter: writtenFilter(view.filter),
    sort: view.sort,
    down: view.down ? 1 : 0,
    offset,
    limit,
    at,
    ...other(view),
  });

/** @param {View} view */
export const commonAddress = (view, filter = view.filter) =>
  address("data/api/common", { ...chosen(view), flip: view.flip, filter: writtenFilter(without(filter, "flip")) });

/** The picture of a question with the tokens of a method; without one, the picture alone. */
export const pictureAddress = ({ sweep, method, budget }, item, side) =>
  address("data/picture", { sweep, item, side, method, budget });

/** @param {View} view @param {"csv" | "parquet"} as */
export const exportAddress = (view, as) =>
  address("data/export", { ...chosen(view), filter: writtenFilter(view.filter), as });

/** The explorer with this question, and the list that it is one of, where that is not too long. @param {View} view */
export const explorerAddress = (view, item) => {
  const list = written({ ...view, at: null, theme: "" }).slice(1);
  return address("./", { ...chosen(view), item, theme: view.theme, list: isList(list) ? list : "" });
};

const KEPT = 80; // answers

/** An error whose message is a sentence to read. */
export class Refused extends Error {}

/**
 * get(address, signal) -> the JSON value. Answers are kept: a sweep's rows do not change while it is looked at.
 * @param {typeof fetch} fetching
 */
export function createAsking(fetching) {
  const kept = new Map();
  return async function get(path, signal) {
    if (kept.has(path)) return kept.get(path);
    const answer = await fetching(path, { signal, headers: { Accept: "application/json" } }).catch((error) => {
      if (error.name === "AbortError") throw error;
      throw new Refused("the server cannot be reached.");
    });
    const value = await answer.json().catch((error) => {
      if (error.name === "AbortError") throw error;
      throw new Refused(`the server answered with ${answer.status}.`);
    });
    if (!answer.ok) throw new Refused(value?.error ?? `the server answered with ${answer.status}.`);
    kept.set(path, value);
    if (kept.size > KEPT) kept.delete(kept.keys().next().value);
    return value;
  };
}

/**
 * Runs one thing at a time for a panel: what begins later stops what began before, whose answer then is never told.
 * run(work, {done, failed}): work(signal) gives a promise.
 */
export function latest() {
  let now = /** @type {AbortController | null} */ (null);
  return async function run(work, { done, failed }) {
    now?.abort();
    const mine = (now = new AbortController());
    try {
      const value = await work(mine.signal);
      if (mine === now) done(value);
    } catch (error) {
      if (mine !== now || error.name === "AbortError") return;
      if (!(error instanceof Refused)) throw error;
      failed(error.message);
    }
  };
}
