import assert from "node:assert/strict";
import test from "node:test";

import { aTrace, CONFIG, nextFrame } from "./browser.js";
import { sides } from "../../app/static/answers.js";
import { entriesOf } from "../../app/static/comparing.js";
import { tunedOf, tunedText } from "../../app/static/made.js";
import { createPage } from "../../app/static/page.js";

const PARAMETERS = [
  { name: "alpha", default: 3 },
  { name: "focus_cap", default: null },
];
const TUNABLE = { ...CONFIG, compare: CONFIG.compare.map((m) => ({ ...m, parameters: PARAMETERS })) };
const RECORDED = { on: "2026-11-27", device: "CPU" };

function answer(budget, text, more = {}) {
  return { method: "fsr", budget, text, done: true, cost: null, ...more };
}

function full(text = "yellow") {
  return { ...answer(4, text), method: "full" };
}

/** A page with a recorded trace and its answers at one and two of four tokens. */
function opened(trace = {}) {
  const page = createPage(TUNABLE);
  const answers = { full: full(), "fsr@1": answer(1, "red"), "fsr@2": answer(2, "yellow") };
  const record = { ...aTrace(), recorded: RECORDED, answers, ...trace };
  page.receive({ run: 1, fresh: true, example: "star", trace: JSON.stringify(record), pictures: [] });
  draw();
  return page;
}

function draw() {
  for (let i = 0; i < 3; i++) nextFrame();
}

function live(page, trace = {}, run = 2) {
  page.receive({ run, fresh: false, about: 1, setting: "s", trace: JSON.stringify({ ...aTrace(), ...trace }) });
  draw();
}

function heard(page, found, question = "what?") {
  const answers = Object.fromEntries(found.map((a) => [a.method === "full" ? "full" : `${a.method}@${a.budget}`, a]));
  page.hear({ run: 9, about: 1, status: { phase: "done" }, answers, question, where: "CPU" });
  draw();
}

test("parameters are named where they differ from the method's own", () => {
  const tuned = tunedOf(TUNABLE, "fsr", { alpha: 0, focus_cap: null, unheard: 1 });
  assert.deepEqual(tuned, { alpha: 0 });
  assert.equal(tunedText({ ...tuned, focus_cap: 0.5 }), "alpha 0, focus cap 0.5");
});

test("answers with other parameters are kept apart, and come back with their parameters", () => {
  const page = opened();
  const { store } = page;
  store.set({ edited: { fsr: { alpha: 0 } } });
  draw();
  assert.deepEqual(Object.keys(store.state.answers), ["full"]);
  const stale = sides(store.state);
  assert.deepEqual([stale.ours.text, stale.stale], ["red", true]);
  page.asking("what?");
  heard(page, [answer(1, "blue", { parameters: { alpha: 0 } })]);
  const tuned = sides(store.state);
  assert.deepEqual([tuned.ours.text, tuned.ours.parameters, tuned.stale], ["blue", { alpha: 0 }, false]);
  store.set({ edited: {} });
  draw();
  assert.equal(sides(store.state).ours.text, "red");
});

test("an answer that was tuned away meanwhile is not taken for the one on screen", () => {
  const page = opened();
  page.asking("what?");
  page.store.set({ edited: { fsr: { alpha: 1 } } });
  heard(page, [full(), answer(1, "blue", { parameters: { alpha: 0 } })]);
  assert.deepEqual(Object.keys(page.store.state.answers), ["full"]);
});

test("asking keeps the recorded answers at other budgets, and of the same question alone", () => {
  const page = opened();
  page.asking("what?");
  live(page);
  heard(page, [full(), answer(1, "red")]);
  const { answers } = page.store.state;
  assert.deepEqual(Object.keys(answers).sort(), ["fsr@1", "fsr@2", "full"]);
  assert.deepEqual([answers["fsr@1"].recorded, answers["fsr@2"].recorded], [undefined, RECORDED]);
  page.asking("and now?");
  assert.deepEqual(page.store.state.answers, {}, "they are of another question");
  live(page, { question: "and now?" }, 3);
  assert.deepEqual([page.store.state.answers, page.store.state.aside], [{}, {}]);
});

test("recorded answers of another model are not kept, and those without a plan wait for it", () => {
  const grid = { ...answer(2, "red"), method: "grid" };
  const methods = { ...aTrace().methods, grid: { ...aTrace().methods.fsr, label: "Grid" } };
  const page = opened({ methods, answers: { full: full(), "grid@2": grid } });
  live(page);
  assert.deepEqual(Object.keys(page.store.state.answers), ["full"]);
  page.receive({ run: 3, setting: "s", patch: JSON.stringify({ methods: { grid: methods.grid }, scores: {} }) });
  draw();
  assert.deepEqual(Object.keys(page.store.state.answers).sort(), ["full", "grid@2"]);
  live(page, { model: { id: "other", title: "Other" } }, 4);
  assert.deepEqual(page.store.state.answers, {});
});

test("where every token is kept the answer is the full one", () => {
  const { store } = opened();
  store.set({ budget: 4, chosen: ["fsr", "grid"], mode: "compare" });
  draw();
  const { ours, stale, whole } = sides(store.state);
  assert.deepEqual([ours.text, ours.budget, stale, whole], ["yellow", 4, false, true]);
  const [entry] = entriesOf(store.state, TUNABLE);
  assert.deepEqual([entry.answer.text, entry.stale, entry.whole], ["yellow", false, true]);
});

test("after a stop nothing of the question before is shown", () => {
  const page = opened();
  page.asking("another one?");
  page.hear({ run: 3, about: 1, status: { phase: "stopped", text: "Stopped." } });
  draw();
  assert.deepEqual([sides(page.store.state).full, sides(page.store.state).ours], [null, null]);
});

test("a selection that an answer has overtaken says nothing any more", () => {
  const page = opened();
  page.look = 1;
  page.hear({ run: 2, about: 1, look: 1, status: { phase: "planning", text: "Selecting." } });
  assert.equal(page.store.state.status.text, "Selecting.");
  page.asking("what?");
  page.hear({ run: 3, about: 1, look: 1, status: { phase: "idle" } });
  assert.equal(page.store.state.status.phase, "waiting");
});

test("of curves only the last that were asked for are shown, however late word of others comes", () => {
  const page = opened();
  const { store } = page;
  const told = (more) => ({ run: 5, about: 1, fidelity: JSON.stringify({ phase: "done", points: [], ...more }) });
  store.set({ fidelity: { ...store.state.fidelity, run: 2, task: "curves", phase: "waiting" } });
  page.learn({ ...told({ smallest: { method: "fsr", budget: 9, runs: 4 } }), curves: 1 });
  assert.deepEqual([store.state.fidelity.phase, store.state.fidelity.found], ["waiting", {}]);
  page.learn({ ...told({ points: [{ method: "fsr" }] }), curves: 2 });
  assert.equal(store.state.fidelity.points.length, 1);
});
