// A question that was opened from a list of the page Data sets: the way back to it, and to the questions beside.

import { setText, toggle } from "./dom.js";

const LONGEST = 4000; // characters
const OF_ONE = ["question", "in", "out", "token", "step", "frame", "part", "region"]; // keys that are about one picture

/** Whether a text can be the query of the page Data sets. That page reads it again, as hostile as any. */
export function isList(text) {
  return text.length <= LONGEST && Boolean(new URLSearchParams(text).get("sweep"));
}

/** The page Data sets with a list: whatever the text is, it stays behind the question mark. */
export function listAddress(list, { item = null, theme = "" } = {}) {
  const query = new URLSearchParams(list);
  if (item !== null) query.set("at", String(item));
  if (theme) query.set("theme", theme);
  return `./data?${query}`;
}

/** The query of this page about another question of the same list. @param {string} query @param {number} item */
export function queryFor(query, item) {
  const next = new URLSearchParams(query);
  for (const name of OF_ONE) next.delete(name);
  next.set("item", String(item));
  return `?${next}`;
}

/** at: {listed, backtolist, listplace, earlier, later}. */
export function mountListed(at, store) {
  let shown = "";
  for (const name of ["earlier", "later"])
    at[name].addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey || !at[name].hasAttribute("href")) return;
      event.preventDefault();
      store.act("visit", queryFor(window.location.search, Number(at[name].dataset.item)));
    });
  store.on(["list", "source", "theme"], ({ list, source, theme }) => {
    const there = Boolean(list && source);
    toggle(at.listed, there);
    if (!there) return;
    at.backtolist.setAttribute("href", listAddress(list, { item: source.item, theme }));
    const wanted = JSON.stringify([list, source.sweep, source.item]);
    if (wanted === shown) return;
    shown = wanted;
    place(null);
    beside(list, source).then((found) => shown === wanted && place(found));
  });

  function place(found) {
    setText(at.listplace, found ? `${found.place + 1} of ${found.total}` : "");
    for (const name of ["earlier", "later"]) {
      const item = found?.[name] ?? null;
      toggle(at[name], Boolean(found));
      at[name].dataset.item = item ?? "";
      if (item === null) at[name].removeAttribute("href");
      else at[name].setAttribute("href", `./${queryFor(window.location.search, item)}`);
    }
  }
}

/** None where that cannot be known: the way back is there all the same. */
async function beside(list, source) {
  const { neighbours } = await import("./data/neighbours.js");
  return neighbours(list, source).catch(() => null);
}
