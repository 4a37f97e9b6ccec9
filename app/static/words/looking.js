// Where each word looked: two small maps, the words under them, and what is sent for.

import { snapBudget } from "../plan.js";
import { planOf } from "../store.js";
import { percent } from "../format.js";
import { place } from "../describe.js";
import { VIRIDIS_GRADIENT } from "../color.js";
import { byFrame, firstWord, layerChoices, shownOf } from "./maps.js";
import { makeMap } from "./mini.js";
import { el, fill, setText, toggle } from "../dom.js";

const RUNNING = new Set(["waiting", "loading", "encoding", "answering", "looking"]);
const REF = { full: "full", method: "ours" };

export const isReading = (task) => RUNNING.has(task.phase);

/** What the words on screen depend on. @param {any} state */
export function askedFor(state) {
  const { trace, method, budget, share, edited, model } = state;
  const n = trace?.tokens.n ?? 0;
  const kept = n && snapBudget(planOf(state), n, budget);
  const forced = JSON.stringify(state.forced ?? null);
  return JSON.stringify([trace?.question, model?.answering, method, kept, share, edited[method] ?? {}, forced]);
}

/**
 * @param {any} at the panel's elements
 * @param {import("../store.js").Store} store
 * @param {any} config @param {{ ask: (task: string, more: any) => void, halt: () => void }} doors
 */
export function mountLooking(at, store, config, doors) {
  const { ask, halt } = doors;
  const maps = { full: makeMap(store, "Attention with all tokens"), method: makeMap(store, "Attention when pruned") };
  fill(at.fullmap, maps.full.node);
  fill(at.oursmap, maps.method.node);
  at.gradient.style.background = VIRIDIS_GRADIENT;
  at.start.addEventListener("click", () => ask("look", { group: store.state.looked.group ?? "all" }));
  at.halt.addEventListener("click", halt);
  at.group.addEventListener("change", () => {
    const { looked } = store.state;
    const group = at.group.value;
    const here = looked.sides.full.maps[group] && looked.sides.method.maps[group];
    if (here) store.set({ looked: { ...looked, group } });
    else ask("look", { group });
  });
  for (const side of ["full", "method"]) mountWords(at[`${REF[side]}words`], side, store);

  store.on(["looked", "trace", "method", "budget", "view", "edited", "share", "tab"], (state) => {
    const { looked } = state;
    const running = isReading(looked);
    const stale = looked.sides && looked.asked !== askedFor(state);
    toggle(at.start, !running && (!looked.sides || Boolean(stale)));
    setText(at.start, stale ? `Look again with ${nameOf(state, config)}` : "Show where each word looked");
    toggle(at.halt, running);
    setText(at.status, statusOf(looked));
    at.status.dataset.phase = looked.phase;
    toggle(at.found, Boolean(looked.sides));
    toggle(at.layersbox, Boolean(looked.sides));
    if (!looked.sides) return;
    at.found.classList.toggle("fx-stale-words", Boolean(stale));
    drawChoices(at.group, looked);
    setText(at.fulltitle, `All ${state.trace?.tokens.n ?? ""} tokens`);
    setText(at.ourstitle, titleOf(looked, config));
    for (const side of ["full", "method"]) drawWords(at[`${REF[side]}words`], looked.sides[side].words, looked);
  });
  const redraw = (state) => {
    if (state.tab !== "words" || !state.looked.sides || !state.trace) return;
    draw(at, state, maps, store);
  };
  store.on(["looked", "word", "glance", "cursor", "frame", "tile", "trace", "tab", "veil"], redraw);
  new ResizeObserver(() => redraw(store.state)).observe(at.found);
  store.when("theme", () => redraw(store.state));
}

function nameOf(state, config) {
  const label = config.methods.find((m) => m.name === state.method)?.label ?? state.method;
  return state.view ? `${label} at ${state.view.budget} tokens` : label;
}

function titleOf({ key, sides }, config) {
  const [method] = key.split("@");
  const label = config.compare.find((m) => m.name === method)?.label ?? method;
  return `${label}, ${Math.round(sides.method.read)} tokens`;
}

function statusOf({ phase, text, at, of }) {
  return of && RUNNING.has(phase) && text ? `${text} (${at} of ${of} answers done)` : (text ?? "");
}

function drawChoices(select, { sides, group }) {
  const { layers } = sides.full;
  if (select.dataset.layers !== String(layers)) {
    fill(select, ...layerChoices(layers).map(([value, label]) => el("option", { value }, label)));
    select.dataset.layers = String(layers);
  }
  if (select.value !== group) select.value = group;
}

/** Words as buttons: one tab stop, arrows step, pointing shows, pressing pins. */
function mountWords(node, side, store) {
  const indexOf = (target) => [...node.children].indexOf(target.closest("button"));
  const glance = (event) => {
    const at = indexOf(event.target);
    if (at >= 0) store.set({ glance: { side, at } });
  };
  node.addEventListener("pointerover", glance);
  node.addEventListener("focusin", glance);
  node.addEventListener("pointerleave", () => store.set({ glance: null }));
  node.addEventListener("focusout", () => store.set({ glance: null }));
  node.addEventListener("click", (event) => {
    const at = indexOf(event.target);
    const { word } = store.state;
    if (at >= 0) store.set({ word: word?.side === side && word.at === at ? null : { side, at } });
  });
  node.addEventListener("keydown", (event) => {
    if (event.key === "Escape") store.set({ word: null });
    const now = indexOf(event.target);
    const last = node.children.length - 1;
    const to = { ArrowLeft: now - 1, ArrowUp: now - 1, ArrowRight: now + 1, ArrowDown: now + 1, Home: 0, End: last };
    if (!(event.key in to)) return;
    event.preventDefault();
    node.children[Math.max(0, Math.min(last, to[event.key]))].focus();
  });
}

function drawWords(node, words, looked) {
  if (node.drawn === words) return;
  node.drawn = words;
  const first = Math.min(words.length - 1, firstWord(looked.sides.full.words, looked.sides.method.words));
  fill(node, ...words.map((text, i) => el("button", { type: "button", tabindex: i === first ? 0 : -1 }, text)));
}

function draw(at, state, maps, store) {
  const { looked, word, glance, trace, cursor } = state;
  const shown = shownOf(looked, glance ?? word, looked.group);
  for (const side of ["full", "method"]) {
    const mine = shown?.[side] ?? null;
    maps[side].draw(state, { heat: mine ? { values: mine.values, ...shown.scale } : null });
    Object.assign(maps[side].canvas.dataset, { word: mine?.text ?? "", high: shown ? shown.scale.max.toFixed(6) : "" });
    [...at[`${REF[side]}words`].children].forEach((button, i) => {
      button.setAttribute("aria-pressed", String(word?.side === side && word.at === i));
      button.classList.toggle("fx-looking-from", mine?.at === i);
    });
    fill(at[`${REF[side]}share`], ...shareNodes(mine, trace, store, Boolean(shown)));
  }
  toggle(at.gradient.parentNode, Boolean(shown));
  setText(at.high, shown ? `${percent(shown.scale.max)} of a word’s attention` : "");
  setText(at.token, shown && cursor >= 0 ? tokenText(shown, trace, cursor) : hintOf(shown));
}

function hintOf(shown) {
  return shown ? "Point at a token to read its share." : "Point at a word, or step through them with the arrow keys.";
}

function tokenText(shown, trace, cursor) {
  const of = (mine) => (mine ? percent(mine.values[cursor]) : "–");
  return `Token #${cursor}, ${place(trace, cursor)}: ${of(shown.full)} with all tokens, ${of(shown.method)} when pruned.`;
}

/** "“yellow”: 41 % to the picture", and of a clip the frame that got most of it. */
function shareNodes(mine, trace, store, any) {
  if (!mine) return any ? ["No word in this place."] : [];
  const nodes = [`${percent(mine.share)} of it to the picture, the rest to words.`];
  if (trace.clip) {
    const [[frame, part]] = byFrame(trace.tokens, mine.values);
    nodes.push(
      " ",
      el(
        "button",
        { type: "button", class: "fx-words-frame", onclick: () => store.set({ frame, tile: -1 }) },
        `Most on frame ${frame + 1} (${percent(part)})`,
      ),
    );
  }
  return nodes;
}
