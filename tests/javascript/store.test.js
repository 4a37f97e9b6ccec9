import assert from "node:assert/strict";
import test from "node:test";

import { aTrace, nextFrame } from "./browser.js";
import { createStore, isForeign, planOf } from "../../app/static/store.js";

test("changes are gathered and drawn once a frame, to those who watch them", () => {
  const store = createStore({});
  const drawn = [];
  store.on(["budget", "method"], (state, keys) => drawn.push([...keys].sort()));
  store.on(["cursor"], () => drawn.push("cursor"));
  assert.deepEqual(drawn, [["budget", "method"], "cursor"], "each draws at once what there is");
  store.set({ budget: 3 });
  store.set({ method: "grid", budget: 3 });
  assert.equal(drawn.length, 2, "nothing before the frame");
  nextFrame();
  assert.deepEqual(drawn.slice(2), [["budget", "method", "view"]]);
  store.set({ budget: 3 });
  nextFrame();
  assert.equal(drawn.length, 3, "what is the same is no change");
});

test("the view follows the trace, the method and the budget", () => {
  const store = createStore({});
  store.set({ trace: aTrace([2, 0, 1, 3]), budget: 2 });
  nextFrame();
  assert.deepEqual([...store.state.view.roles], [0, 2, 2, 0]);
  assert.equal(planOf(store.state).kind, "rank");
  store.set({ method: "grid" });
  nextFrame();
  assert.equal(store.state.view, null, "a method that was not planned shows nothing");
});

test("an action reaches whoever offered to perform it, and nobody else", () => {
  const store = createStore({});
  const done = [];
  store.when("plan", (detail) => done.push(detail.method));
  store.when("theme", () => done.push("theme"));
  store.act("plan", { method: "grid" });
  store.act("help");
  assert.deepEqual(done, ["grid"]);
});

test("a trace of another model than the one in use is foreign", () => {
  assert.equal(isForeign({ trace: aTrace(), model: { answering: "tiny" } }), false);
  assert.equal(isForeign({ trace: aTrace(), model: { answering: "large" } }), true);
  assert.equal(isForeign({ trace: null, model: { answering: "large" } }), false);
});
