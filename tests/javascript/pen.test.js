// Strokes of the pen, what is on a clipboard, and what is said of a picture unlike all that a model knows.

import assert from "node:assert/strict";
import test from "node:test";

import { pastedFile } from "../../app/static/own/files.js";
import { unlikeOf } from "../../app/static/own/unlike.js";
import { COLORS, begun, drawnTo, paintAll, pointOn, sheetOf } from "../../app/static/pen/strokes.js";

const PEN = { color: "red", width: "medium", erases: false };

test("a small picture is drawn on at a finer grain, a large one at its own", () => {
  assert.deepEqual(sheetOf({ width: 320, height: 160 }), { width: 672, height: 336 });
  assert.deepEqual(sheetOf({ width: 1344, height: 700 }), { width: 1344, height: 700 });
  assert.deepEqual(sheetOf(null), { width: 672, height: 672 });
});

test("a stroke begins, goes on, and a step back leaves the ones before as they were", () => {
  const sheet = { width: 1000, height: 50 };
  const one = drawnTo(begun([], PEN, sheet, [1, 2]), [9, 8]);
  assert.deepEqual(one, [{ color: COLORS.red, width: 22, points: [[1, 2], [9, 8]] }]); // prettier-ignore
  assert.equal(drawnTo(one, [9.1, 8]), one, "it did not move");
  const two = begun(one, { ...PEN, erases: true }, sheet, [5, 5]);
  assert.equal(two[1].color, null);
  assert.deepEqual(two.slice(0, -1), one);
});

test("a pointer is found on the sheet whatever its size on the screen", () => {
  const box = { left: 10, top: 20, width: 200, height: 100 };
  assert.deepEqual(pointOn({ width: 400, height: 300 }, box, { clientX: 110, clientY: 70 }), [200, 150]);
});

test("an eraser takes away what lies below it, and one touch is a dot", () => {
  const calls = [];
  const ctx = new Proxy({}, {
    get: (at, name) => at[name] ?? ((...given) => calls.push([name, ...given])),
    set: (at, name, value) => ((at[name] = value), name === "globalCompositeOperation" && calls.push(value), true),
  }); // prettier-ignore
  const sheet = { width: 10, height: 10 };
  paintAll(ctx, sheet, begun(begun([], PEN, sheet, [1, 1]), { ...PEN, erases: true }, sheet, [2, 2]));
  const lines = calls.filter(([name]) => name === "lineTo").map(([, ...point]) => point);
  assert.deepEqual(lines, [[1.01, 1], [2.01, 2]]); // prettier-ignore
  assert.deepEqual(calls.filter((call) => typeof call === "string"), ["source-over", "destination-out"]); // prettier-ignore
});

test("a picture is taken from the clipboard, but text goes into the field it is pasted into", () => {
  const file = { type: "image/png" };
  assert.equal(pastedFile({ files: [file], types: ["Files"] }, false), file);
  assert.equal(pastedFile({ files: [file], types: ["Files"] }, true), file, "a field takes no picture");
  assert.equal(pastedFile({ files: [file], types: ["text/plain", "Files"] }, true), null);
  assert.equal(pastedFile({ files: [], types: ["text/plain"] }, false), null);
});

const rate = { share: 0.021, low: 0.01, high: 0.032, of: 600 };
const familiar = { measure: "tokens", distance: 31.26, limit: 24.1, far: true, false_alarms: rate, detected: rate };
const trace = { familiar, clip: null, model: { id: "shapes", title: "Shapes" } };
const model = { id: "shapes", answering: "shapes" };
const config = { real: { id: "smol", title: "SmolVLM2 256M" }, small: "owner/name" };

test("of a picture unlike what the model knows it is said, with the distance and a model that is on offer", () => {
  const said = unlikeOf({ trace, model }, config);
  assert.match(said.text, /^This picture is unlike all that Shapes has learnt from: its answer will mean nothing\./);
  assert.match(said.reason, /lie 31\.3 from .* limit is 24\.1\. Of 600 other drawn scenes 2\.1 % .*1 to 3\.2/);
  assert.deepEqual([said.offer, said.how], [config.real, ""]);
});

test("where no real model is on offer, it says how a host gets one", () => {
  assert.match(unlikeOf({ trace, model }, { ...config, real: null }).how, /FSR_MODELS=owner\/name$/);
});

for (const [why, state] of Object.entries({
  "one that is near": { trace: { ...trace, familiar: { ...familiar, far: false } }, model },
  "one of a model without a limit": { trace: { ...trace, familiar: null }, model },
  "a recorded one": { trace: { ...trace, familiar: undefined }, model },
  "no picture": { trace: null, model },
  "one that another model is asked about": { trace, model: { id: "smol", answering: "smol" } },
}))
  test(`nothing is said of ${why}`, () => assert.equal(unlikeOf(state, config), null));
