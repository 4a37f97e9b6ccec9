import assert from "node:assert/strict";
import test from "node:test";

import { aTrace, CONFIG, nextFrame } from "./browser.js";
import { entriesOf, firstChoice, keptBy, pairOf, shared, wantedOf } from "../../app/static/comparing.js";
import { mountSheet } from "../../app/static/sheet.js";
import { createStore } from "../../app/static/store.js";

function comparing() {
  const trace = aTrace([0, 1, 2, 3]);
  trace.methods.grid = { label: "Grid", parameters: {}, plan: { kind: "rank", rank: [0, 3, 1, 2] }, facts: {} };
  const store = createStore({});
  store.set({ trace, mode: "compare", chosen: ["fsr", "grid"], budget: 2 });
  nextFrame();
  return store;
}

test("entries are the chosen methods at the budget, with what each keeps", () => {
  const entries = entriesOf(comparing().state, CONFIG);
  assert.deepEqual(
    entries.map((e) => [e.letter, e.method, e.budget]),
    [
      ["A", "fsr", 2],
      ["B", "grid", 2],
    ],
  );
  assert.deepEqual([...keptBy(entries, 4)], [2, 1, 1, 0]);
  const [one, other] = pairOf(comparing().state, entries);
  assert.deepEqual(shared(one.view, other.view), { one: 1, other: 1, both: 1 });
});

test("what is asked for names methods and budgets, and what the page has", () => {
  const { compare } = wantedOf(comparing().state);
  assert.deepEqual(compare.methods, ["fsr", "grid"]);
  assert.deepEqual(compare.budgets, [2]);
});

test("the sheet shows every answer with its cost, and whether it agrees", () => {
  const store = comparing();
  const at = { sheet: document.createElement("div"), linked: document.createElement("p") };
  window.HTMLCanvasElement.prototype.getContext = () => null; // nothing is drawn here: tests in Chromium look at that
  const cost = { visual_tokens: 2, select_ms: 1.5, prefill_ms: 8, kv_bytes: 2048, spread: { prefill_ms: [7.5, 8.5] } };
  store.state.trace = null; // no picture either
  mountSheet(at, store, CONFIG, () => null);
  store.set({
    answers: {
      full: { method: "full", text: "two", done: true, cost: { ...cost, visual_tokens: 4 } },
      "fsr@2": { method: "fsr", budget: 2, text: "three", done: true, cost },
    },
  });
  nextFrame();
  const [full, fsr] = at.sheet.children;
  assert.equal(full.querySelector(".fx-text").textContent, "two");
  assert.equal(fsr.querySelector(".fx-text").textContent, "three");
  assert.match(fsr.querySelector(".fx-agree").textContent, /^Differs/);
  assert.match(fsr.querySelector(".fx-cell-costs").textContent, /prefill8\.00\u202fms7\.50–8\.50/);
});

test("the sheet begins with the same methods, whether or not they were planned; of a recorded one with what it has", () => {
  const config = {
    compare: ["fsr", "random", "grid", "holov"].map((name) => ({ name })),
    compareFirst: ["fsr", "holov"],
  };
  const trace = { methods: { fsr: {}, grid: {} }, recorded: null };
  assert.deepEqual(firstChoice(trace, config), ["fsr", "holov"]);
  assert.deepEqual(firstChoice({ ...trace, recorded: { on: "2026-01-01" } }, config), ["fsr", "grid"]);
});
