// The Words tab: where each word looked, and what another question changes.

import { isRunning } from "../answers.js";
import { showWith } from "../tabs.js";
import { mountCrossing, isCrossing } from "./crossing.js";
import { askedFor, isReading, mountLooking } from "./looking.js";
import { firstWord } from "./maps.js";
import { aboutOf } from "../why/studies.js";
import { drawChoice } from "../why/why.js";
import { mountRadios, refs, setChecked, toggle } from "../dom.js";

const FAILED = "The server could not take this. Try again in a moment.";
export const NOTHING = { phase: "idle", text: "" };

/**
 * @param {HTMLElement} root @param {import("../store.js").Store} store
 * @param {any} page
 * @param {{ look: (detail: any) => void, cross: (detail: any) => void, halt: (detail: any) => void }} io
 * @returns {(value: any) => void} what takes word from the server
 */
export function mountWords(root, store, config, page, io) {
  const at = refs(root);
  let run = 0;
  showWith(store, "words", at.panel);
  const parts = [...at.parts.children];
  for (const button of parts) button.addEventListener("click", () => store.set({ part: button.dataset.part }));
  mountRadios(at.parts, parts);
  store.on(["part"], ({ part }) => {
    for (const button of parts) setChecked(button, button.dataset.part === part);
    toggle(at.look, part === "look");
    toggle(at.cross, part === "cross");
  });

  at.about.addEventListener("change", () => store.set({ whyAt: Number(at.about.value) }));
  store.on(["mode", "trace", "chosen", "arrange", "rowMethod", "budget", "whyAt"], (state) => {
    const about = state.mode === "compare" ? aboutOf(state, config) : null;
    toggle(at.aboutbox, Boolean(about));
    if (about) drawChoice(at.about, about);
  });

  const key = (task) => (task === "look" ? "looked" : "crossed");
  const ask = (task, more) => {
    const { state } = store;
    const other = task === "look" ? "cross" : "look"; // one at a time, and the server's stop is for both
    const begun = { phase: "waiting", text: "Asking.", at: 0, of: 0, sent: askedFor(state, config) };
    const before = state[key(other)];
    const halted =
      isReading(before) || isCrossing(before) ? { [key(other)]: { ...before, phase: "idle", text: "" } } : {};
    store.set({ [key(task)]: { ...state[key(task)], ...begun }, ...halted });
    const question = state.trace ? { question: state.trace.question } : {};
    const { method, budget } = aboutOf(state, config) ?? {};
    const about = method ? { method, budget } : {};
    io[task]({ ...page.view(), ...about, ...question, ...more, words: ++run });
  };
  const halt = () => io.halt({ words: run });
  mountLooking(at, store, config, { ask, halt });
  mountCrossing(at, store, { ask, halt });

  store.on(["trace", "about", "model"], (state) => {
    const asked = JSON.stringify([state.about, state.trace?.question, state.model?.answering]);
    if (root.dataset.asked === asked) return;
    root.dataset.asked = asked;
    store.set({ looked: NOTHING, crossed: NOTHING, word: null, glance: null });
  });
  store.on(["layer"], (_, keys) => keys.has("layer") && store.set({ word: null })); // another layer is wanted
  store.on(["status"], ({ status, looked, crossed }) => {
    if (!isRunning(status)) return; // a question ends what runs here
    if (isReading(looked)) store.set({ looked: { ...looked, phase: "stopped", text: "Stopped by a question." } });
    if (isCrossing(crossed)) store.set({ crossed: { ...crossed, phase: "stopped", text: "Stopped by a question." } });
  });
  store.when("unread", () => {
    for (const name of /** @type {const} */ (["looked", "crossed"])) {
      const task = store.state[name];
      if (isReading(task) || isCrossing(task)) store.set({ [name]: { ...task, phase: "failed", text: FAILED } });
    }
  });

  return (value) => {
    if (!value?.words || (value.about !== undefined && value.about !== store.state.about)) return;
    const told = JSON.parse(value.words);
    if (told.number !== run) return;
    if (told.task === "look") hearLook(store, told);
    else store.set({ crossed: { ...store.state.crossed, ...told } });
  };
}

function hearLook(store, told) {
  const known = store.state.looked;
  if (!told.sides) return store.set({ looked: { ...known, ...told } });
  const again = known.sides && known.asked === known.sent;
  const sides = again ? withMaps(known.sides, told.sides) : told.sides;
  const side = sides.method.words.length ? "method" : "full"; // of an answer without words there is nothing to show
  const first = firstWord(sides.full.words, sides.method.words);
  const at = Math.min(first, sides[side].words.length - 1);
  store.set({
    looked: { ...known, ...told, sides, asked: known.sent, text: "" },
    ...(again ? {} : { word: at < 0 ? null : { side, at } }),
  });
}

/** The same words with more layers. */
function withMaps(held, more) {
  return Object.fromEntries(
    Object.entries(more).map(([side, one]) => [side, { ...one, maps: { ...held[side].maps, ...one.maps } }]),
  );
}
