import assert from "node:assert/strict";
import test from "node:test";

import { aTrace, CONFIG } from "./browser.js";
import { ROWS, queryOf, readQuery, shareable } from "../../app/static/address.js";
import { listAddress, queryFor } from "../../app/static/listed.js";
import { readTokens, written } from "../../app/static/address_text.js";
import { LAYERS, createStore } from "../../app/static/store.js";

const config = {
  ...CONFIG,
  methods: [
    {
      name: "fsr",
      label: "FSR",
      parameters: [
        { name: "alpha", default: 3, low: 0, high: null },
        { name: "rho", default: 0.9, low: 0, high: 1, above: true },
        { name: "focus_cap", default: null, low: 0, high: 1, above: true, optional: true },
        { name: "similarity", default: "projected", choices: ["projected", "encoder"] },
      ],
    },
    { name: "grid", label: "Grid", parameters: [] },
  ],
};

function stateOf(patch) {
  const trace = { ...aTrace(), scores: { saliency: [1, 2, 3, 4] }, ...patch.trace };
  return { ...createStore({}).state, trace, example: "star", budget: 2, ...patch };
}

const FULL = {
  mode: "compare",
  tab: "words",
  method: "grid",
  budget: 3,
  layer: "saliency",
  layers: new Set([...LAYERS.filter((l) => l !== "dropped"), "ties"]),
  pinned: 2,
  cursor: 2,
  forced: { in: [0, 1, 2], out: [3] },
  playback: 7,
  chosen: ["grid", "fsr"],
  arrange: "budgets",
  rowMethod: "grid",
  pair: [2, 0],
  layerAt: { grid: 4 },
  edited: { fsr: { alpha: 0, rho: 0.5, focus_cap: null, similarity: "encoder" } },
  theme: "dark",
  projector: true,
};

test("what is written is read again, every key of it", () => {
  const state = stateOf(FULL);
  const query = queryOf({ config, state, question: "what else, 7: + & #?" });
  const { patch, ignored } = readQuery(query, { config, state: stateOf({}) });
  assert.deepEqual(ignored, []);
  const sorted = (value) => (value instanceof Set ? [...value].sort() : value);
  for (const key of Object.keys(FULL)) assert.deepEqual(sorted(patch[key]), sorted(FULL[key]), key);
  const given = new URLSearchParams(query);
  assert.equal(given.get("question"), "what else, 7: + & #?");
  assert.match(query, /tune=fsr\.alpha:0,fsr\.rho:0\.5,fsr\.similarity:encoder/);
  const unwritten = ROWS.map((row) => row.name).filter((name) => !given.has(name));
  assert.deepEqual(unwritten, [
    "recording",
    "sweep",
    "item",
    "list",
    "picture",
    "scene",
    "model",
    "share",
    "frame",
    "part",
    "region",
  ]);
});

test("a clip's frame and region are written and read", () => {
  const frames = [0, 1, 2].map(() => ({ width: 4, height: 1, rows: 1, cols: 4, seen: [0, 0, 4, 1] }));
  const trace = { ...aTrace(), frames, clip: { share: "global" } };
  const state = stateOf({ trace, frame: 2, region: { x0: 0.25, y0: 0, x1: 0.5, y1: 1 }, share: "per_group" });
  const query = queryOf({ config, state });
  assert.match(query, /share=per_group&frame=3&region=0.25,0,0.5,1/);
  const { patch, ignored } = readQuery(query, { config, state: stateOf({ trace }) });
  assert.deepEqual(ignored, []);
  assert.deepEqual([patch.frame, patch.region, patch.share], [2, state.region, "per_group"]);
});

test("defaults are left out, other keys stay, and what a host added for one visitor is not shared", () => {
  const query = queryOf({ config, state: stateOf({}), question: "what?" }, "?budget=9&__sign=secret&tour=mine");
  assert.equal(query, "?example=star&method=fsr&budget=2&__sign=secret&tour=mine");
  assert.equal(shareable(query), "?example=star&method=fsr&budget=2&tour=mine");
});

test("a visitor's own picture is not in the address, its question is", () => {
  const state = stateOf({ example: null, pictures: [{}] });
  assert.match(queryOf({ config, state, question: "what?" }), /^\?picture=own&question=what%3F&/);
});

test("an item of a sweep is named by both, and is no picture of the visitor's", () => {
  const source = { sweep: "val & test", item: 12, question: "what?" };
  const state = stateOf({ example: null, pictures: [{}], source });
  assert.match(queryOf({ config, state, question: "what?" }), /^\?sweep=val\+%26\+test&item=12&method=/);
  assert.match(queryOf({ config, state, question: "why?" }), /&item=12&question=why%3F&/);
});

test("the way back to a list leads to the page Data sets, whatever the list is", () => {
  const source = { sweep: "a", item: 12, question: "what?" };
  const list = "sweep=a&method=fsr&budget=64&filter=[]&sort=kl";
  const query = queryOf({ config, state: stateOf({ example: null, source, list }) });
  assert.equal(readQuery(query, { config, state: stateOf({}) }).patch.list, list);
  assert.equal(queryOf({ config, state: stateOf({ list }) }).includes("list="), false, "an example is in no list");
  assert.equal(listAddress(list, { item: 12, theme: "dark" }), "./data?sweep=a&method=fsr&budget=64&filter=%5B%5D&sort=kl&at=12&theme=dark"); // prettier-ignore
  for (const hostile of [
    "//evil.example/?&sweep=a",
    "#/../..//evil.example&sweep=a",
    "javascript:alert(1)//&sweep=a",
  ]) {
    const { origin, pathname } = new URL(listAddress(hostile), "https://here.example/space/");
    assert.deepEqual([origin, pathname], ["https://here.example", "/space/data"]);
  }
  assert.equal(queryFor(`?item=12&question=what&token=3&method=fsr&list=${encodeURIComponent("item=9&a=1")}`, 7), "?item=7&method=fsr&list=item%3D9%26a%3D1"); // prettier-ignore
});

const BAD = {
  example: ["../../etc", "constructor", ""],
  recording: ["none"],
  sweep: ["x".repeat(201)],
  item: ["-1", "1e9", "first", ""],
  list: ["https://evil.example", "//evil.example/?sweep=", "javascript:alert(1)", `sweep=a&filter=${"x".repeat(4000)}`],
  picture: ["0123"],
  question: [" ", "x".repeat(501)],
  scene: ["1~plain", "1~plain-f4f1ea~dgo-1-1-20", "<b>"],
  model: ["gpt"],
  view: ["two"],
  tab: ["<b>"],
  method: ["full", "__proto__"],
  tune: [
    "fsr",
    "fsr.alpha:-1",
    "fsr.rho:0",
    "fsr.rho:2",
    "fsr.alpha:none",
    "fsr.similarity:other",
    "fsr.x:1",
    "a.b:1e9",
  ],
  budget: ["abc", "0", "5", "1e99", "2.5", "-1", ""],
  share: ["per_group", "x"],
  layer: ["relevance", "__proto__"],
  hidden: ["dropped,x", ""],
  lines: ["yes"],
  frame: ["1"],
  part: ["1"],
  region: ["0,0,1,1"],
  token: ["4", "-1"],
  in: ["4", "3-1", "0-99999", "a"],
  out: ["1,,2"],
  step: ["-1", "0", "9999999"],
  methods: ["fsr", "fsr,x"],
  arrange: ["methods "],
  row: ["x"],
  pair: ["AA", "AZ", "A"],
  depth: ["fsr:0", "x:1", "fsr"],
  theme: ["blue"],
  projector: ["0"],
};

test("anything else is ignored and said, with what is allowed", () => {
  assert.deepEqual(Object.keys(BAD).sort(), ROWS.map((row) => row.name).sort());
  for (const [name, values] of Object.entries(BAD))
    for (const value of values) {
      const query = `?${new URLSearchParams({ [name]: value })}`;
      const { patch, ignored } = readQuery(query, { config, state: stateOf({}) });
      assert.deepEqual(patch, {}, `${name}=${value}`);
      assert.equal(ignored.length, 1, `${name}=${value}`);
    }
  const { ignored } = readQuery(`?budget=abc&token=${"9".repeat(99)}`, { config, state: stateOf({}) });
  assert.equal(ignored[0], "budget=abc (a whole number from 1 to 4)");
  assert.ok(ignored[1].length < 90);
});

test("of a list the good part is taken, the rest is said", () => {
  const { patch, ignored } = readQuery("?methods=grid,<b>,fsr&tune=fsr.alpha:1,x.y:2", { config, state: stateOf({}) });
  assert.deepEqual([patch.chosen, patch.edited.fsr.alpha, patch.edited.fsr.rho], [["grid", "fsr"], 1, 0.9]);
  assert.deepEqual(
    ignored.map((text) => text.split(" ")[0]),
    ["tune=x.y:2", "methods=<b>"],
  );
});

test("Back to an address without a key brings the default back, but not of the looks", () => {
  const { patch } = readQuery("", { config, state: stateOf({ ...FULL, budget: 4 }) }, ROWS, true);
  assert.deepEqual(
    [patch.mode, patch.tab, patch.budget, patch.pinned, patch.edited, patch.forced],
    ["one", "answer", 1, -1, {}, { in: [], out: [] }],
  );
  assert.equal("theme" in patch || "projector" in patch, false);
});

test("token numbers are written as ranges", () => {
  assert.equal(written([9, 3, 4, 5, 1]), "1,3-5,9");
  assert.deepEqual(readTokens("1,3-5,9,4", 10), [1, 3, 4, 5, 9]);
});
