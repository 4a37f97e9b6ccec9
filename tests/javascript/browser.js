// A document for modules that need one, and frames that a test draws when it wants to.

import { JSDOM } from "jsdom";

const { window } = new JSDOM("<!doctype html><body></body>", { url: "http://127.0.0.1/" });
const waiting = [];

Object.assign(globalThis, {
  window,
  document: window.document,
  Node: window.Node,
  ResizeObserver: class {
    observe() {}
  },
  requestAnimationFrame: (draw) => waiting.push(draw),
});

/** Draw what has changed since the last frame. */
export function nextFrame() {
  for (const draw of waiting.splice(0)) draw(performance.now());
}

/** A trace of four tokens in a row with one planned method; budgets keep the tokens of lowest rank. */
export function aTrace(rank = [0, 1, 2, 3]) {
  const n = rank.length;
  return {
    model: { id: "tiny", title: "Tiny" },
    question: "what?",
    frames: [{ width: n, height: 1, rows: 1, cols: n, seen: [0, 0, n, 1] }],
    tokens: {
      n,
      frame: null,
      row: rank.map(() => 0),
      col: rank.map((_, i) => i),
      rect: rank.map((_, i) => [i, 0, i + 1, 1]),
    },
    scores: {},
    methods: { fsr: { label: "FSR", parameters: {}, plan: { kind: "rank", rank }, facts: {} } },
    answers: {},
    recorded: null,
    unknown_words: [],
    share: "global",
    focus: null,
    clip: null,
  };
}

export const CONFIG = {
  method: "fsr",
  methods: [
    { name: "fsr", label: "FSR", exact_count: true, stage: "before" },
    { name: "grid", label: "Grid", exact_count: true, stage: "before" },
  ],
  compare: [
    { name: "fsr", label: "FSR", exact_count: true, stage: "before" },
    { name: "grid", label: "Grid", exact_count: true, stage: "before" },
  ],
  compareFirst: ["fsr", "grid"],
  models: [{ id: "tiny", title: "Tiny" }],
  examples: [
    { id: "star", question: "what?" },
    { id: "digit", question: "what digit?" },
  ],
  recordings: ["", "large"],
  recording: "",
  maxQuestion: 500,
  compose: {
    kinds: {
      shape: ["circle", "square", "star", "ring", "hexagon"],
      animal: ["dog", "cat"],
      fruit: ["apple"],
      vehicle: ["car"],
    },
    colors: { red: "#de2428", green: "#28a03a", blue: "#244ade", white: "#fafafa" },
    writable: ["circle", "square", "hexagon"],
    grounds: ["plain", "stripes", "confetti"],
    bounds: { side: 336, smallest: 16, largest: 336, most: 24, longest: 1200 },
  },
};
