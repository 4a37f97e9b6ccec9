// Where each word looked: two small maps, the words under them, and what is sent for.

import { percent, sig3 } from "../format.js";
import { place } from "../describe.js";
import { VIRIDIS_GRADIENT } from "../color.js";
import { byFrame, firstWord, layerChoices, shownOf, withoutAttention } from "./maps.js";
import { makeMap } from "./mini.js";
import { influenceOf, influenceStudy, strongest } from "./influence.js";
import { DIVERGING_GRADIENT } from "../why/diverging.js";
import { aboutOf, isStudying } from "../why/studies.js";
import { el, fill, mountRadios, setChecked, setText, toggle } from "../dom.js";

const RUNNING = new Set(["waiting", "loading", "encoding", "answering", "looking"]);
const REF = { full: "full", method: "ours" };

export const isReading = (task) => RUNNING.has(task.phase);

/** What the words on screen depend on. @param {any} state @param {any} config */
export function askedFor(state, config) {
  const { trace, share, edited, model } = state;
  const { method = state.method, budget = 0 } = aboutOf(state, config) ?? {};
  const forced = JSON.stringify(state.forced ?? null);
  return JSON.stringify([trace?.question, model?.answering, method, budget, share, edited[method] ?? {}, forced]);
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
  at.natsgradient.style.background = DIVERGING_GRADIENT;
  mountMeasures(at, store);
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

  const setting = ["trace", "method", "budget", "view", "edited", "share", "forced", "mode", "chosen", "arrange"];
  const shown = /** @type {any} */ ([...setting, "rowMethod", "layerAt", "whyAt", "looked", "tab", "study"]);
  store.on(shown, (state) => {
    const { looked } = state;
    const running = isReading(looked);
    const stale = looked.sides && looked.asked !== askedFor(state, config);
    toggle(at.start, !running && (!looked.sides || Boolean(stale)));
    setText(at.start, stale ? `Look again with ${nameOf(state, config)}` : "Show where each word looked");
    toggle(at.halt, running);
    setText(at.status, statusOf(looked));
    at.status.dataset.phase = looked.phase;
    toggle(at.found, Boolean(looked.sides));
    const measuring = looked.measure === "influence";
    toggle(at.layersbox, Boolean(looked.sides) && !measuring);
    toggle(at.measures, Boolean(looked.sides));
    drawMeasure(at, state, measuring, influenceStudy(state, config));
    if (!looked.sides) return;
    at.found.classList.toggle("fx-stale-words", Boolean(stale));
    drawChoices(at.group, looked);
    setText(at.linear, measuring ? "" : withoutAttention(looked.sides.full));
    toggle(at.linear, Boolean(at.linear.textContent));
    setText(at.fulltitle, `All ${state.trace?.tokens.n ?? ""} tokens`);
    setText(at.ourstitle, titleOf(looked, config));
    for (const side of ["full", "method"]) drawWords(at[`${REF[side]}words`], looked.sides[side].words, looked);
  });
  const redraw = (state) => {
    if (state.tab !== "words" || !state.looked.sides || !state.trace) return;
    draw(at, state, maps, store, state.looked.measure === "influence" ? influenceStudy(state, config) : null);
  };
  store.on(["looked", "word", "glance", "cursor", "frame", "tile", "trace", "tab", "veil", "study", "forced"], redraw);
  new ResizeObserver(() => redraw(store.state)).observe(at.found);
  store.when("theme", () => redraw(store.state));
}

/** Attention, or influence, which is measured when it is asked for. */
function mountMeasures(at, store) {
  const buttons = [...at.measures.children];
  for (const button of buttons)
    button.addEventListener("click", () =>
      store.set({ looked: { ...store.state.looked, measure: button.dataset.measure } }),
    );
  mountRadios(at.measures, buttons);
  at.measure.addEventListener("click", () => store.act("study", "influence"));
  store.on(["looked"], ({ looked }) => {
    const measure = looked.measure ?? "attention";
    for (const button of buttons) setChecked(button, button.dataset.measure === measure);
    toggle(at.leadattention, measure === "attention");
    toggle(at.leadinfluence, measure === "influence");
  });
}

function drawMeasure(at, state, measuring, study) {
  const running = isStudying(study);
  toggle(at.measure, measuring && !running && study?.phase !== "done");
  at.measure.disabled = Boolean(state.study.now);
  if (measuring && (running || (study && study.phase !== "done")))
    setText(at.status, running && study.of ? `${study.text} ${study.at} of ${study.of}.` : (study.text ?? ""));
}

function nameOf(state, config) {
  const { label, budget, view } = aboutOf(state, config) ?? {};
  return view ? `${label} at ${budget} tokens` : (label ?? state.method);
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
  const { layers, numbers } = sides.full;
  const key = String(numbers ?? layers);
  if (select.dataset.layers !== key) {
    fill(select, ...layerChoices(layers, numbers).map(([value, label]) => el("option", { value }, label)));
    select.dataset.layers = key;
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
  if (!words.length) return fill(node, "(no text)");
  const first = Math.min(words.length - 1, firstWord(looked.sides.full.words, looked.sides.method.words));
  fill(node, ...words.map((text, i) => el("button", { type: "button", tabindex: i === first ? 0 : -1 }, text)));
}

/** study: of influence, where that is shown of words. */
function draw(at, state, maps, store, study) {
  if (state.looked.measure === "influence") return drawInfluence(at, state, maps, study);
  const { looked, word, glance, trace, cursor } = state;
  const shown = shownOf(looked, glance ?? word, looked.group);
  for (const side of ["full", "method"]) {
    const mine = shown?.[side] ?? null;
    maps[side].draw(state, { heat: mine ? { values: mine.values, ...shown.scale } : null });
    Object.assign(maps[side].canvas.dataset, { word: mine?.text ?? "", high: shown ? shown.scale.max.toFixed(6) : "" });
    markWords(at[`${REF[side]}words`], side, word, mine?.at);
    fill(at[`${REF[side]}share`], ...shareNodes(mine, trace, store, Boolean(shown)));
  }
  toggle(at.natsscale, false);
  toggle(at.gradient.parentNode, Boolean(shown));
  setText(at.high, shown ? `${percent(shown.scale.max)} of a word’s attention` : "");
  setText(at.token, shown && cursor >= 0 ? tokenText(shown, trace, cursor) : hintOf(shown));
}

function markWords(node, side, word, on) {
  [...node.children].forEach((button, i) => {
    button.setAttribute("aria-pressed", String(word?.side === side && word.at === i));
    button.classList.toggle("fx-looking-from", on === i);
  });
}

/** The same words, and which tokens each of the pruned answer rests on. */
function drawInfluence(at, state, maps, study) {
  const { looked, word, glance, trace, cursor } = state;
  const shown = /** @type {any} */ (shownOf(looked, glance ?? word, looked.group));
  const mine = shown?.method ?? null;
  const found = mine && influenceOf(study, mine.at, mine.text, trace.tokens.n);
  maps.full.draw(state, {});
  maps.method.draw(state, found ? { apart: found } : {});
  Object.assign(maps.method.canvas.dataset, { word: mine?.text ?? "", high: found ? found.reach.toFixed(6) : "" });
  for (const side of ["full", "method"]) markWords(at[`${REF[side]}words`], side, word, shown?.[side]?.at);
  setText(at.fullshare, "Measured for the pruned answer only: with all tokens it would take a prompt for each.");
  const most = found ? strongest(study, mine.at).map(([token, delta]) => `#${token} ${nats(delta)}`) : [];
  const missing = study?.words && mine ? "This answer was made anew since: measure again." : "Not measured yet.";
  setText(at.oursshare, found ? `“${mine.text}” rests most on ${most.join(", ")} nats.` : missing);
  toggle(at.gradient.parentNode, false);
  toggle(at.natsscale, Boolean(found));
  setText(at.natslow, found ? `−${sig3(found.reach)}, against the word` : "");
  setText(at.natshigh, found ? `+${sig3(found.reach)} nats, for it` : "");
  setText(at.token, found && cursor >= 0 ? leftOutText(found, mine, trace, cursor) : hintOf(shown));
}

const nats = (delta) => `${delta < 0 ? "−" : "+"}${sig3(Math.abs(delta))}`;

function leftOutText({ values }, { text }, trace, cursor) {
  const where = `Token #${cursor}, ${place(trace, cursor)}`;
  if (Number.isNaN(values[cursor])) return `${where}: dropped, so it cannot be left out.`;
  return `${where}: ${nats(values[cursor])} nats of “${text}” go with it.`;
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
