import assert from "node:assert/strict";
import fs from "node:fs";
import test from "node:test";

import { sig3 } from "../../app/static/format.js";
import { aTrace } from "./browser.js";
import { minMax, priorityOf, productOf, termsOf } from "../../app/static/priority.js";

function scored(scores, share = "global") {
  const trace = { ...aTrace(), scores, share };
  trace.methods.fsr.parameters = { alpha: 3, beta: 1 };
  return trace;
}

test("the terms that are shown multiply to the priority, in every shipped trace", () => {
  for (const name of fs.readdirSync("assets/traces").filter((f) => f.endsWith(".json"))) {
    const trace = JSON.parse(fs.readFileSync(`assets/traces/${name}`, "utf8"));
    for (let i = 0; i < trace.tokens.n; i++) {
      const terms = termsOf(trace, "fsr", i);
      const phi = terms.relevance ** terms.alpha * terms.saliency ** terms.beta;
      assert.ok(Math.abs(phi - trace.scores.priority[i]) <= 0.005 * trace.scores.priority[i] + 1e-9, `${name} ${i}`);
    }
  }
});

test("a constant score counts as ones, and one that there is not, not at all", () => {
  assert.deepEqual([...minMax([2, 2, 2], [[0, 1, 2]])], [1, 1, 1]);
  const constant = scored({ saliency: [0, 1, 2, 4], relevance: [5, 5, 5, 5], priority: [0, 0.25, 0.5, 1] });
  assert.deepEqual(termsOf(constant, "fsr", 1), { relevance: 1, saliency: 0.25, alpha: 3, beta: 1 });
  const none = scored({ saliency: [0, 1, 2, 4], priority: [0, 0.25, 0.5, 1] });
  assert.deepEqual(productOf(termsOf(none, "fsr", 1)), ["ŝ", "0.250"]);
});

test("tiles with a share of their own are scaled by themselves, and a priority of other terms is not explained", () => {
  const scores = { saliency: [0, 1, 10, 20], relevance: [1, 2, 1, 2], priority: [0, 1, 0, 1] };
  const trace = scored(scores, "per_group");
  trace.tokens.frame = [0, 0, 1, 1];
  assert.equal(termsOf(trace, "fsr", 1).saliency, 1);
  assert.equal(termsOf(scored({ ...scores, saliency: [0, 1, 2, 20] }), "fsr", 1), null);
  assert.deepEqual(productOf({ relevance: 0.8417, saliency: 0.31, alpha: 3, beta: 0.5 }), [
    "r̂³ × ŝ^0.5",
    "0.842³ × 0.310^0.5",
  ]);
});

test("a priority is told of the number that ranks, not of one that was rounded before", () => {
  const trace = scored({ priority: [0.2985, 0.25, 0.5, 1] });
  trace.methods.fsr.plan.phi = [0.29852, 0.9, 0.5, 1];
  assert.equal(sig3(priorityOf(trace, "fsr", 0)), "0.299");
  assert.equal(priorityOf(trace, "fsr", 1), 0.25, "tuned: another number");
  assert.equal(priorityOf(trace, "other", 0), 0.2985);
});
