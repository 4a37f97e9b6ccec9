import assert from "node:assert/strict";
import test from "node:test";

import { comparedTimes, reordered, spread } from "../../app/static/format.js";

const cost = (ms, ends) => ({ prefill_ms: ms, ...(ends ? { spread: { prefill_ms: ends } } : {}) });

test("two times whose ranges overlap show no difference", () => {
  assert.equal(comparedTimes(cost(10, [9, 11]), cost(10.6, [10.5, 12]), "prefill_ms"), "no difference measured");
  assert.match(comparedTimes(cost(30, [29, 31]), cost(10, [9, 11]), "prefill_ms"), /^3\.00\u202f× faster$/);
  assert.match(comparedTimes(cost(10, [9, 11]), cost(20, [19, 21]), "prefill_ms"), /× slower$/);
});

test("of a single run only a large difference is told", () => {
  assert.equal(comparedTimes(cost(32), cost(34), "prefill_ms"), "measured once");
  assert.match(comparedTimes(cost(32), cost(8), "prefill_ms"), /^4\.00\u202f× faster, once$/);
  assert.equal(comparedTimes(cost(32), null, "prefill_ms"), "");
});

test("a spread is written in the unit of its median", () => {
  assert.equal(spread([5.81, 6.6], 6.1), "5.81–6.60");
  assert.equal(spread([11_900, 12_300], 12_000), "11.9–12.3");
});

test("a list in another order names the same things, another list or a sentence does not", () => {
  assert.equal(reordered("apple, dog, car", "apple, car, dog"), true);
  assert.equal(reordered("apple, dog, car", "apple, dog, car"), false);
  assert.equal(reordered("apple, dog, dog", "apple, dog"), false);
  assert.equal(reordered("yes", "no"), false);
});
