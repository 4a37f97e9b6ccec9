// The first line, guided tours, and lecture mode: one stop a screen, in big type, with notes for the lecturer.

import { el, fill, refs, setText, toggle } from "../dom.js";
import { flipProjector } from "../page.js";
import { besides, patchOf, PLACES, stepOf, viewOfStop } from "./tour.js";

const SEEN = "fsr-explorer-hello";
const ROOM = 12; // pixels above and below what a stop is about

export function mountGuide(root, store) {
  const at = refs(root);
  const tour = { stops: [], at: 0, lecturing: false, notes: false, wanted: null, before: null, projector: false };
  mountHello(at);

  async function start({ name, lecturing = false }) {
    const told = await read(name);
    toggle(at.tourproblem, !told.stops);
    setText(at.tourproblem, told.problem ?? "");
    if (!told.stops) return;
    remember(at);
    Object.assign(tour, { stops: told.stops, before: document.activeElement, lecturing, notes: false });
    tour.projector = document.body.classList.contains("fx-projector");
    document.body.classList.toggle("fx-lecturing", lecturing);
    document.body.classList.add("fx-touring");
    if (lecturing) flipProjector(store, true);
    go(0);
  }

  function go(to) {
    if (to >= tour.stops.length) return end();
    tour.at = Math.max(0, to);
    tour.wanted = viewOfStop(tour.stops, tour.at);
    drawStop(at, tour);
    const { example } = tour.wanted;
    if (example && example !== store.state.example) store.act("example", example);
    else arrive();
    place();
    at.stop.focus({ preventScroll: true });
  }

  /** The example of the stop is on the stage: show the rest of its view. */
  function arrive() {
    const view = tour.wanted;
    tour.wanted = null;
    store.set(patchOf(store.state, view));
    store.set({ playback: stepOf(store.state, view.playback) });
    requestAnimationFrame(() => requestAnimationFrame(place));
  }

  function end() {
    if (!tour.stops.length) return;
    Object.assign(tour, { stops: [], wanted: null });
    document.body.classList.remove("fx-touring", "fx-lecturing");
    if (tour.lecturing) flipProjector(store, tour.projector);
    toggle(at.stop, false);
    toggle(at.spot, false);
    store.set({ playback: null, cursor: -1 });
    const back = tour.before?.offsetParent ? tour.before : document.querySelector("#fx-range");
    /** @type {HTMLElement | null} */ (back)?.focus();
  }

  function place() {
    if (tour.stops.length) placeStop(at, tour);
  }

  store.on(["example", "trace", "about"], (state) => {
    if (tour.wanted?.example && tour.wanted.example === state.example && state.trace) arrive();
  });
  store.on(["tab", "mode", "trace", "view", "playback"], () => tour.stops.length && requestAnimationFrame(place));
  window.addEventListener("resize", place);
  window.addEventListener("scroll", place, { passive: true, capture: true });
  at.end.addEventListener("click", end);
  at.stopback.addEventListener("click", () => go(tour.at - 1));
  at.stopnext.addEventListener("click", () => go(tour.at + 1));
  const flipNotes = () => ((tour.notes = !tour.notes), drawStop(at, tour), place());
  at.shownotes.addEventListener("click", flipNotes);
  mountKeys(at.stop, tour, { go, end, flipNotes });
  at.take.addEventListener("click", () => start({ name: "first" }));
  store.when("tour", start);
  startLinked(store, start);
}

/** ?tour=name of a link, once there is a picture; &lecture=1 begins in lecture mode. */
function startLinked(store, start) {
  const query = new URLSearchParams(window.location.search);
  let name = query.get("tour");
  store.on(["trace"], ({ trace }) => {
    if (!name || !trace) return;
    start({ name, lecturing: query.get("lecture") === "1" });
    name = null;
  });
}

/** A tour as the server has checked it, or what is wrong with it. */
async function read(name) {
  try {
    const answer = await fetch(`./tours/${encodeURIComponent(name)}`);
    return await answer.json();
  } catch {
    return { problem: "The tour could not be read from the server. Try again in a moment." };
  }
}

function mountHello(at) {
  let seen = null;
  try {
    seen = localStorage.getItem(SEEN);
  } catch {
    // a browser that keeps nothing is told each time
  }
  const asked = new URLSearchParams(window.location.search).has("tour");
  toggle(at.hello, !seen && !asked);
  document.body.classList.toggle("fx-greeting", !at.hello.hidden);
  at.dismiss.addEventListener("click", () => {
    remember(at);
    /** @type {HTMLElement | null} */ (document.querySelector("#fx-range"))?.focus();
  });
}

function remember(at) {
  toggle(at.hello, false);
  document.body.classList.remove("fx-greeting");
  try {
    localStorage.setItem(SEEN, "seen");
  } catch {
    // nothing to remember with
  }
}

function drawStop(at, { stops, at: now, lecturing, notes }) {
  const stop = stops[now];
  toggle(at.stop, true);
  setText(at.stoptitle, stop.title);
  setText(at.stoptext, stop.text);
  setText(at.stopcount, `${now + 1} of ${stops.length}`);
  toggle(at.shownotes, lecturing && Boolean(stop.notes));
  at.shownotes.setAttribute("aria-pressed", String(notes));
  toggle(at.stopnotes, lecturing && notes && Boolean(stop.notes));
  setText(at.stopnotes, stop.notes ?? "");
  at.stopback.disabled = now === 0;
  setText(at.stopnext, now === stops.length - 1 ? "End" : "Next");
}

function targetOf(stop) {
  const nodes = (PLACES[stop.at] ?? []).map((selector) => document.querySelector(selector));
  return nodes.find((node) => node && node.getClientRects().length > 0) ?? null;
}

/** As little scrolling as shows it between the bar on top and the card below; its beginning where it is too tall. */
function bringIn(target, card) {
  const { top, bottom } = target.getBoundingClientRect();
  const bar = document.querySelector(".fx-topbar")?.getBoundingClientRect();
  const [from, to] = [Math.max(0, bar?.bottom ?? 0) + ROOM, card.getBoundingClientRect().top - ROOM];
  const by = bottom > to ? Math.min(bottom - to, top - from) : Math.min(0, top - from);
  if (by) window.scrollBy({ top: by });
}

function placeStop(at, { stops, at: now, lecturing }) {
  const target = targetOf(stops[now]);
  const docked = lecturing || window.innerWidth <= 760;
  toggle(at.spot, Boolean(target));
  at.stop.classList.toggle("fx-stop-docked", docked);
  if (target && at.spot.dataset.stop !== String(now)) {
    at.spot.dataset.stop = String(now);
    if (docked) bringIn(target, at.stop);
    else target.scrollIntoView({ block: "nearest", inline: "nearest" });
  }
  const box = target?.getBoundingClientRect();
  if (box) {
    const grow = 6;
    const px = (v) => `${Math.round(v)}px`;
    Object.assign(at.spot.style, {
      left: px(box.left - grow),
      top: px(box.top - grow),
      width: px(box.width + 2 * grow),
      height: px(box.height + 2 * grow),
    });
  }
  if (docked) return void at.stop.removeAttribute("style");
  const room = { width: window.innerWidth, height: window.innerHeight };
  const size = at.stop.getBoundingClientRect();
  const middle = { left: (room.width - size.width) / 2, top: (room.height - size.height) / 2 };
  const { left, top } = box ? besides(box, size, room) : middle;
  Object.assign(at.stop.style, { left: `${left}px`, top: `${top}px` });
}

/** Escape ends; arrows step in the card, and in lecture mode wherever nothing else wants them; Page keys step always. */
function mountKeys(card, tour, { go, end, flipNotes }) {
  const free = (target) =>
    card.contains(target) ||
    (tour.lecturing &&
      !target.closest("input, select, canvas, [role=tab], [role=radio], [role=slider], [role=listbox]"));
  document.addEventListener(
    "keydown",
    (event) => {
      const target = /** @type {HTMLElement} */ (event.target);
      if (!tour.stops.length || event.ctrlKey || event.metaKey || event.altKey) return;
      if (target.closest("textarea, input:not([type=range]):not([type=checkbox]), dialog")) return;
      const way = { ArrowRight: 1, ArrowLeft: -1, PageDown: 1, PageUp: -1 }[event.key];
      const act =
        event.key === "Escape"
          ? end
          : way && (event.key.startsWith("Page") || free(target))
            ? () => go(tour.at + way)
            : tour.lecturing && event.key.toLowerCase() === "n"
              ? flipNotes
              : null;
      if (!act) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      act();
    },
    true,
  );
}

/** The tours on offer, in the Lecture tab. @param {HTMLElement} node */
export function offerTours(node, store, tours) {
  const button = (label, detail) =>
    el("button", { type: "button", "data-tour": detail.name, onclick: () => store.act("tour", detail) }, label);
  fill(
    node,
    ...tours.flatMap(({ name, title }) => [
      el("h3", {}, title),
      button("Take the tour", { name }),
      button("Lecture mode", { name, lecturing: true }),
    ]),
  );
}
