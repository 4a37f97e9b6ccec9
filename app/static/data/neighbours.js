// For the explorer: where a question stands in the list it was opened from, and which stand beside it.

import { read } from "./address.js";
import { createAsking, questionsAddress } from "./asking.js";
import { emptyView } from "./view.js";

const get = createAsking((path, options) => fetch(path, options));

/**
 * list: the query of this page. None where the question is not in that list.
 * @param {string} list @param {{ sweep: string, item: number }} source
 * @returns {Promise<{ place: number, total: number, earlier: number | null, later: number | null } | null>}
 */
export async function neighbours(list, { sweep, item }) {
  const view = { ...emptyView(), ...read(list).asked, beside: "" };
  if (view.sweep !== sweep) return null;
  const { place, total } = await get(questionsAddress(view, 0, item, 1));
  if (typeof place !== "number") return null;
  const from = Math.max(0, place - 1);
  const { rows } = await get(questionsAddress(view, from, null, 3));
  const at = (index) => rows[index - from]?.item ?? null;
  return { place, total, earlier: place ? at(place - 1) : null, later: at(place + 1) };
}
