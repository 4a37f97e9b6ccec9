import assert from "node:assert/strict";
import test from "node:test";

import "./browser.js";
import {
  attentionOf,
  byFrame,
  commonScale,
  counterpart,
  crosswiseText,
  difference,
  firstWord,
  layerChoices,
  withoutAttention,
  overlapText,
  pinnedHeat,
  scoreOf,
  shownOf,
  viewOfKept,
} from "../../app/static/words/maps.js";
import { influenceOf, strongest } from "../../app/static/words/influence.js";

const packed = (...levels) => btoa(String.fromCharCode(...levels));
const near = (found, wanted) =>
  found.forEach((v, i) => assert.ok(Math.abs(v - wanted[i]) < 1e-6, `${i}: ${v}, not ${wanted[i]}`));

test("bytes become attention and scores again", () => {
  near(attentionOf({ scale: [0.5, 2], levels: ["", packed(0, 51, 255)] }, 1), [0, 2 * 0.2 ** 2, 2]);
  near(scoreOf({ low: -1, high: 1, levels: packed(0, 255, 51) }), [-1, 1, -0.6]);
});

test("the other answer shows the same word, else the one in its place, else none", () => {
  assert.equal(counterpart(["a", "red", "ring"], ["the", "ring", "Red."], 1), 2);
  assert.equal(counterpart(["a", "b", "a"], ["a", "a", "a"], 2), 2, "the nearest of the same words");
  assert.equal(counterpart(["yes"], ["no", "really"], 0), 0);
  assert.equal(counterpart(["it", "is", "so"], ["yes"], 2), -1);
});

test("one begins where the answers differ, else with the longest word", () => {
  assert.equal(firstWord(["a", "red", "ring"], ["a", "blue", "ring"]), 1);
  assert.equal(firstWord(["a", "yellow", "x"], ["a", "yellow", "x"]), 1);
});

const map = (share, ...rows) => ({ scale: rows.map(() => 1), share: [share], levels: rows.map((r) => packed(...r)) });
const looked = {
  group: "all",
  sides: {
    full: { words: ["two"], maps: { all: map(0.5, [0, 255, 0, 0]) } },
    method: {
      words: ["two", "more"],
      maps: { all: { ...map(0.25, [0, 0, 128, 0], [1, 0, 0, 0]), share: [0.25, 0.1] } },
    },
  },
};

test("both maps share one scale, from 0 to the highest of both", () => {
  const shown = shownOf(looked, { side: "method", at: 0 }, "all");
  assert.equal(shown.scale.max, 1);
  assert.deepEqual([shown.full.text, shown.method.text, shown.full.share], ["two", "two", 0.5]);
  assert.equal(shownOf(looked, { side: "method", at: 1 }, "all").full, null);
  assert.equal(shownOf(looked, { side: "method", at: 0 }, "7").method, null, "layers that did not come yet");
  assert.equal(shownOf(looked, null, "all"), null);
});

test("a pinned word lies on the picture in its own tab alone, and not on another picture's tokens", () => {
  const state = {
    looked,
    word: { side: "full", at: 0 },
    tab: "words",
    part: "look",
    trace: { tokens: { n: 4 } },
    playback: null,
  };
  assert.equal(pinnedHeat(state).word, "two");
  for (const other of [
    { tab: "answer" },
    { part: "cross" },
    { word: null },
    { trace: { tokens: { n: 9 } } },
    { playback: 3 },
    { trace: null },
  ])
    assert.equal(pinnedHeat({ ...state, ...other }), null);
});

test("frames are ranked by what lies on them", () => {
  assert.deepEqual(byFrame({ frame: [0, 0, 1, 1] }, Float32Array.of(1, 0, 2, 1)), [
    [1, 0.75],
    [0, 0.25],
  ]);
  assert.deepEqual(byFrame({}, Float32Array.of(0, 0)), [[0, 0]]);
});

test("a difference has a scale around 0, two scores have one scale", () => {
  const { values, reach } = difference(Float32Array.of(1, 2, 3), Float32Array.of(1, 0, 4));
  assert.deepEqual([...values, reach], [0, -2, 1, 2]);
  const scale = commonScale([Float32Array.of(-1, 0), Float32Array.of(3)]);
  assert.deepEqual([scale.min, scale.max], [-1, 3]);
  assert.deepEqual([...viewOfKept([1, 9], 3).roles], [0, 2, 0]);
});

test("sentences say what two questions share", () => {
  const pair = { kept: [[1, 2], [2, 3]], both: 1, iou: 1 / 3, does_read: true, label: "FSR" }; // prettier-ignore
  assert.equal(overlapText(pair), "Both keep 1 of 2 tokens (IoU 0.33).");
  assert.match(overlapText({ ...pair, does_read: false, label: "Random" }), /^Random does not look at the question/);
  const cell = (text) => ({ text });
  const answers = [
    { own: cell("2"), other: cell("3"), full: cell("2") },
    { own: cell("red"), other: cell("red "), full: cell("red") },
  ];
  assert.match(crosswiseText({ answers, does_read: true }), /1 of 2 answers changes/);
  assert.equal(crosswiseText({ answers: [answers[0], {}], does_read: true }), "");
});

test("the thirds of the layers are those of the server", () => {
  const labels = (layers, numbers) => layerChoices(layers, numbers).map(([, label]) => label);
  assert.deepEqual(labels(2), ["mean of all 2", "layer 1", "layer 2"]);
  assert.deepEqual(labels(4).slice(0, 4), [
    "mean of all 4",
    "first third (1)",
    "middle third (2 to 3)",
    "last third (4)",
  ]);
  assert.deepEqual(labels(32).slice(1, 4), [
    "first third (1 to 11)",
    "middle third (12 to 21)",
    "last third (22 to 32)",
  ]);
  assert.deepEqual(labels(3, [4, 8, 12]).slice(1, 5), [
    "first third (4)",
    "middle third (8)",
    "last third (12)",
    "layer 4",
  ]);
  assert.match(withoutAttention({ layers: 3, depth: 12 }), /^9 of the 12 layers are linear/);
  assert.equal(withoutAttention({ layers: 12, depth: 12 }) + withoutAttention({ layers: 12 }), "");
});

const study = {
  what: "influence",
  influence: [
    { token: 2, delta: 0.5, absorbed: [0] },
    { token: 3, delta: -0.25, absorbed: [] },
  ],
  words: [
    { text: "two", delta: [0.4, -0.3] },
    { text: "more", delta: [0.1, 0.05] },
  ],
};

test("a word rests on tokens that were left out, a merged group as one, all words on one scale", () => {
  const found = influenceOf(study, 1, "more", 5);
  near(
    found.values.filter((v) => !Number.isNaN(v)),
    [0.1, 0.1, 0.05],
  );
  assert.deepEqual([...found.values].map(Number.isNaN), [false, true, false, false, true]);
  assert.equal(found.reach, 0.4);
  assert.deepEqual(strongest(study, 0, 1), [[2, 0.4]]);
  assert.equal(influenceOf(study, 1, "less", 5), null, "another answer by now");
  assert.equal(influenceOf(null, 0, "two", 5), null);
});

test("an answer without words shows nothing", () => {
  const none = { words: [], maps: { all: { scale: [], share: [], levels: [] } } };
  const sides = { full: looked.sides.full, method: none };
  const shown = shownOf({ group: "all", sides }, { side: "full", at: 0 }, "all");
  assert.deepEqual([shown.full.text, shown.method], ["two", null]);
  assert.equal(firstWord([], []), 0);
});
