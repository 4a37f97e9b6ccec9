import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import { CONFIG } from "./browser.js";
import { queryOf } from "../../app/static/address.js";
import { begun, done, stepped } from "../../app/static/compose/history.js";
import { dragged, turnsAbove } from "../../app/static/compose/layer.js";
import { added, changed, doubled, moved, readScene, textOf, without } from "../../app/static/compose/scene.js";
import { asked, offer, truthOf, verdict } from "../../app/static/compose/verdict.js";
import { createStore } from "../../app/static/store.js";

const { compose } = CONFIG;
const TEXTS = JSON.parse(readFileSync(new URL("../scenes.json", import.meta.url), "utf8"));
const EMPTY = "1~plain-f4f1ea";
const read = (text) => /** @type {any} */ (readScene(text, compose));

test("a scene is read and written as in Python", () => {
  for (const text of TEXTS.good) assert.equal(textOf(read(text)), text);
  const many = [EMPTY, ...Array(25).fill("dog-1-1-20")].join("~");
  for (const text of [...TEXTS.bad, many, "9".repeat(1201), null, 7]) assert.equal(read(text), null, String(text));
});

test("it is a part of the address, and the picture is nobody's own then", () => {
  const state = { ...createStore({}).state, drawn: TEXTS.good[1], pictures: [{}] };
  const query = queryOf({ config: CONFIG, state });
  assert.equal(new URLSearchParams(query).get("scene"), TEXTS.good[1]);
  assert.match(query, /scene=1~plain-f4f1ea~dog-84-236-104~car/);
  assert.doesNotMatch(query, /picture=/);
});

test("whatever is done to a scene, it stays one that is read", () => {
  let scene = read(TEXTS.good[1]);
  for (const patch of [{ x: -50 }, { y: 999.6 }, { size: 1e6 }, { size: -3 }, { turn: -30 }, { turn: 725.4 }]) {
    scene = changed(scene, 0, patch, compose);
    assert.deepEqual(read(textOf(scene)), scene);
  }
  assert.deepEqual([scene.pieces[0].x, scene.pieces[0].y, scene.pieces[0].size, scene.pieces[0].turn], [0, 336, 16, 5]);
  const more = added(scene, "star", compose, { color: "blue" });
  assert.equal(more.pieces.at(-1).color, "blue");
  assert.deepEqual(read(textOf(more)), more);
  assert.equal(doubled(more, 0, compose).pieces.length, 7);
  assert.equal(without(more, 0).pieces[0].name, "car");
  assert.deepEqual(moved(more, 0, 1)[0].pieces[1], more.pieces[0]);
  assert.equal(moved(more, 0, -1)[0], more);
});

test("what is added lies where there is room, and 24 objects are the most", () => {
  let scene = read(EMPTY);
  for (let i = 0; i < 8; i++) scene = added(scene, "dog", compose);
  const far = (a, b) => Math.max(Math.abs(a.x - b.x), Math.abs(a.y - b.y));
  const nearest = scene.pieces.flatMap((a, i) => scene.pieces.slice(i + 1).map((b) => far(a, b)));
  assert.ok(Math.min(...nearest) >= 84);
  while (scene.pieces.length < 24) scene = added(scene, "dog", compose);
  assert.equal(added(scene, "dog", compose), null);
  assert.equal(doubled(scene, 0, compose), null);
});

test("a drag moves, scales from the middle, and turns towards upright", () => {
  const piece = { x: 100, y: 100, size: 40, turn: 10 };
  assert.deepEqual(dragged({ way: "move", piece, x: 110, y: 90 }, [130, 80]), { x: 120, y: 90 });
  assert.deepEqual(dragged({ way: "size", piece, x: 120, y: 100 }, [140, 100]), { size: 80 });
  assert.deepEqual(dragged({ way: "turn", piece, x: 100, y: 60 }, [140, 100]), { turn: 90 });
  assert.deepEqual(dragged({ way: "turn", piece, x: 100, y: 60 }, [102, 60]), { turn: 0 });
  assert.deepEqual(dragged({ way: "turn-below", piece, x: 100, y: 140 }, [60, 100]), { turn: 90 });
});

test("the handle that turns hangs at the foot where above there is no picture", () => {
  const piece = { name: "dog", x: 168, y: 168, size: 60, turn: 0 };
  assert.equal(turnsAbove(piece, 336, 0.5), true);
  assert.equal(turnsAbove({ ...piece, y: 34 }, 336, 0.5), false);
  assert.equal(turnsAbove({ ...piece, y: 34, turn: 180 }, 336, 0.5), true);
  assert.equal(turnsAbove({ ...piece, x: 310, turn: 90 }, 336, 0.5), false);
});

test("undo goes back, redo forward, and a change forgets what was undone", () => {
  let history = done(done(begun("a"), "b"), "c");
  assert.equal(done(history, "c"), history);
  history = stepped(history, -1);
  assert.equal(history.now, "b");
  assert.equal(stepped(history, 1).now, "c");
  history = done(stepped(history, -1), "d");
  assert.deepEqual(history, { past: ["a"], now: "d", future: [] });
  assert.equal(stepped(history, 1), history);
});

const QUESTIONS = [
  ["relation", "what is below the dog", "nothing"],
  ["relation", "what is left of the car", "dog"],
  ["count", "how many red stars", "2"],
  ["exists", "is there a zebra", "no"],
  ["list", "name the objects", "dog, apple"],
];

test("what is offered fits the model, the telling ones first", () => {
  assert.deepEqual(offer(QUESTIONS, null).map(([type]) => type), ["relation", "count", "exists", "list", "relation"]); // prettier-ignore
  assert.equal(offer(QUESTIONS, null)[0][2], "dog");
  assert.deepEqual(offer(QUESTIONS, new Set("how many red stars name the objects".split(" "))), [QUESTIONS[2]]);
  assert.deepEqual(["what is it", "name it"].map(asked), ["what is it?", "name it"]);
});

test("an answer is held against the truth, and a question of one's own finds it", () => {
  const truth = (text) => /** @type {string[]} */ (truthOf(QUESTIONS, text));
  assert.equal(truth("  What is left of the  car? ")[2], "dog");
  assert.equal(truth("what is left of the bus?"), null);
  const of = (answer, at) => verdict(answer, QUESTIONS[at]);
  assert.deepEqual(["dog", "A dog.", "The animal is a dog.", "hotdog", "cat", ""].map((a) => of(a, 1)), ["right", "right", "holds", "wrong", "wrong", "wrong"]); // prettier-ignore
  assert.deepEqual(
    ["2", "two", "12", "There are 2 stars."].map((a) => of(a, 2)),
    ["right", "right", "wrong", "holds"],
  );
  assert.deepEqual(["no", "No, there is none.", "yes", "I know"].map((a) => of(a, 3)), ["right", "right", "wrong", "wrong"]); // prettier-ignore
  assert.deepEqual(
    ["apple, dog", "A dog and an apple.", "dog"].map((a) => of(a, 4)),
    ["right", "right", "wrong"],
  );
});
