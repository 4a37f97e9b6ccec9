import assert from "node:assert/strict";
import test from "node:test";

import { aTrace, CONFIG, nextFrame } from "./browser.js";
import { lengthText } from "../../app/static/asking.js";
import { createPage } from "../../app/static/page.js";

function refused() {
  const page = createPage(CONFIG);
  page.receive({ run: 1, fresh: true, example: "star", trace: JSON.stringify(aTrace()), pictures: [], note: "Other." });
  nextFrame();
  page.hear({ run: 2, status: { phase: "refused", text: "The file is empty." } });
  nextFrame();
  nextFrame();
  return page;
}

test("what was refused stays until the next action, by pointer or by keys", () => {
  const { store } = refused();
  assert.equal(store.state.status.text, "The file is empty.");
  document.body.append(document.createElement("p"), document.createElement("button"));
  document.querySelector("p").click();
  assert.equal(store.state.status.text, "The file is empty.", "a click on nothing is no action");
  document.querySelector("button").click();
  assert.deepEqual(store.state.status, { phase: "idle" });
  const other = refused().store;
  other.set({ budget: 3 });
  nextFrame();
  assert.deepEqual(other.state.status, { phase: "idle" });
});

test("the note of another model goes with the next picture", () => {
  const page = refused();
  assert.equal(page.store.state.note, "Other.");
  page.receive({ run: 3, fresh: true, example: "digit", trace: JSON.stringify(aTrace()), pictures: [] });
  assert.equal(page.store.state.note, "");
});

test("a question that is nearly, or altogether, too long says so", () => {
  assert.equal(lengthText(300, 500), "");
  assert.equal(lengthText(412, 500), "412 of 500 characters");
  assert.match(lengthText(512, 500), /12 more than the 500 that are allowed/);
});
