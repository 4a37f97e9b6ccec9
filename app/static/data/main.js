// The page of data sets: one store, panels that draw it, and one question at a time to the server for each of them.

import { refs, setText, toggle } from "../dom.js";
import { isStep, read, written } from "./address.js";
import {
  Refused,
  aboutAddress,
  commonAddress,
  createAsking,
  headlineAddress,
  latest,
  pairedAddress,
  sweepsAddress,
} from "./asking.js";
import { mountChips } from "./chips.js";
import { mountChoosing } from "./choosing.js";
import { askedColumns, mountCommon, withAsked } from "./common.js";
import { without } from "./filter.js";
import { mountHeadline } from "./headline.js";
import { mountList } from "./list.js";
import { again, createStore } from "./store.js";
import { emptyView, firstView, isPreset, settled } from "./view.js";
import { mountWindow } from "./page.js";

const get = createAsking((path, options) => fetch(path, options));
const store = createStore(emptyView());
const at = refs(document.body);

mountChoosing(document.body, store);
mountChips(at.filters, store);
mountHeadline(at.headline, store);
mountCommon(at.common, store);
mountList(at.list, store, get);
mountWindow(at, store);

store.on(["notes"], ({ notes }) => {
  setText(at.notes, notes.join(" "));
  toggle(at.notes, notes.length > 0);
});

/** Asks for what a panel shows whenever its address is another one. Its sentence stands in `key` where that fails. */
function follow(key, watched, addressOf, work = get) {
  const run = latest();
  let asked = "";
  store.on(watched, (state) => {
    const address = state.sweeps.length ? addressOf(state) : "";
    if (!address || address === asked) return;
    asked = address;
    store.set({ [key]: again(state[key]) });
    run((signal) => work(address, signal), {
      done: (value) => store.set({ [key]: { phase: "here", text: "", value } }),
      failed: (text) => store.set({ [key]: { phase: "failed", text, value: null } }),
    });
  });
}

/** Filters name columns, whose kind `about` tells: what depends on it waits for that. */
let known = "";
const aboutNow = latest();
store.on(["view", "sweeps"], ({ view, sweeps }) => {
  if (!sweeps.length || view.sweep === known) return;
  known = view.sweep;
  aboutNow((signal) => get(aboutAddress(view.sweep), signal), {
    done: learn,
    failed: (text) => store.set({ columns: [], headline: { phase: "failed", text, value: null } }),
  });
});

/** What `about` tells beyond the list of sweeps. Where no answer is known, the first view is of those that changed. */
function learn({ name, columns, labels, problems }) {
  const scored = (columns.find((c) => c.name === "unpruned_score")?.max ?? null) !== null;
  const sweeps = store.state.sweeps.map((s) => (s.name === name ? { ...s, labels, problems, scored } : s));
  const { view } = store.state;
  const { theme, part } = view;
  const first = (all) => ({ ...firstView(all.find((s) => s.name === name)), theme, part });
  const untouched = isPreset(view, { patch: first(store.state.sweeps) });
  store.set({ columns, sweeps, view: untouched && !scored ? first(sweeps) : view });
}

follow(
  "headline",
  ["view", "columns", "sweeps"],
  ({ view, columns }) => columns.length && headlineAddress(view, columns),
);
follow("common", ["view", "sweeps"], ({ view }) => commonAddress(view), sharedWith);

/** What flips share; of a column that the filter asks of, as if it did not. */
async function sharedWith(address, signal) {
  const { view } = store.state;
  const value = await get(address, signal);
  const wider = askedColumns(view.filter).map(async (column) => [
    column,
    await get(commonAddress(view, without(view.filter, column)), signal),
  ]);
  return withAsked(value, new Map(/** @type {any} */ (await Promise.all(wider))));
}

const pairedNow = latest();
store.on(["view", "columns"], ({ view, columns }) => {
  pairedNow(async (signal) => (view.beside && columns.length ? get(pairedAddress(view, columns), signal) : []), {
    done: (value) => store.set({ paired: value, unpaired: "" }),
    failed: (text) => store.set({ paired: [], unpaired: text }),
  });
});

/** The address follows the view; what is a step of it becomes an entry of the history. */
let shown = store.state.view;
store.on(["view"], ({ view, sweeps }) => {
  if (!sweeps.length || view === shown) return;
  const address = `${location.pathname}${written(view)}`;
  if (address !== location.pathname + location.search)
    history[isStep(shown, view) && shown.sweep ? "pushState" : "replaceState"](null, "", address);
  shown = view;
});

function visit(sweeps) {
  const { asked, ignored } = read(location.search);
  const { view, notes } = settled(asked, sweeps);
  if (ignored.length) notes.push(`This address says nothing readable about: ${ignored.join(", ")}.`);
  shown = view;
  store.set({ sweeps, view, notes });
  const address = `${location.pathname}${written(view)}`;
  if (address !== location.pathname + location.search) history.replaceState(null, "", address);
}

window.addEventListener("popstate", () => store.state.sweeps.length && visit(store.state.sweeps));

try {
  const sweeps = await get(sweepsAddress());
  if (sweeps.length) visit(sweeps);
  setText(
    at.waiting,
    sweeps.length ? "" : "No sweep is here yet: “python -m fsr sweep” makes one, and FSR_SWEEPS says where they are.",
  );
  toggle(at.waiting, !sweeps.length);
} catch (error) {
  if (!(error instanceof Refused)) throw error;
  setText(at.waiting, `The sweeps cannot be read: ${error.message}`);
}
