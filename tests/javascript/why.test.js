import assert from "node:assert/strict";
import test from "node:test";

import { aTrace } from "./browser.js";
import { roleName } from "../../app/static/describe.js";
import { viewAt } from "../../app/static/plan.js";
import { because, chunkOf, ordinal } from "../../app/static/why/sentences.js";
import { nearest, nearestKept } from "../../app/static/why/sketch.js";
import { advance, stretches, stripText } from "../../app/static/why/strip.js";

/** FSR on five tokens: two of Focus, then Scan takes 4, 3, 2. Token 2 is like 4 at first, then like 3. */
const NESTED = {
  kind: "nested",
  focus_rank: [0, 1, 4, 3, 2],
  k_focus: 2,
  scan_rank: [-1, -1, 2, 1, 0],
  kappa: 1,
  phi: [0.8, 0.5, 0.001, 0.002, 0.003],
  history: { offsets: [0, 0, 0, 2, 3, 3], rank: [0, 1, 0], anchor: [4, 3, 4], similarity: [0.5, 0.94, 0.2] },
};

function about(method, plan, budget, more = {}) {
  const trace = aTrace(plan.rank ?? [0, 1, 2, 3, 4]);
  trace.methods = { ...trace.methods, [method]: { label: method, parameters: {}, facts: {}, plan, ...more.record } };
  trace.scores = more.scores ?? {};
  trace.share = more.share ?? "global";
  return { trace, method, view: viewAt(plan, trace.tokens.n, budget) };
}

test("FSR says rank, where Focus ended, when Scan would come, and who speaks until then", () => {
  assert.equal(
    because(about("fsr", NESTED, 2), 1),
    "Kept by Focus. Priority 0.500 is rank 2 of 5; Focus takes the first 2.",
  );
  assert.equal(
    because(about("fsr", NESTED, 3), 2),
    "Merged. Priority 0.00100 is rank 5; Focus ended at 2. Scan would take it as its 3rd, at 5 tokens; until then anchor #4 (cosine 0.500) speaks for it.",
  );
  assert.match(because(about("fsr", NESTED, 4), 2), /until then anchor #3 \(cosine 0\.940\) speaks for it\.$/);
  assert.match(because(about("fsr", NESTED, 3), 3), /nothing speaks for it: #4 \(cosine 0\.200\)/);
  assert.match(because(about("fsr", NESTED, 4), 3), /^Kept by Scan\. .*took it as its 2nd/);
  assert.match(
    because(about("fsr", NESTED, 1), 1),
    /^Dropped\. Priority 0\.500 is rank 2; Focus ended at 1\. It is kept from 2 tokens on/,
  );
});

test("rank methods give the score, its rank and the score of the last one kept", () => {
  const plan = { kind: "rank", rank: [2, 0, 1, 3] };
  const scores = { saliency: [0.1, 0.4, 0.2, 0.05] };
  assert.equal(
    because(about("saliency", plan, 2, { scores }), 0),
    "Dropped. Saliency 0.100 is rank 3 of 4; the first 2 are kept, and the last one kept has 0.200.",
  );
  assert.match(because(about("random", plan, 2), 1), /^Kept: 1st in the random order of seed 0/);
  assert.match(
    because(about("random", plan, 2, { share: "per_group" }), 0),
    /^Dropped: it is kept from 3 tokens on\. Every frame/,
  );
});

test("CDPruner gives relevance, what is new, and the gain; less where the record is older", () => {
  const plan = { kind: "rank", rank: [2, 0, 1, 3] };
  const why = { every: { relevance: [0.5, 1, 0.9, 0.2], residual: [0.1, 1, 0.5, 0] } };
  const said = (token, record) => because(about("cdpruner", plan, 2, { record }), token);
  assert.match(
    said(0, { why }),
    /^Dropped: it would be the 3rd pick, and 2 are kept\. .*0\.500 squared × 10\.0.% new = gain 0\.0250/,
  );
  assert.match(said(3, { why }), /Nothing in it is new/);
  assert.equal(said(1, {}), "Kept as the 1st pick. Picks go by relevance and by how much is new in a token.");
});

test("VisPruner says important, diverse, or of which token it is a duplicate, at budgets where that is told", () => {
  const plan = { kind: "table", packing: "bit", budgets: [2, 3], roles: [btoa("\x05"), btoa("\x0d")] };
  const scores = { saliency: [0.9, 0.5, 0.3, 0.2] };
  const why = { budgets: [2], at: { of: [[-1, 2, -1, 2]], cosine: [[0, 0.97, 0, 0.6]] } };
  const said = (token, budget) => {
    const one = about("vispruner", plan, budget, { scores, record: { why } });
    one.trace.tokens.n = 4;
    return because({ ...one, view: viewAt(plan, 4, budget) }, token);
  };
  assert.match(said(0, 2), /^Kept as one of the 1 important/);
  assert.match(said(2, 2), /^Kept as one of 1 diverse tokens/);
  assert.match(said(1, 2), /^Dropped as a duplicate of #2 \(cosine 0\.970/);
  assert.match(said(1, 3), /Of which one is known at 2 tokens/);
});

test("AgilePruner says place and saliency, or which more salient token is too like it", () => {
  const plan = { kind: "rank", rank: [2, 0, 1, 3] };
  const scores = { saliency: [0.1, 0.4, 0.2, 0.05] };
  const why = { every: { of: [-1, -1, -1, 1], cosine: [0, 0, 0, 0.97] } };
  const said = (token, budget) => because(about("agilepruner", plan, budget, { scores, record: { why } }), token);
  assert.equal(
    said(2, 2),
    "Kept as the 2nd: no more salient token that was taken is too like it. Saliency 0.200 is rank 2.",
  );
  assert.match(said(0, 2), /^Dropped: it would be the 3rd, and 2 are kept\. Saliency 0\.100 is rank 3/);
  assert.match(said(3, 2), /^Dropped: it is too like #1 \(cosine 0\.970\), which is more salient/);
  assert.match(said(3, 4), /^Kept, though it is too like #1/);
});

test("ToDRE says which pick it is, and that picks go by the sum of cosines", () => {
  const said = (token) => because(about("todre", { kind: "rank", rank: [2, 0, 1, 3] }, 2), token);
  assert.match(said(1), /^Kept as the first pick: the most salient token/);
  assert.match(said(2), /^Kept as the 2nd pick\. Then it has the smallest cosine to the one picked before it/);
  assert.match(
    said(3),
    /^Dropped: it would be the 4th pick, and 2 are kept\. Then it has the smallest sum of cosines to all 3/,
  );
});

test("MMTok says what a pick adds to what is covered, and how much of that is the question's", () => {
  const why = { every: { score: [0.02, 0.5, 0.1, 0], relevance: [0, 0.8, 0.25, 0] } };
  const said = (token, record = { why }) =>
    because(about("mmtok", { kind: "rank", rank: [2, 0, 1, 3] }, 2, { record }), token);
  assert.match(
    said(1),
    /^Kept as the 1st pick: it adds 50\.0.% of all there is to cover, 80\.0.% of that of the question's/,
  );
  assert.match(
    said(0),
    /^Dropped: it would be the 3rd pick, and 2 are kept: it adds .* none of it of the question's words/,
  );
  assert.match(said(3), /covers nothing that those before it do not\.$/);
  assert.match(said(2, {}), /^Kept as the 2nd pick\. Each pick covers most/);
});

test("PixelPrune says whether the tower read what was dropped, and so does the role", () => {
  const plan = { kind: "table", packing: "bit", budgets: [2], roles: [btoa("\x05")] };
  const pruned = (facts) => {
    const one = about("pixelprune", plan, 2, { record: { facts } });
    Object.assign(one.trace.tokens, { n: 4, row: [0, 0, 0, 0] });
    return { ...one, view: viewAt(plan, 4, 2) };
  };
  const [alone, behind] = [pruned({ n_not_encoded: 2 }), pruned({})];
  assert.match(because(alone, 1), /^Dropped: .*The vision tower never read it\.$/);
  assert.match(because(behind, 1), /read it all the same\.$/);
  assert.equal(roleName(alone, 1), "Dropped, never encoded");
  assert.equal(roleName(behind, 1), "Dropped");
  assert.equal(roleName(alone, 2), "Kept");
});

test("EVS says the first frame, or how like the same place in the frame before a token is", () => {
  const why = { every: { of: [-1, -1, 0, 1], cosine: [0, 0, 0.9712, 1] } };
  const plan = { kind: "rank", rank: [0, 1, 2, 3] };
  const said = (token) => because(about("evs", plan, 3, { record: { why } }), token);
  assert.match(said(1), /^Kept\. It is of the first frame.*: 2nd\.$/);
  assert.match(
    said(2),
    /^Kept\. Cosine 0\.9712 to #0, the same place in the frame before\. .*rank 3 of 4; the first 3/,
  );
  assert.match(said(3), /^Dropped\. It equals #1/);
});

test("FastVID says anchors, what they hold, and what is merged across time; an anchor keeps a share of its own", () => {
  // token 0 is salient, 1 is merged into the anchor 3 of the next frame, 2 is dropped
  const plan = {
    kind: "table",
    packing: "nibble",
    budgets: [2],
    roles: [btoa("\x12\x20")],
    anchors: [btoa("\x03\x00")],
  };
  const one = about("fastvid", { ...plan, phi: [1, 1, 1, 1], own: 0.6 }, 2, {
    record: { parameters: { context: 0.5 } },
  });
  one.trace.tokens.n = 4;
  one.trace.tokens.frame = [0, 0, 1, 1];
  const view = viewAt(one.trace.methods.fastvid.plan, 4, 2);
  const said = (token) => because({ ...one, view }, token);
  assert.match(said(0), /^Kept: one of the most salient.*50\.0.% of the budget/);
  assert.match(said(1), /^Merged into #3, which is in frame 2: across time\./);
  assert.match(said(2), /^Dropped: none of the most salient/);
  assert.match(said(3), /^Kept as an anchor: .* 1 token of its segment of the clip is merged into it/);
  assert.deepEqual(
    [...view.refine.weight].map((w) => Number(w.toFixed(3))),
    [1, 0.2, 0, 0.8],
  );
});

test("inside the language model it is the layer that counts", () => {
  const plan = { kind: "layers", layers: 5, budgets: [2], depth: [[5, 2, 5, 1]] };
  const why = { budgets: [2], at: { score: [[0.4, 0.2, 0.3, 0.1]] } };
  assert.match(
    because(about("fastv", plan, 2, { record: { why } }), 3),
    /^Read by the first 1 of 5 layers.*0\.100, rank 4/,
  );
  assert.match(because(about("fastv", plan, 2), 0), /^Kept: it stays through all 5 layers/);
});

test("chunks are cut as HoloV cuts them", () => {
  assert.deepEqual(chunkOf(576, 64, null, 80), { chunk: 2, parts: 16, first: 72, end: 108 });
  assert.deepEqual(chunkOf(10, 5, 4, 4), { chunk: 1, parts: 4, first: 3, end: 6 }); // 3 3 2 2
  assert.deepEqual(chunkOf(10, 5, 4, 9), { chunk: 3, parts: 4, first: 8, end: 10 });
});

test("ordinals", () =>
  assert.deepEqual(
    [1, 2, 3, 4, 11, 12, 13, 21, 112, 101].map(ordinal).join(" "),
    "1st 2nd 3rd 4th 11th 12th 13th 21st 112th 101st",
  ));

/** Two numbers a token: 0 and 1 look alike, 2 is their opposite, 3 is at a right angle. */
function sketched() {
  const trace = aTrace([0, 1, 2, 3]);
  const values = new Int16Array([32767, 0, 30000, 3000, -32767, 0, 0, 32767]);
  trace.tokens.sketch = { dims: 2, error: 0.001, values: btoa(String.fromCharCode(...new Uint8Array(values.buffer))) };
  return trace;
}

test("the kept token most like a dropped one is found from the sketch, and nothing is claimed without one", () => {
  const trace = sketched();
  assert.equal(nearest(trace, 0, () => true).token, 1);
  assert.ok(Math.abs(nearest(trace, 0, (i) => i === 2).cosine + 1) < 1e-6);
  const view = viewAt(trace.methods.fsr.plan, 4, 2); // keeps 0 and 1
  assert.deepEqual([nearestKept(trace, view, 2).token, nearestKept(trace, view, 3).token], [1, 1]);
  assert.equal(nearestKept(trace, view, 1), null);
  delete trace.tokens.sketch;
  assert.equal(nearestKept({ ...trace, tokens: { ...trace.tokens } }, view, 2), null);
});

test("the strip tells a token's role at every budget", () => {
  while (!advance(NESTED, 5, 2));
  assert.deepEqual(stretches(NESTED, 5, 2), [
    { from: 1, to: 2, role: 0 },
    { from: 3, to: 4, role: 1 },
    { from: 5, to: 5, role: 3 },
  ]);
  assert.equal(stripText(stretches(NESTED, 5, 1)), "dropped at 1, kept by Focus at 2 to 5");
});
