import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import "./browser.js";
import { besides, patchOf, stepOf, viewOfStop } from "../../app/static/guide/tour.js";

const trace = JSON.parse(readFileSync(new URL("../../assets/traces/count.json", import.meta.url), "utf8"));

test("a stop shows what all before it have said, and playback and token of its own alone", () => {
  const stops = [
    { show: { example: "count", budget: 64, playback: "focus", tab: "lecture" } },
    { show: { layer: "saliency" } },
    { show: { mode: "compare", methods: ["fsr", "random"] } },
  ];
  assert.deepEqual(viewOfStop(stops, 1), {
    example: "count",
    budget: 64,
    tab: "lecture",
    layer: "saliency",
    mode: "one",
    playback: null,
    token: -1,
    frame: undefined,
  });
  assert.equal(viewOfStop(stops, 0).playback, "focus", "and so again on the way back");
  const state = { trace, method: "fsr", budget: 64, needs: {} };
  const patch = patchOf(state, { ...viewOfStop(stops, 2), budget: 9999, token: 700, frame: 4 });
  assert.deepEqual(patch, {
    layer: "saliency",
    tab: "lecture",
    mode: "compare",
    cursor: -1,
    chosen: ["fsr", "random"],
    budget: 576,
  });
});

test("a stage stands for its last step; a method that has none shows no step", () => {
  const state = { trace, method: "fsr", budget: 64, needs: {} };
  assert.equal(stepOf(state, "focus"), 4 + trace.methods.fsr.facts.k_focus);
  assert.equal(stepOf(state, 5000), 71);
  assert.equal(stepOf(state, "layer"), null);
  assert.equal(stepOf({ ...state, method: "nobody" }, "focus"), null);
});

test("a card lies beside its target, inside the window", () => {
  const room = { width: 1000, height: 800 };
  const card = { width: 300, height: 200 };
  const box = (left, top, right, bottom) => ({ left, top, right, bottom });
  assert.deepEqual(besides(box(0, 100, 500, 700), card, room), { left: 514, top: 100 });
  assert.deepEqual(besides(box(600, 700, 990, 790), card, room), { left: 286, top: 592 });
  assert.deepEqual(besides(box(20, 0, 980, 90), card, room), { left: 20, top: 104 });
  assert.deepEqual(besides(box(20, 600, 980, 790), card, room), { left: 20, top: 386 });
  const over = besides(box(0, 0, 1000, 800), card, room);
  assert.ok(over.left + card.width <= 1000 && over.top + card.height <= 800);
});
