// The page of data sets, apart from its drawing: filters, addresses, the first view, what is on screen, stale answers.

import assert from "node:assert/strict";
import { test } from "node:test";
import { isStep, read, written } from "../../app/static/data/address.js";
import { Refused, createAsking, headlineAddress, latest, questionsAddress } from "../../app/static/data/asking.js";
import { conditionOf } from "../../app/static/data/chips.js";
import { askedColumns, withAsked } from "../../app/static/data/common.js";
import { ticksOf } from "../../app/static/data/curves.js";
import * as filters from "../../app/static/data/filter.js";
import { columnsShown, contrasted } from "../../app/static/data/row.js";
import { byBudget, endsOf, isSure, measureOf, pairText } from "../../app/static/data/scores.js";
import { emptyView, firstView, isPreset, presetsOf, settled } from "../../app/static/data/view.js";
import { pagesOf, scrollFor, seen, tallness } from "../../app/static/data/window.js";

const SWEEP = {
  name: "shapes",
  data: "shapes:300",
  model: "shapes",
  metric: "list",
  methods: ["cdpruner", "fsr", "random"],
  budgets: [192, 48, 32],
  items: 300,
  problems: 0,
  labels: { fsr: "FSR", cdpruner: "CDPruner" },
  digest: "x",
};
const LOST = { column: "flip", is: "=", value: "lost" };
const COUNT = { column: "data_type", is: "=", value: "count" };
const COLUMNS = [
  { name: "data_type", label: "type", kind: "text", own: true },
  { name: "data_objects", label: "objects", kind: "number", own: true },
  { name: "kl", label: "KL divergence", kind: "number", own: false },
];

test("a filter goes into an address and comes back; one that is none is refused", () => {
  const filter = [
    LOST,
    { column: "k", is: "in", value: [1, "a", true, null] },
    { column: "x", is: "empty", value: false },
  ];
  assert.deepEqual(filters.readFilter(filters.writtenFilter(filter)), filter);
  assert.equal(filters.writtenFilter([]), "");
  const bad = ["{", "{}", '[{"column":"a"}]', '[{"column":1,"is":"="}]', '[{"column":"a","is":"like","value":"x"}]'];
  bad.push(
    '[{"column":"a","is":"=","value":{}}]',
    '[{"column":"a","is":"in","value":"x"}]',
    '[{"column":"a","is":"<","value":[1]}]',
  );
  bad.push(JSON.stringify(Array(33).fill(LOST)), JSON.stringify([{ ...LOST, value: "x".repeat(301) }]));
  for (const text of bad) assert.equal(filters.readFilter(text), null, text);
});

test("a bar's conditions take the place of others of its column, and go when pressed again", () => {
  const small = [{ column: "data_objects", is: "<", value: 3 }];
  const middle = [{ column: "data_objects", is: ">=", value: 3 }, { column: "data_objects", is: "<", value: 5 }]; // prettier-ignore
  const once = filters.toggled([LOST, ...small], middle);
  assert.deepEqual(once, [LOST, ...middle]);
  assert.ok(filters.holds(once, middle) && !filters.holds(once, small));
  assert.deepEqual(filters.toggled(once, middle), [LOST]);
});

test("two lines side by side are told with the interval of their pairs", () => {
  const line = { questions: 304, measure: "score", here: 0.812, there: 0.83, only_here: 12, only_there: 17 };
  const open = { ...line, difference: -0.018, difference_low: -0.049, difference_high: 0.013 };
  assert.deepEqual([isSure(open), isSure({ ...open, difference_high: -0.001 })], [false, true]);
  assert.match(pairText(open), /difference of −1\.8 points \(95 %: −4\.9 to \+1\.3; it may as well be none\)\. 12 are right here alone, 17 there/); // prettier-ignore
  assert.match(pairText({ questions: 0 }), /no question/);
});

test("flips, search and conditions are said in words", () => {
  assert.deepEqual(filters.withFlips([COUNT], ["won", "lost"])[0], {
    column: "flip",
    is: "in",
    value: ["lost", "won"],
  });
  assert.deepEqual(filters.withFlips([LOST, COUNT], []), [COUNT]);
  assert.deepEqual(filters.flipsOf([LOST]), ["lost"]);
  assert.equal(filters.searched(filters.searching([LOST], "  red ")), "red");
  assert.deepEqual(filters.searching([LOST, { column: "anywhere", is: "has", value: "red" }], " "), [LOST]);
  const others = [
    { ...COUNT, is: "!=" },
    { ...COUNT, is: "!=", value: "color" },
    { column: "data_type", is: "empty", value: false },
  ];
  const told = filters.chipsOf([LOST, ...others, { column: "kl", is: ">=", value: 0.5 }], COLUMNS);
  assert.deepEqual(told.map((one) => one.text), ["type is none of count, color", "KL divergence ≥ 0.500"]); // prettier-ignore
});

test("a bar that is pressed keeps its neighbours, at its place", () => {
  const column = (name, ...labels) => ({ name, bars: labels.map((label) => ({ label })) });
  const narrow = { share: 0.5, columns: [column("size", "small"), column("place", "left", "right")] };
  const wide = { share: 0.1, columns: [column("place", "left"), column("type", "count", "color"), column("size", "small", "large")] }; // prettier-ignore
  const told = withAsked(narrow, new Map([["type", wide]]));
  assert.deepEqual(told.columns.map((c) => [c.name, c.bars.length, c.overall]), [["size", 1, undefined], ["type", 2, 0.1], ["place", 2, undefined]]); // prettier-ignore
  assert.deepEqual(askedColumns([LOST, COUNT, COUNT, { column: "anywhere", is: "has", value: "a" }]), ["data_type"]);
});

test("the form makes conditions of the column's kind, or says what is wanted", () => {
  assert.deepEqual(conditionOf(COLUMNS[1], ">=", "2,5").condition, { column: "data_objects", is: ">=", value: 2.5 });
  assert.equal(conditionOf(COLUMNS[1], "=", "many").note, "objects is a number.");
  assert.deepEqual(conditionOf({ name: "s", label: "s", kind: "flag" }, "=", "Yes").condition.value, true);
  assert.equal(conditionOf(COLUMNS[0], "has", " ").note, "Write a value first.");
});

test("the address holds the whole view, and what it cannot hold is named", () => {
  const view = { ...firstView(SWEEP), at: 12, beside: "shapes", besideMethod: "random", besideBudget: 32, show: "curves", theme: "dark", down: false, sort: "data_type", flip: "won", part: "common" }; // prettier-ignore
  assert.deepEqual({ ...emptyView(), ...read(written(view)).asked }, view);
  const own = { ...firstView(SWEEP), budget: null };
  assert.equal(read(written(own)).asked.budget, null);
  const { asked, ignored } = read("?sweep=a&budget=-3&down=2&filter=[1]&theme=pink&flip=same&at=1e3");
  assert.deepEqual(asked, { sweep: "a" });
  assert.deepEqual(ignored, ["budget", "filter", "down", "at", "flip", "theme"]);
  assert.ok(isStep(view, { ...view, filter: [] }) && !isStep(view, { ...view, at: 3, theme: "light" }));
});

test("who comes without an address sees FSR's worst flips at the budget nearest to 64", () => {
  const { view, notes } = settled({}, [SWEEP]);
  assert.deepEqual([view.method, view.budget, view.sort, view.down, view.filter], ["fsr", 48, "kl", true, [LOST]]);
  assert.deepEqual(notes, []);
  const presets = presetsOf(SWEEP);
  assert.deepEqual(presets.map((p) => p.label), ["FSR's worst flips at 48", "Where FSR wins at 48", "FSR beside CDPruner", "All questions"]); // prettier-ignore
  assert.deepEqual(presets.map((p) => isPreset(view, p)), [true, false, false, false]); // prettier-ignore
  assert.deepEqual(firstView({ ...SWEEP, scored: false }).filter, [{ ...LOST, value: "changed" }]);
});

test("an address that names what is not there is answered with what is, and a sentence", () => {
  const { view, notes } = settled({ sweep: "shapes", method: "dart", budget: 7, beside: "gone" }, [SWEEP]);
  assert.deepEqual([view.method, view.budget, view.beside, view.filter], ["fsr", 48, "", []]);
  assert.equal(notes.length, 3);
  assert.match(settled({ sweep: "gone" }, [SWEEP]).notes[0], /no sweep “gone”/);
});

test("a headline is of the questions that the filter lets through, whatever became of their answers", () => {
  const view = { ...firstView(SWEEP), filter: [LOST, COUNT] };
  const asked = new URLSearchParams(headlineAddress(view, COLUMNS).split("?")[1]);
  assert.deepEqual(JSON.parse(asked.get("filter")), [COUNT]);
  assert.match(
    questionsAddress(view, 50),
    /^data\/api\/questions\?sweep=shapes&method=fsr&budget=48&filter=.*&sort=kl&down=1&offset=50&limit=50$/,
  );
});

test("an answer that comes late never takes the place of a newer one, and what fails is a sentence", async () => {
  const run = latest();
  const told = [];
  let resolve;
  const slow = new Promise((done) => (resolve = done));
  const to = { done: (value) => told.push(value), failed: (text) => told.push(`failed: ${text}`) };
  const first = run(() => slow, to);
  await run(async () => "new", to);
  resolve("old");
  await first;
  const answers = { bad: { ok: false, status: 400, json: async () => ({ error: "there is no column 'x'." }) }, odd: { ok: false, status: 502, json: async () => JSON.parse("<") } }; // prettier-ignore
  const get = createAsking(async (path) => answers[path] ?? Promise.reject(new TypeError("net")));
  for (const path of ["down", "bad", "odd"]) await run((signal) => get(path, signal), to);
  assert.deepEqual(told, [
    "new",
    "failed: the server cannot be reached.",
    "failed: there is no column 'x'.",
    "failed: the server answered with 502.",
  ]);
  await assert.rejects(get("bad"), Refused);
});

test("of a million rows the last is reached, and no element is taller than browsers draw", () => {
  const sizes = { total: 1_000_000, row: 60, height: 600 };
  assert.ok(tallness(sizes) <= 17_000_000);
  const end = tallness(sizes) - sizes.height;
  assert.equal(seen(sizes, end).last, 999_999);
  for (const index of [0, 17, 123_456, 999_999]) {
    const top = scrollFor(sizes, 0, index);
    const { first, last, shift } = seen(sizes, top);
    assert.ok(first <= index && index <= last);
    assert.ok(index * 60 - shift >= top - 1 && index * 60 - shift + 60 <= top + 601, `row ${index} is whole on screen`);
  }
  const few = { total: 3, row: 60, height: 600 };
  assert.deepEqual(seen(few, 0), { first: 0, last: 2, shift: 0 });
  assert.deepEqual(pagesOf(48, 103, 50), [0, 1, 2]);
});

test("a row shows where long answers differ, and the columns that matter", () => {
  assert.deepEqual(contrasted("red ring", "red dot"), ["red ring", "red dot"]);
  assert.deepEqual(contrasted("a red ring, two blue dots and a star", "a red ring, one dot"), ["… two blue dots and a star", "… one dot"]); // prettier-ignore
  assert.deepEqual(contrasted(null, "yes"), ["", "yes"]);
  assert.deepEqual(columnsShown(COLUMNS, emptyView()).map((c) => c.name), ["data_type"]); // prettier-ignore
  assert.deepEqual(columnsShown(COLUMNS, { ...emptyView(), sort: "data_objects" }).length, 2);
});

test("scores are put in order and on an axis that shows their intervals", () => {
  const row = (method, budget, score) => ({ method, budget, score, score_low: score - 0.1, score_high: score + 0.05 });
  const rows = [row("full", null, 0.9), row("fsr", 32, 0.5), row("random", 64, 0.4), row("fsr", 64, 0.8), row("evs", null, 0.7)]; // prettier-ignore
  assert.equal(measureOf(rows), "score");
  assert.equal(measureOf([{ score: null, agreement: 1 }]), "agreement");
  const groups = byBudget(rows, "score");
  assert.deepEqual(groups.map(([budget, group]) => [budget, group.map((r) => r.method)]), [[null, ["evs"]], [64, ["fsr", "random"]], [32, ["fsr"]]]); // prettier-ignore
  const [from, to] = endsOf(rows, "score");
  assert.ok(from < 0.3 && from > 0.2 && to > 0.95 && to <= 1);
  assert.deepEqual(ticksOf(0.24, 1).map((y) => Math.round(100 * y)), [40, 60, 80, 100]); // prettier-ignore
});
