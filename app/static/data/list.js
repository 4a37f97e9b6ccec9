// The list of questions: only what is on screen is drawn, and asked for.

import { fill, refs, setText, toggle } from "../dom.js";
import { PAGE, Refused, questionsAddress } from "./asking.js";
import { refill } from "./focus.js";
import { besideNameOf, columnsShown, emptyRow, fillRow, headOf } from "./row.js";
import { again, sweepOf } from "./store.js";
import { pagesOf, scrollFor, seen, tallness } from "./window.js";

const AROUND = 3; // rows above and below the screen
const RESTS = 90; // ms without scrolling before a screenful is asked for
const HEIGHTS = { wide: 60, phone: 112, phoneBeside: 144 }; // of a row, as in list.css
const KEYS = new Set(["sweep", "method", "budget", "filter", "sort", "down", "beside", "besideMethod", "besideBudget"]);

/** The view but for what the list does not depend on. @param {import("./view.js").View} view */
const keyOf = (view) => JSON.stringify(Object.entries(view).filter(([name]) => KEYS.has(name)));

/** get(address, signal) -> JSON. */
export function mountList(root, store, get) {
  const at = refs(root);
  const phone = window.matchMedia("(max-width: 760px)");
  /** What is known of the list of one view. */
  let list = { key: "", total: -1, pages: new Map(), asked: new Set(), stop: new AbortController() };
  const nodes = /** @type {Map<number, HTMLElement>} */ (new Map());
  let resting = 0;
  let theme = "";
  let settling = true; // pictures wait until scrolling rests

  const sizes = () => ({
    total: Math.max(0, list.total),
    row: !phone.matches ? HEIGHTS.wide : store.state.view.beside ? HEIGHTS.phoneBeside : HEIGHTS.phone,
    height: at.scroller.clientHeight,
  });
  const rowAt = (index) => list.pages.get(Math.floor(index / PAGE))?.[index % PAGE];

  async function ask(page) {
    const mine = list;
    if (mine.asked.has(page)) return;
    mine.asked.add(page);
    try {
      const { view } = store.state;
      const wanted = mine.total < 0 ? view.at : null;
      const { total, rows, place } = await get(questionsAddress(view, page * PAGE, wanted), mine.stop.signal);
      if (mine !== list) return; // another list is on screen by now
      list.pages.set(page, rows);
      const first = list.total < 0;
      list.total = total;
      store.set({ total: { phase: "here", text: "", value: total } });
      if (first) {
        begin(place ?? 0);
        askForScreen();
      }
      draw();
    } catch (error) {
      if (mine !== list || error.name === "AbortError") return;
      if (!(error instanceof Refused)) throw error;
      mine.asked.delete(page); // scrolling there again asks again
      if (mine.total < 0) clear(); // of the list before
      store.set({ total: { phase: "failed", text: error.message, value: null } });
    }
  }

  function clear() {
    nodes.clear();
    fill(at.layer);
  }

  /** The first rows of another list are here: what was before goes. index: of the row that is to be on screen. */
  function begin(index) {
    clear();
    at.layer.style.height = `${tallness(sizes())}px`;
    at.scroller.scrollTop = scrollFor(sizes(), 0, index);
  }

  function askForScreen() {
    const { total, height } = sizes();
    if (total <= 0 || !height) return;
    const { first, last } = seen(sizes(), at.scroller.scrollTop);
    for (const page of pagesOf(first, last, PAGE)) if (page * PAGE < total) ask(page);
  }

  function draw() {
    const now = sizes();
    at.layer.style.height = `${tallness(now)}px`;
    root.setAttribute("aria-rowcount", String(now.total + 1));
    if (!now.total) return clear();
    const { first, last, shift } = seen(now, at.scroller.scrollTop);
    const [from, to] = [Math.max(0, first - AROUND), Math.min(now.total - 1, last + AROUND)];
    for (const [index, node] of nodes) {
      if ((index >= from && index <= to) || node.contains(document.activeElement)) continue;
      node.remove();
      nodes.delete(index);
    }
    const { view, columns, sweeps } = store.state;
    const context = {
      view,
      columns: columnsShown(columns, view),
      sweep: sweepOf(store.state),
      besideName: besideNameOf(sweeps, view),
    };
    for (let index = from; index <= to; index++) if (!nodes.has(index)) nodes.set(index, added(index));
    for (const [index, node] of nodes) {
      node.style.transform = `translateY(${index * now.row - shift}px)`;
      const row = rowAt(index);
      if (row && node.dataset.item !== String(row.item)) fillRow(node, row, context);
      if (row) node.toggleAttribute("data-at", row.item === view.at);
    }
    showPictures();
    rove();
  }

  function added(index) {
    const node = emptyRow(index);
    const after = [...at.layer.children].find((other) => Number(other.dataset.index) > index);
    at.layer.insertBefore(node, after ?? null); // in reading order
    return node;
  }

  function showPictures() {
    if (!settling) return;
    for (const image of at.layer.querySelectorAll("img[data-src]")) {
      image.setAttribute("src", image.dataset.src);
      delete image.dataset.src;
    }
  }

  /** One link of the list is a tab stop: that under the cursor, else the first on screen. */
  function rove() {
    const { first } = seen(sizes(), at.scroller.scrollTop);
    const here = [...nodes.values()].find((node) => node.hasAttribute("data-at"));
    const stop = here ?? nodes.get(first);
    for (const node of nodes.values()) {
      const link = node.querySelector("a");
      if (link) link.tabIndex = node === stop ? 0 : -1;
    }
  }

  function goTo(index) {
    const { total } = sizes();
    const wanted = Math.min(total - 1, Math.max(0, index));
    at.scroller.scrollTop = scrollFor(sizes(), at.scroller.scrollTop, wanted);
    draw();
    nodes.get(wanted)?.querySelector("a")?.focus({ preventScroll: true });
    askForScreen();
  }

  at.scroller.addEventListener("scroll", () => {
    settling = false;
    draw();
    clearTimeout(resting);
    resting = window.setTimeout(() => {
      settling = true;
      askForScreen();
      draw();
    }, RESTS);
  });
  at.layer.addEventListener("keydown", (event) => {
    const here = Number(event.target.closest("[data-index]")?.dataset.index);
    const screenful = Math.max(1, Math.floor(sizes().height / sizes().row) - 1);
    const by = { ArrowUp: -1, ArrowDown: 1, PageUp: -screenful, PageDown: screenful, Home: -Infinity, End: Infinity }[
      event.key
    ];
    if (by === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    goTo(here + by);
  });
  at.layer.addEventListener("focusin", (event) => {
    const row = rowAt(Number(event.target.closest("[data-index]")?.dataset.index));
    if (row) store.look({ at: row.item });
  });
  at.layer.addEventListener("error", (event) => event.target.toggleAttribute?.("data-broken", true), true);
  at.head.addEventListener("click", (event) => sortBy(store, event.target.closest("button[data-sort]")?.dataset.sort));
  new ResizeObserver(() => (draw(), askForScreen())).observe(at.scroller);
  phone.addEventListener("change", () => (clear(), draw()));

  store.on(["view", "sweeps", "columns", "total"], (state, keys) => {
    const { view, total, sweeps } = state;
    const key = keyOf(view);
    if (sweeps.length && view.sweep && key !== list.key) {
      list.stop.abort();
      list = { key, total: -1, pages: new Map(), asked: new Set(), stop: new AbortController() };
      store.set({ total: again(total) });
      ask(0);
    }
    const shown = columnsShown(state.columns, view);
    if (keys.has("columns") || keys.has("sweeps") || view.theme !== theme)
      for (const node of nodes.values()) delete node.dataset.item; // to fill anew: columns, names, the links' theme
    theme = view.theme;
    root.toggleAttribute("data-pale", total.phase === "asking" && total.value !== null);
    root.toggleAttribute("data-beside", Boolean(view.beside));
    root.style.setProperty("--fx-own", String(shown.length));
    refill(at.head, "sort", ...headOf(shown, view, besideNameOf(sweeps, view)));
    setText(at.liststatus, statusOf(total));
    toggle(at.liststatus, Boolean(statusOf(total)));
    if (list.total >= 0) draw();
  });
}

/** The same column again turns the order round; another begins with what is worst, or the first letter. */
function sortBy(store, sort) {
  if (!sort) return;
  const { view } = store.state;
  const falling = !["question", "unpruned", "answer"].includes(sort);
  store.look({ ...(sort === view.sort ? { down: !view.down } : { sort, down: falling }), at: null });
}

function statusOf({ phase, text, value }) {
  if (phase === "failed") return `The questions cannot be read: ${text}`;
  if (phase === "asking") return value === null ? "Reading the questions." : "";
  return value ? "" : "No question passes this filter; take a condition away to see more.";
}
