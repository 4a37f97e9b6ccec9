import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import "./browser.js";
import { ROLE, viewAt } from "../../app/static/plan.js";
import { endOf, reachOf, sceneAt, shareAt, stepsOf, textOf } from "../../app/static/lecture/steps.js";

const recorded = (name) =>
  JSON.parse(readFileSync(new URL(`../../assets/traces/${name}.json`, import.meta.url), "utf8"));
const needs = { fsr: ["relevance", "saliency"], random: [], cdpruner: ["relevance"] };

function stateOf(name, method, budget) {
  const trace = recorded(name);
  const { plan } = trace.methods[method];
  return { trace, method, budget, needs, answers: trace.answers, view: viewAt(plan, trace.tokens.n, budget) };
}

const stages = (steps) => [...new Set(steps.map((s) => s.stage))];

test("FSR's steps end in what the page shows, token by token", () => {
  for (const [name, budget] of [
    ["count", 64],
    ["overtake", 128],
  ]) {
    const state = stateOf(name, "fsr", budget);
    const { plan } = state.trace.methods.fsr;
    const steps = stepsOf(state);
    assert.deepEqual(stages(steps), [
      "picture",
      "tokens",
      "saliency",
      "relevance",
      "priority",
      "focus",
      "scan",
      "refine",
      "prompt",
      "answers",
    ]);
    const roles = new Uint8Array(state.trace.tokens.n);
    for (const one of steps) for (const token of one.newest) roles[token] = ROLE[one.stage.toUpperCase()];
    const staged = state.view.roles.map((role) => (role === ROLE.MERGED ? ROLE.DROPPED : role));
    assert.deepEqual([...roles], [...staged], "every kept token enters once, in its own stage");
    const { k_focus: k } = plan;
    const scan = steps.findIndex((s) => s.stage === "scan");
    const scene = sceneAt(state, scan);
    assert.deepEqual(
      [scene.view.counts[ROLE.FOCUS], scene.view.counts[ROLE.SCAN], scene.view.counts[ROLE.MERGED]],
      [k, 1, 0],
    );
    assert.deepEqual(sceneAt(state, endOf(steps, "refine")).view.counts, state.view.counts);
    for (let i = 0; i < steps.length; i++) assert.ok(textOf(state, i).length > 20);
  }
});

test("Focus ends where its share reaches rho, and not before", () => {
  const { plan, parameters } = recorded("count").methods.fsr;
  assert.ok(shareAt(plan, plan.k_focus) >= parameters.rho);
  assert.ok(shareAt(plan, plan.k_focus - 1) < parameters.rho);
  const state = stateOf("count", "fsr", 64);
  const steps = stepsOf(state);
  assert.match(textOf(state, endOf(steps, "focus")), /at least 90\.0.% *, so Focus ends/u);
  const short = stateOf("count", "fsr", 16);
  assert.deepEqual(stages(stepsOf(short)).slice(5), ["focus", "prompt", "answers"]);
  assert.match(textOf(short, endOf(stepsOf(short), "focus")), /budget is used up/);
});

test("the reach of Scan falls, and bounds every dropped token's distance to a kept one", () => {
  const { plan } = recorded("count").methods.fsr;
  const bounds = reachOf(plan);
  assert.equal(bounds[0], null);
  for (let m = 2; m < bounds.length; m++) assert.ok(bounds[m] <= bounds[m - 1]);
  assert.ok(bounds[31] > 0 && bounds[31] < 0.1 * bounds[1]);
});

test("other methods step through what they have", () => {
  const rank = stateOf("count", "cdpruner", 5);
  assert.deepEqual(stages(stepsOf(rank)), ["picture", "tokens", "relevance", "keep", "prompt", "answers"]);
  assert.equal(stepsOf(rank).filter((s) => s.stage === "keep").length, 5);
  const table = stateOf("count", "vispruner", 64);
  assert.equal(
    sceneAt(
      table,
      stepsOf(table).findIndex((s) => s.stage === "keep"),
    ).view.counts[ROLE.KEPT],
    64,
  );
  const inside = stateOf("count", "fastv", 128);
  const layer = stepsOf(inside).find((s) => s.stage === "layer");
  assert.deepEqual([layer.layer, layer.kept], [1, 16], "of five layers the first read all");
  assert.deepEqual(stages(stepsOf(stateOf("count", "random", 3))).slice(0, 3), ["picture", "tokens", "keep"]);
});

test("large budgets take several tokens at a step, and none is lost", () => {
  const state = stateOf("count", "random", 500);
  const keep = stepsOf(state).filter((s) => s.stage === "keep");
  assert.ok(keep.length <= 96);
  assert.equal(new Set(keep.flatMap((s) => s.newest)).size, 500);
});
