// A view as a file: saved with all that is on screen, and shown again as it was.

import { tunedOf } from "../made.js";

/** Python writes the file of what is on screen, and it downloads. kind: page or record. */
export function saveView(store, figure, kind, format) {
  const { trace, answers, method, view } = store.state;
  store.set({ drawing: true });
  const record = JSON.stringify({ ...trace, answers });
  figure({ figure: kind, format, runs: [[method, view?.budget ?? trace.tokens.n]], trace: record });
}

/**
 * The part of the state that a saved view stands for: what was on screen, and what its methods were set to; nothing for
 * other records. opened: {method, budget}, checked by the server.
 */
export function savedSetting(opened, trace, config) {
  if (!opened || !trace) return {};
  const tuned = Object.entries(trace.methods).map(([name, { parameters }]) => [
    name,
    tunedOf(config, name, parameters),
  ]);
  const edited = Object.fromEntries(tuned.filter(([, parameters]) => Object.keys(parameters).length));
  const { forced } = trace.methods[opened.method] ?? {};
  return {
    edited,
    ...(config.methods.some((m) => m.name === opened.method) ? { method: opened.method } : {}),
    ...(forced ? { forced } : {}),
    budget: opened.budget,
  };
}
