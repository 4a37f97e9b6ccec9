// What is on screen, and who draws it: the view, and what the server said about it.

/**
 * phase of an answer: "asking", "here" or "failed"; text: the sentence of the latter.
 * @typedef {{ phase: "asking" | "here" | "failed", text: string, value: any }} Answer
 * @typedef {ReturnType<typeof createStore>} Store
 */

/** @type {Answer} */
export const ASKING = { phase: "asking", text: "", value: null };

/** @param {import("./view.js").View} view */
export function createStore(view) {
  const state = {
    view,
    sweeps: /** @type {import("./view.js").Sweep[]} */ ([]),
    notes: /** @type {string[]} */ ([]),
    columns: /** @type {import("./filter.js").Column[]} */ ([]),
    headline: ASKING,
    paired: /** @type {any[]} */ ([]), // lines with what stands beside them
    unpaired: "", // why there is none
    common: ASKING,
    total: /** @type {Answer} */ (ASKING), // of the questions that the filter lets through
  };
  const listeners = [];
  let changed = new Set();

  function flush() {
    const keys = changed;
    changed = new Set();
    for (const { watched, draw } of listeners) if (watched.some((key) => keys.has(key))) draw(state, keys);
  }

  return {
    state,
    /** @param {Partial<typeof state>} patch */
    set(patch) {
      const waiting = changed.size > 0;
      for (const [key, value] of Object.entries(patch)) {
        if (Object.is(state[key], value)) continue;
        state[key] = value;
        changed.add(key);
      }
      if (changed.size && !waiting) queueMicrotask(flush);
    },
    /** @param {Partial<import("./view.js").View>} patch */
    look(patch) {
      this.set({ view: { ...state.view, ...patch } });
    },
    /** Draw now, and whenever one of these has changed.
     * @param {(keyof typeof state)[]} watched @param {(state: any, keys: Set<string>) => void} draw */
    on(watched, draw) {
      listeners.push({ watched, draw });
      draw(state, new Set(watched));
    },
  };
}

/** The sweep on screen. @param {Store["state"]} state */
export function sweepOf({ sweeps, view }) {
  return sweeps.find(({ name }) => name === view.sweep);
}

/** An answer on its way keeps what was there before, which is drawn pale. @param {Answer} before @returns {Answer} */
export function again(before) {
  return { phase: "asking", text: "", value: before.value };
}
