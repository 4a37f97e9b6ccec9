// Which tokens a word of the pruned answer rests on: how much less probable it is without each of them, given the words
// before it. Measured by leaving out, which attention is not. Pure functions: no DOM, no network.

import { aboutOf, reach, studyOf } from "../why/studies.js";
import { divergingColors } from "../why/diverging.js";

/** The study of influence of the selection on screen; null where there is none. */
export function influenceStudy(state, config) {
  return studyOf(state, aboutOf(state, config), "influence");
}

/** Whether the word shown is that of the study: it is, unless the answer was made anew in between. */
function isWord(study, at, text) {
  return study?.words?.[at]?.text === text;
}

/**
 * For every token of n what the word rests on it, in nats, NaN where it was not left out; a merged group's on all that it
 * absorbed. reach: the end of one scale for all words of the answer. Null where it is not known.
 * @param {any} study @param {number} at @param {string} text @param {number} n
 * @returns {{ values: Float32Array, reach: number } | null}
 */
export function influenceOf(study, at, text, n) {
  if (!isWord(study, at, text)) return null;
  const values = new Float32Array(n).fill(NaN);
  study.influence.forEach(({ token, absorbed }, i) => {
    for (const t of [token, ...(absorbed ?? [])]) if (t < n) values[t] = study.words[at].delta[i];
  });
  return { values, reach: reach(study.words.flatMap(({ delta }) => delta)) };
}

/** The tokens that a word rests on most, whichever way: [token, delta]. @param {any} study @param {number} at */
export function strongest(study, at, count = 3) {
  const { delta } = study.words[at];
  const all = study.influence.map(({ token }, i) => /** @type {[number, number]} */ ([token, delta[i]]));
  return all.sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]) || a[0] - b[0]).slice(0, count);
}

/** The pinned word's influence as a layer of the main canvas while its tab shows it; null where there is none.
 *  @param {any} state */
export function wordLayer(state) {
  const { looked, word, tab, part, trace, playback, view } = state;
  const shown = tab === "words" && part === "look" && looked?.measure === "influence" && playback === null;
  if (!shown || word?.side !== "method" || !trace || !view) return null;
  const study = studyOf(state, { method: state.method, budget: view.budget }, "influence");
  const text = looked.sides?.method.words[word.at];
  const found = influenceOf(study, word.at, text, trace.tokens.n);
  return found && { ...found, text, colors: divergingColors(found.values, found.reach), labels: [], rings: [] };
}
