// Influence and gain as layers of the canvas, with the marks that go with them. Pure but for memory of the last ones.

import { divergingColors } from "./diverging.js";
import { gainByToken, influenceByToken, ranked, reach, studyOf } from "./studies.js";

const LABELLED = 5; // tokens that carry their place as a number
const made = new WeakMap(); // study -> layer

/** @typedef {{ values: Float32Array, reach: number, colors: string[], labels: { token: number, text: string }[], rings: number[] }} Layer */

/** What a layer paints of a study; null where the study has nothing of it yet. @param {any} study @param {number} n
 *  @returns {Layer | null} */
export function layerOf(study, n) {
  if (!study || !(study.influence?.length || study.regain?.regions?.length || study.regain?.tokens?.length))
    return null;
  if (!made.has(study)) {
    const influence = study.what === "influence";
    const values = influence ? influenceByToken(study, n) : gainByToken(study, n);
    const most = reach(values.filter((v) => !Number.isNaN(v)));
    const labels = influence ? numbered(ranked(study.influence)) : [];
    const rings = study.repair?.tokens ?? [];
    made.set(study, { values, reach: most, colors: divergingColors(values, most), labels, rings });
  }
  return made.get(study);
}

/** The first ones carry their place and, those that speak against the answer, a minus. */
function numbered(items) {
  return items.slice(0, LABELLED).map(({ token, delta }, i) => ({ token, text: `${delta < 0 ? "−" : ""}${i + 1}` }));
}

/** Layers of the canvas that a study fills: what the study is called, and how a button says it. */
export const LAYERS = {
  influence: { what: "influence", label: "Influence", help: "measured by leaving each token out, not attention" },
  gain: { what: "repair", label: "Gain", help: "measured by putting dropped tokens back" },
};

/** The measured layer of what is on screen, or of one entry of the compare view; null where another is shown, or nothing
 *  was measured of just this selection. @param {any} state @param {{ method: string, budget: number }} [entry] */
export function measuredOf(state, entry) {
  const what = LAYERS[state.layer]?.what;
  if (!what || !state.trace || !(entry || state.view)) return null;
  const about = entry ?? { method: state.method, budget: state.view.budget };
  return layerOf(studyOf(state, about, what), state.trace.tokens.n);
}

/** The number that was measured of a token, for its card: its influence, or what putting it back would gain.
 *  @param {any} state @param {number} token @param {{ method: string, budget: number }} about
 *  @returns {[string, number] | null} */
export function measuredAt(state, token, about) {
  if (!state.study?.known || !Object.keys(state.study.known).length) return null;
  const n = state.trace.tokens.n;
  for (const [what, label] of /** @type {["influence" | "repair", string][]} */ ([
    ["influence", "Influence"],
    ["repair", "Gain if put back"],
  ])) {
    const layer = layerOf(studyOf(state, about, what), n);
    if (layer && !Number.isNaN(layer.values[token])) return [label, layer.values[token]];
  }
  return null;
}
