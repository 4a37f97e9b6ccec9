// The rows of an address that the compare view has, see address.js. Pure functions.

import { pairs, readChosen, readDepth } from "./address_text.js";
import { LETTERS, MOST } from "./comparing.js";

/** @type {import("./address.js").Row[]} */
export const COMPARED = [
  {
    name: "methods",
    keys: ["chosen", "mode"],
    write: ({ state }) => (state.mode === "compare" ? state.chosen.join(",") : ""),
    read: readChosen,
    allowed: ({ config }) => `2 to ${MOST} of ${config.compare.map((m) => m.name).join(",")}`,
  },
  {
    name: "arrange",
    keys: ["arrange"],
    write: ({ state }) => (state.arrange === "methods" ? "" : state.arrange),
    read: (text) => text === "budgets" && { arrange: text },
    none: () => ({ arrange: "methods" }),
    allowed: () => "budgets",
  },
  {
    name: "row",
    keys: ["rowMethod", "arrange"],
    write: ({ state }) => (state.arrange === "budgets" ? state.rowMethod : ""),
    read: (text, { config }) => config.compare.some((m) => m.name === text) && { rowMethod: text },
    allowed: ({ config }) => `one of ${config.compare.map((m) => m.name).join(", ")}`,
  },
  {
    name: "pair",
    keys: ["pair"],
    write: ({ state }) => (String(state.pair) === "0,1" ? "" : state.pair.map((i) => LETTERS[i]).join("")),
    read: (text) => {
      const pair = [...text].map((letter) => LETTERS.indexOf(letter));
      return pair.length === 2 && pair[0] !== pair[1] && pair.every((i) => i >= 0) && { pair };
    },
    none: () => ({ pair: [0, 1] }),
    allowed: () => `two letters of ${LETTERS.join("")}`,
  },
  {
    name: "depth",
    keys: ["layerAt"],
    write: ({ state }) => pairs(state.layerAt, (layer) => layer + 1),
    read: readDepth,
    none: () => ({ layerAt: {} }),
    allowed: () => "method:layer, with commas",
  },
];
