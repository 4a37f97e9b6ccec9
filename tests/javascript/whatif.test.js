import assert from "node:assert/strict";
import test from "node:test";

import { aTrace, CONFIG, nextFrame } from "./browser.js";
import { createPage } from "../../app/static/page.js";
import { viewAt } from "../../app/static/plan.js";
import { changed, forcedKey, isApplied, MOST, NOTHING, withForced } from "../../app/static/why/forced.js";
import { diverging } from "../../app/static/why/diverging.js";
import { layerOf } from "../../app/static/why/layer.js";
import { differs, lastStudy, ranked, repairText, selectionKey } from "../../app/static/why/studies.js";
import { tokensWithin } from "../../app/static/why/whatif.js";

const kept = (view) => [...view.roles.keys()].filter((i) => view.roles[i] >= 2);

test("a token is forced one way at a time, at most 64 each way, and never all dropped", () => {
  const one = changed(NOTHING, [3, 1, 3], "in", 9).forced;
  assert.deepEqual(one, { in: [1, 3], out: [] });
  assert.deepEqual(changed(one, [3], "out", 9).forced, { in: [1], out: [3] });
  assert.deepEqual(changed(one, [1], "", 9).forced, { in: [3], out: [] });
  const many = changed(NOTHING, [...Array(70).keys()], "in", 100);
  assert.equal(many.forced.in.length, MOST);
  assert.match(many.said, /At most 64 tokens can be kept by hand: 6 left out/);
  assert.equal(changed(NOTHING, [0, 1, 2, 3], "out", 4).forced.out.length, 3);
});

test("before the new plan comes the budget stays and the method's last choices make room", () => {
  const plan = { kind: "rank", rank: [0, 1, 2, 3, 4, 5] };
  const at = (forced) => withForced(viewAt(plan, 6, 3), plan, 6, { ...NOTHING, ...forced });
  assert.deepEqual(kept(at({ in: [5] })), [0, 1, 5]);
  assert.deepEqual(kept(at({ out: [0] })), [1, 2, 3]);
  assert.deepEqual(kept(at({ in: [4, 5], out: [0] })), [1, 4, 5]);
  assert.deepEqual(kept(at({ in: [2, 3, 4, 5] })), [2, 3, 4, 5]); // more than the budget: the method keeps none
  assert.deepEqual(at({ in: [5] }).counts, [3, 0, 3, 0, 0]);
});

function opened() {
  const page = createPage(CONFIG);
  page.receive({ run: 1, fresh: true, example: "star", trace: JSON.stringify(aTrace()), pictures: [], setting: "s" });
  nextFrame();
  page.setBudget(2);
  nextFrame();
  return page;
}

test("forcing marks at once, asks for a plan, and a reset brings back plan and answers without a request", () => {
  const page = opened();
  const { store } = page;
  const asked = [];
  store.when("plan", (detail) => asked.push(detail));
  const answers = {
    full: { method: "full", text: "3", done: true },
    "fsr@2": { method: "fsr", budget: 2, text: "1", done: true },
  };
  store.set({ answers });
  store.act("force", { tokens: [3], way: "in" });
  nextFrame();
  assert.deepEqual(kept(store.state.view), [0, 3]);
  assert.deepEqual(Object.keys(store.state.answers), ["full"]);
  assert.deepEqual(page.view().forced, { in: [3], out: [] });
  assert.deepEqual(asked, [{ method: "fsr", parameters: {} }]);
  page.forced = store.state.forced;
  const record = { label: "FSR", parameters: {}, plan: { kind: "rank", rank: [1, 2, 3, 0] }, facts: {} };
  page.receive({ run: 2, about: 1, setting: "s", patch: JSON.stringify({ methods: { fsr: record }, scores: {} }) });
  nextFrame();
  assert.ok(isApplied(store.state.trace.methods.fsr, store.state.forced));
  store.act("unforce");
  nextFrame();
  assert.deepEqual([kept(store.state.view), store.state.answers["fsr@2"].text], [[0, 1], "1"]);
  assert.equal(asked.length, 1);
});

test("another picture lets go of what was forced", () => {
  const page = opened();
  page.store.act("force", { tokens: [3], way: "out" });
  page.receive({ run: 9, fresh: true, example: "b", trace: JSON.stringify(aTrace()), pictures: [] });
  assert.equal(forcedKey(page.store.state.forced), "");
});

test("a study belongs to one selection: method, budget, parameters, forced tokens, question", () => {
  const { state } = opened().store;
  const key = (patch, about = { method: "fsr", budget: 2 }) => selectionKey({ ...state, ...patch }, about);
  const keys = [
    key({}),
    key({}, { method: "fsr", budget: 3 }),
    key({ forced: { in: [1], out: [] } }),
    key({ edited: { fsr: { alpha: 0 } } }),
    key({ share: "per_group" }),
  ];
  assert.equal(new Set(keys).size, keys.length);
  assert.equal(key({ edited: { grid: { a: 1 } } }), key({}));
});

test("what was measured last is told at another budget, but not of another picture or question", () => {
  const { state } = opened().store;
  const key = `influence|${selectionKey(state, { method: "fsr", budget: 2 })}`;
  const measured = {
    ...state,
    study: { known: { [key]: { what: "influence" } }, now: null, last: { influence: key } },
  };
  assert.equal(lastStudy({ ...measured, budget: 3 }, "influence").what, "influence");
  assert.equal(lastStudy({ ...measured, about: state.about + 1 }, "influence"), null);
  assert.equal(lastStudy({ ...measured, trace: { ...state.trace, question: "another?" } }, "influence"), null);
  assert.equal(lastStudy({ ...measured, trace: null }, "influence"), null);
});

test("a group counts once in the list and on all that it absorbed on the picture", () => {
  const influence = [
    { token: 0, delta: -0.5, absorbed: [] },
    { token: 1, delta: 2, absorbed: [2, 3] },
  ];
  const layer = layerOf({ what: "influence", influence }, 5);
  assert.deepEqual([...layer.values], [-0.5, 2, 2, 2, NaN]);
  assert.deepEqual([layer.reach, layer.colors[4]], [2, ""]);
  assert.deepEqual(layer.labels, [
    { token: 1, text: "1" },
    { token: 0, text: "−2" },
  ]);
  assert.deepEqual(
    ranked(influence).map((i) => i.token),
    [1, 0],
  );
  assert.equal(diverging(0), "rgb(247 247 247)");
});

test("the sentence of a repair, found or not", () => {
  const kept_by = { grid: [4, 7], fsr: [], cdpruner: [] };
  assert.equal(
    repairText({ found: true, tokens: [4, 7, 9], kept_by }, CONFIG, "fsr"),
    "3 tokens would have saved it: #4, #7, #9; at this budget Grid keeps 2 of them.",
  );
  assert.equal(
    repairText({ found: true, tokens: [4], kept_by: {} }, CONFIG, "fsr"),
    "1 token would have saved it: #4.",
  );
  const alone = repairText({ found: true, tokens: [4], kept_by: { grid: [] } }, CONFIG, "fsr");
  assert.match(alone, /no other method keeps it\.$/);
  assert.match(repairText({ found: false, tokens: [], note: "" }, CONFIG, "fsr"), /^No small set/);
});

test("answers differ as texts; nobody knows without both", () => {
  assert.equal(differs({ full: { text: "3", done: true }, answer: { text: "0", done: true } }, null), true);
  assert.equal(differs({}, { answer: { text: "a " }, unpruned: { text: "a" } }), false);
  assert.equal(differs({ full: null, answer: null }, null), null);
});

test("a rectangle takes the tokens that it touches", () => {
  const geometry = { index: [0, 1, 2], at: [0, 1, 2], box: [0, 0, 10, 10, 10, 0, 20, 10, 20, 0, 30, 10] };
  assert.deepEqual(tokensWithin(geometry, [16, 8], [4, 2]), [0, 1]);
});
