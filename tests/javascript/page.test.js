import assert from "node:assert/strict";
import test from "node:test";

import { aTrace, CONFIG, nextFrame } from "./browser.js";
import { createPage } from "../../app/static/page.js";

function opened() {
  const page = createPage(CONFIG);
  page.receive({ run: 1, fresh: true, example: "star", trace: JSON.stringify(aTrace()), pictures: [] });
  nextFrame();
  return page;
}

test("a fresh trace is shown with a ninth of its tokens, at least one", () => {
  const { state } = opened().store;
  assert.deepEqual([state.about, state.example, state.question, state.budget], [1, "star", "what?", 1]);
});

test("word about another picture or an older question is not shown", () => {
  const page = opened();
  const { ask } = page.asking();
  page.hear({ run: 2, about: 99, ask, status: { phase: "failed", text: "of another picture" } });
  page.hear({ run: 3, about: 1, ask: ask - 1, status: { phase: "failed", text: "of an older question" } });
  assert.equal(page.store.state.status.text, "Asking.");
  page.hear({
    run: 4,
    about: 1,
    ask,
    asked: "fsr@1",
    status: { phase: "full" },
    answers: { full: { method: "full" } },
  });
  assert.deepEqual([page.store.state.status.phase, page.store.state.asked], ["full", "fsr@1"]);
});

test("after a failure the answers of before come back", () => {
  const page = opened();
  page.store.set({ answers: { full: { method: "full", text: "yellow" } } });
  page.asking();
  page.failed("answers");
  assert.equal(page.store.state.answers.full.text, "yellow");
  assert.equal(page.store.state.status.phase, "failed");
});

test("of two recorded traces on their way the one that was asked for last is shown", async () => {
  const page = createPage(CONFIG);
  const answers = {};
  globalThis.fetch = (url) =>
    new Promise(
      (done) =>
        (answers[url] = () => done({ ok: true, text: async () => JSON.stringify({ ...aTrace(), question: url }) })),
    );
  const first = page.receive({ run: 1, fresh: true, example: "a", file: { url: "a" }, pictures: [] });
  const second = page.receive({ run: 2, fresh: true, example: "b", file: { url: "b" }, pictures: [] });
  answers.b();
  await second;
  answers.a();
  await first;
  assert.deepEqual([page.store.state.example, page.store.state.question], ["b", "b"]);
});

test("a recorded trace that cannot be had is said, and what is on the stage stays", async () => {
  const page = opened();
  for (const failing of [async () => ({ ok: false }), async () => Promise.reject(new TypeError("no network"))]) {
    globalThis.fetch = failing;
    await page.receive({ run: 2, fresh: true, example: "digit", file: { url: "gone" }, pictures: [] });
    const { status, example } = page.store.state;
    assert.deepEqual([status.phase, example], ["refused", "star"]);
    assert.match(status.text, /Choose the example again/);
    page.store.set({ status: { phase: "idle" } });
  }
});

test("a patch of another question is refused", () => {
  const page = opened();
  page.store.set({ setting: "now" });
  const patch = JSON.stringify({
    methods: { grid: { label: "Grid", parameters: {}, plan: { kind: "rank", rank: [3, 2, 1, 0] }, facts: {} } },
    scores: {},
  });
  page.receive({ run: 5, patch, setting: "before" });
  assert.equal(page.store.state.trace.methods.grid, undefined);
  page.receive({ run: 6, patch, setting: "now" });
  assert.equal(page.store.state.trace.methods.grid.label, "Grid");
});
