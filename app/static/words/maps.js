// What words look at and what questions choose, as numbers for maps. Pure functions: no DOM, no network.

import { scaleOf } from "../color.js";

/** One byte a token. @param {string} text @returns {Uint8Array} */
function bytesOf(text) {
  const read = atob(text);
  return Uint8Array.from({ length: read.length }, (_, i) => read.charCodeAt(i));
}

/** Attention of a word to every token, 0 to 1: scale (level / 255)^2, as app/words.py packs it.
 *  @param {{ scale: number[], levels: string[] }} map @param {number} word @returns {Float32Array} */
export function attentionOf(map, word) {
  const scale = map.scale[word];
  return Float32Array.from(bytesOf(map.levels[word]), (level) => scale * (level / 255) ** 2);
}

/** A score of every token between its ends. @param {{ low: number, high: number, levels: string }} packed */
export function scoreOf({ low, high, levels }) {
  return Float32Array.from(bytesOf(levels), (level) => low + ((high - low) * level) / 255);
}

/** From 0 to the highest of several maps, so that their colours can be compared. @param {(Float32Array | null)[]} maps */
export function sharedScale(maps) {
  let max = 0;
  for (const values of maps) for (const v of values ?? []) if (v > max) max = v;
  return { kind: "linear", min: 0, max, below: false };
}

/** One scale for several maps of a score. @param {Float32Array[]} maps */
export function commonScale(maps, kind = "linear") {
  return scaleOf(
    maps.flatMap((values) => Array.from(values)),
    kind,
  );
}

/** The word of the other answer to show beside word `at`: the same word nearest to its place, else the one in its
 *  place, else none (-1). @param {string[]} words @param {string[]} others @param {number} at */
export function counterpart(words, others, at) {
  const plain = (word) => word?.toLowerCase().replace(/[.,;:!?]+$/, "");
  const same = others
    .map((word, i) => (plain(word) === plain(words[at]) ? i : -1))
    .filter((i) => i >= 0)
    .sort((a, b) => Math.abs(a - at) - Math.abs(b - at) || a - b);
  return same[0] ?? (at < others.length ? at : -1);
}

/** The word to begin with: where the answers first differ, else the longest. @param {string[]} full @param {string[]} ours */
export function firstWord(full, ours) {
  const differs = ours.findIndex((word, i) => word !== full[i]);
  if (differs >= 0) return differs;
  return ours.reduce((best, word, i) => (word.length > ours[best].length ? i : best), 0);
}

/** The word under the pointer, else the pinned one, for both sides: which word, and its map in the chosen layers.
 *  @param {any} looked @param {{ side: string, at: number } | null} word @param {string} group */
export function shownOf(looked, word, group) {
  const sides = looked?.sides;
  if (!sides || !word || !sides[word.side]) return null;
  const other = word.side === "full" ? "method" : "full";
  const at = {
    [word.side]: word.at,
    [other]: counterpart(sides[word.side].words, sides[other].words, word.at),
  };
  const found = {};
  for (const side of ["full", "method"]) {
    const map = sides[side].maps[group];
    const known = map && at[side] >= 0 && at[side] < sides[side].words.length;
    found[side] = known
      ? { at: at[side], text: sides[side].words[at[side]], share: map.share[at[side]], values: valuesOf(map, at[side]) }
      : null;
  }
  return { ...found, scale: sharedScale([found.full?.values, found.method?.values]) };
}

const unpacked = new WeakMap(); // map -> its words that were looked at

function valuesOf(map, word) {
  if (!unpacked.has(map)) unpacked.set(map, new Map());
  const held = unpacked.get(map);
  if (!held.has(word)) held.set(word, attentionOf(map, word));
  return held.get(word);
}

/** The pinned word's layer on the main canvas while its tab is open; null where there is none. @param {any} state */
export function pinnedHeat(state) {
  const { looked, word, tab, part, trace, playback } = state;
  if (tab !== "words" || part !== "look" || !word || !looked?.sides || playback !== null) return null;
  if (looked.measure === "influence") return null; // that is another layer
  const shown = shownOf(looked, word, looked.group);
  const mine = shown?.[word.side];
  if (!mine || mine.values.length !== trace?.tokens.n) return null;
  return { values: mine.values, ...shown.scale, word: mine.text.replace(/[.,;:!?]+$/, ""), side: word.side };
}

/** How much of some values lies on each frame, most first: [frame, share of their sum]. @param {any} tokens @param {Float32Array} values */
export function byFrame(tokens, values) {
  const sums = new Map();
  let total = 0;
  values.forEach((v, i) => {
    const frame = tokens.frame ? tokens.frame[i] : 0;
    sums.set(frame, (sums.get(frame) ?? 0) + v);
    total += v;
  });
  return [...sums]
    .map(([frame, sum]) => [frame, total > 0 ? sum / total : 0])
    .sort((a, b) => b[1] - a[1] || a[0] - b[0]);
}

/** b - a for every token, with the end of a scale around 0. @param {Float32Array} a @param {Float32Array} b */
export function difference(a, b) {
  const values = Float32Array.from(b, (v, i) => v - a[i]);
  let reach = 0;
  for (const v of values) if (Math.abs(v) > reach) reach = Math.abs(v);
  return { values, reach: reach || 1 };
}

/** What paint.js needs of a selection: roles of all tokens. @param {number[]} kept @param {number} n */
export function viewOfKept(kept, n) {
  const roles = new Uint8Array(n);
  for (const i of kept) if (i < n) roles[i] = 2;
  return { roles, refine: { anchor: new Int32Array(n).fill(-1), absorbed: new Uint16Array(n) } };
}

/** "Both keep 41 of 64 tokens (IoU 0.47)." @param {any} pair */
export function overlapText({ kept, both, iou, does_read, label }) {
  const [a, b] = kept.map((tokens) => tokens.length);
  const of = a === b ? `${a}` : `${a} and ${b}`;
  if (!does_read) return `${label} does not look at the question: both keep the same ${a} tokens.`;
  return `Both keep ${both} of ${of} tokens (IoU ${iou.toFixed(2)}).`;
}

/** One sentence on the answers once all are there. @param {any} pair */
export function crosswiseText({ answers, does_read }) {
  if (!does_read || answers.some((one) => !one.own || !one.other || !one.full)) return "";
  const same = (a, b) => a.text.trim() === b.text.trim();
  const changed = answers.filter((one) => !same(one.own, one.other)).length;
  if (changed)
    return `With the tokens chosen for the other question, ${changed} of 2 answers change${changed > 1 ? "" : "s"}.`;
  return "With the tokens chosen for the other question, neither answer changes.";
}

/** The layers one can look at, as [value, label]. numbers: which of all they are, where some have no attention.
 * @param {number} layers @param {number[]} [numbers] */
export function layerChoices(layers, numbers = Array.from({ length: layers }, (_, i) => i + 1)) {
  const cut = [0, 1, 2, 3].map((part) => roundHalfEven((layers * part) / 3));
  const thirds = ["first", "middle", "last"].map((name, i) => [
    name,
    cut[i] + 1 === cut[i + 1]
      ? `${name} third (${numbers[cut[i]]})`
      : `${name} third (${numbers[cut[i]]} to ${numbers[cut[i + 1] - 1]})`,
  ]);
  const single = numbers.map((number, i) => [String(i + 1), `layer ${number}`]);
  return [["all", `mean of all ${layers}`], ...(layers >= 3 ? thirds : []), ...single];
}

/** Why there are fewer layers to look at than the model has; empty where there are not. */
export function withoutAttention({ layers, depth }) {
  const linear = (depth ?? layers) - layers;
  if (linear <= 0) return "";
  return `${linear} of the ${depth} layers are linear: they carry a state along and have no attention to show. What they pass on is not on these maps.`;
}

/** As Python rounds, so that the thirds are those of the server. @param {number} x */
function roundHalfEven(x) {
  const low = Math.floor(x);
  if (x - low !== 0.5) return Math.round(x);
  return low % 2 ? low + 1 : low;
}
