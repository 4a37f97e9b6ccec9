// One store that every panel reads: linked views for free. Changes are gathered and drawn once a frame.

import { viewAt } from "./plan.js";
import { NOTHING, forcedKey, withForced } from "./why/forced.js";

export const LAYERS = ["focus", "scan", "kept", "merged", "dropped"];

export const NO_CURVES = {
  phase: "idle",
  text: "",
  points: [],
  problems: {},
  methods: [],
  found: {},
  edited: {},
  run: 0,
};

/** Studies of answers: by what and selection, the one that runs, the last of each kind. See why/studies.js. */
export const NO_STUDY = { known: {}, now: null, last: {} };

/**
 * What one part of the page asks of another, by name. plan: select with a method; released: the slider was let go;
 * models, drawer, help: open them; theme, projector: the looks have changed;
 * example: show one of the gallery; tour: begin a guided one;
 * force, unforce: keep or drop tokens by hand; unstudied: a study failed on its way;
 * unread: the Words tab will hear no more; study: measure influence, or look for a repair;
 * open: a picture that the address names; visit: another address of this page, a query;
 * choose: a model; look: at a picture that came back; unscened: a scene failed on its way.
 * @typedef {"plan" | "released" | "models" | "drawer" | "help" | "theme" | "projector" | "example" | "tour"
 *   | "force" | "unforce" | "study" | "unstudied" | "unread" | "open" | "visit" | "choose" | "look"
 *   | "unscened"} Action
 *
 * @typedef {ReturnType<typeof createStore>} Store
 * @typedef {Store["state"]} State
 */

/** @param {Record<string, unknown>} initial */
export function createStore(initial) {
  const state = {
    about: 0,
    scene: "",
    trace: null,
    pictures: [],
    clip: null,
    example: null,
    source: /** @type {{ sweep: string, item: number, question: string } | null} */ (null),
    list: "", // of questions that the source is one of: the query of the page Data sets
    drawn: "",
    editable: "",
    sitting: 0,
    steady: 0,
    composing: false,
    question: "",
    where: "",
    method: "fsr",
    budget: 0,
    frame: 0,
    tile: -1,
    recording: "",
    share: "global",
    held: {},
    focusSeen: {},
    layer: "roles",
    layers: new Set(LAYERS),
    cursor: -1,
    pinned: -1,
    view: null,
    answers: {},
    aside: {},
    asked: null,
    note: "",
    status: { phase: "idle" },
    model: null,
    edited: {},
    mode: "one",
    tab: "answer",
    playback: null,
    forced: NOTHING,
    whatIf: { mode: "", said: "" },
    whyAt: 0,
    study: NO_STUDY,
    part: "look",
    looked: { phase: "idle" },
    crossed: { phase: "idle" },
    word: null,
    glance: null,
    needs: {},
    chosen: [],
    arrange: "methods",
    rowMethod: "fsr",
    layerAt: {},
    pair: [0, 1],
    problems: {},
    setting: "",
    veil: "",
    fidelity: NO_CURVES,
    drawing: false,
    playing: false,
    speed: 1,
    marking: false,
    region: null,
    theme: "",
    projector: false,
    notes: [],
    linkOf: /** @type {(() => string) | null} */ (null),
    ...initial,
  };
  const listeners = [];
  /** @type {{ action: Action, perform: (detail?: any) => void }[]} */
  const offers = [];
  let changed = new Set();
  let pending = 0;

  function flush() {
    pending = 0;
    const started = performance.now();
    const keys = changed;
    changed = new Set();
    if (["trace", "method", "budget", "forced"].some((k) => keys.has(k))) {
      state.view = derive(state);
      keys.add("view");
    }
    for (const { watched, draw } of listeners) if (watched.some((k) => keys.has(k))) draw(state, keys);
    if (keys.has("view")) measure(started);
  }

  return {
    state,
    /** @param {Partial<typeof state>} patch */
    set(patch) {
      for (const [key, value] of Object.entries(patch)) {
        if (Object.is(state[key], value)) continue;
        state[key] = value;
        changed.add(key);
      }
      if (changed.size && !pending) pending = requestAnimationFrame(flush);
    },
    /** Do what an action asks for; nothing where nobody has offered to. @param {Action} action @param {any} [detail] */
    act(action, detail) {
      for (const offer of offers) if (offer.action === action) offer.perform(detail);
    },
    /** Offer to perform an action. @param {Action} action @param {(detail?: any) => void} perform */
    when(action, perform) {
      offers.push({ action, perform });
    },
    /**
     * Draw now, and again in the next frame after one of these has changed; `keys` are those that have.
     * @param {(keyof typeof state)[]} watched
     * @param {(state: any, keys: Set<string>) => void} draw
     */
    on(watched, draw) {
      listeners.push({ watched, draw });
      draw(state, new Set(watched));
    },
  };
}

export function planOf(state) {
  return state.trace?.methods?.[state.method]?.plan ?? null;
}

/** Whether the trace on screen is of another model than the one that would answer now: nothing can be selected anew. */
export function isForeign({ trace, model }) {
  return Boolean(trace && model && trace.model.id !== model.answering);
}

export function flipLayer(store, name) {
  const layers = new Set(store.state.layers);
  if (!layers.delete(name)) layers.add(name);
  store.set({ layers });
}

function derive(state) {
  const plan = planOf(state);
  if (!plan) return null;
  const view = viewAt(plan, state.trace.tokens.n, state.budget);
  const known = forcedKey(state.trace.methods[state.method].forced) === forcedKey(state.forced);
  return known ? view : withForced(view, plan, state.trace.tokens.n, state.forced);
}

/** Repaint times, newest last, for the page's own test: computing the roles, drawing the canvas, updating every panel. */
export const repaints = [];

function measure(started) {
  const ended = performance.now();
  repaints.push(ended - started);
  if (repaints.length > 400) repaints.splice(0, 200);
  performance.clearMeasures("fsr:repaint");
  performance.measure("fsr:repaint", { start: started, end: ended });
}
