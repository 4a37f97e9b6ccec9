// The address of a view: one row a key, how it is written and how it is read. Pure functions: no DOM, no history.
//
// A row writes its part of the state as text, nothing where it is as by default, and makes of a text the part of the
// state that it stands for, nothing where the text is none of what is `allowed`. An address is hostile until it is read.

import { readScene } from "./compose/scene.js";
import { COMPARED } from "./address_compare.js";
import { SCORES } from "./describe.js";
import { SHARES, waysOf } from "./share.js";
import { LAYERS } from "./store.js";
import { isList } from "./listed.js";
import { SIDES, readParameters, readRegion, readTokens, share3, tunedOf, written } from "./address_text.js";
import { TABS } from "./tabs.js";
import { LAYERS as MEASURED } from "./why/layer.js";
import { viewsOf } from "./views.js";

/**
 * What a row may look at. config: constants of the app. state: the store's. question: what stands in the box.
 * picture: the id of a visitor's own picture, known to this browser's history alone.
 * @typedef {{ config: any, state: any, question?: string, picture?: string, partly?: (text: string) => void }} Context
 *
 * name: of the key. keys: of the store, where it is. allowed: in words. trace: it can be read beside a trace only.
 * sticky: Back leaves it as it is. none: the part of the state that no text stands for; nothing where there is none.
 * @typedef {object} Row
 * @property {string} name
 * @property {string[]} keys
 * @property {(context: Context) => string} write
 * @property {(text: string, context: Context) => object | null} read
 * @property {(context: Context) => string} allowed
 * @property {(context: Context) => object | null} [none]
 * @property {boolean} [trace]
 * @property {boolean} [sticky]
 */

export const OWN = "own"; // of `picture`: a visitor's, which no link holds
const MOST_STEPS = 2000; // of a playback; one that is too high is its last
const MOST_NAME = 200; // characters of a sweep's
const DIGITS = /^\d{1,7}$/;

/** @type {Row[]} */
export const ROWS = [
  // which picture, question and model: the server is asked for these
  {
    name: "example",
    keys: ["about"],
    write: ({ state }) => state.example ?? "",
    read: (text, { config }) => config.examples.some((e) => e.id === text) && {},
    allowed: ({ config }) => `one of ${config.examples.map((e) => e.id).join(", ")}`,
  },
  {
    name: "recording",
    keys: ["about", "recording"],
    write: ({ state }) => (state.example && state.recording) || "",
    read: (text, { config }) => config.recordings.includes(text) && {},
    allowed: ({ config }) => (config.recordings.length ? `one of ${config.recordings.join(", ")}` : "there is none"),
  },
  {
    name: "sweep",
    keys: ["about", "source"],
    write: ({ state }) => state.source?.sweep ?? "",
    read: (text) => text.length <= MOST_NAME && {},
    allowed: () => "the name of one of the data sets",
  },
  {
    name: "item",
    keys: ["about", "source"],
    write: ({ state }) => (state.source ? String(state.source.item) : ""),
    read: (text) => DIGITS.test(text) && {},
    allowed: () => "the number of a question",
  },
  {
    name: "list",
    keys: ["list", "source"],
    write: ({ state }) => (state.source ? state.list : ""),
    read: (text) => isList(text) && { list: text },
    none: () => ({ list: "" }),
    allowed: () => "what the address of the page Data sets holds behind its question mark",
  },
  {
    name: "picture",
    keys: ["about"],
    write: ({ state }) => (state.pictures.length && !state.example && !state.source && !state.drawn ? OWN : ""),
    read: (text) => text === OWN && {},
    allowed: () => OWN,
  },
  {
    name: "scene",
    keys: ["about", "drawn"],
    write: ({ state }) => state.drawn ?? "",
    read: (text, { config }) => readScene(text, config.compose) && {},
    allowed: () => "a scene as this page writes it",
  },
  {
    name: "question",
    keys: ["about", "question"],
    write: ({ state, config, question }) =>
      question && question !== (state.source ?? exampleOf(config, state))?.question ? question : "",
    read: (text, { config }) => text.trim() && text.length <= config.maxQuestion && {},
    allowed: ({ config }) => `1 to ${config.maxQuestion} characters`,
  },
  {
    name: "model",
    keys: ["model"],
    write: ({ state, config }) => (state.model && state.model.id !== config.models[0]?.id ? state.model.id : ""),
    read: (text, { config }) => config.models.some((m) => m.id === text) && {},
    allowed: ({ config }) => `one of ${config.models.map((m) => m.id).join(", ")}`,
  },
  // what is looked at
  {
    name: "view",
    keys: ["mode"],
    write: ({ state }) => (state.mode === "compare" ? "compare" : ""),
    read: (text) => text === "compare" && { mode: "compare" },
    none: () => ({ mode: "one" }),
    allowed: () => "compare",
  },
  {
    name: "tab",
    keys: ["tab"],
    write: ({ state }) => (state.tab === TABS[0] ? "" : state.tab),
    read: (text) => TABS.includes(text) && { tab: text },
    none: () => ({ tab: TABS[0] }),
    allowed: () => `one of ${TABS.join(", ")}`,
  },
  {
    name: "method",
    keys: ["method"],
    write: ({ state }) => state.method,
    read: (text, { config }) => config.methods.some((m) => m.name === text) && { method: text },
    none: ({ config }) => ({ method: config.method }),
    allowed: ({ config }) => `one of ${config.methods.map((m) => m.name).join(", ")}`,
  },
  {
    name: "tune",
    keys: ["edited"],
    write: ({ state, config }) => tunedOf(state.edited, config).join(","),
    read: readParameters,
    none: () => ({ edited: {} }),
    allowed: () => "method.parameter:value, with commas; Tune shows names and ranges",
  },
  {
    name: "budget",
    keys: ["budget"],
    trace: true,
    write: ({ state }) => (state.trace ? String(state.budget) : ""),
    read: (text, { state }) => wholeIn(text, 1, state.trace.tokens.n, (budget) => ({ budget })),
    none: ({ state }) => ({ budget: Math.max(1, Math.round(state.trace.tokens.n / 9)) }),
    allowed: ({ state }) => `a whole number from 1 to ${state.trace.tokens.n}`,
  },
  {
    name: "share",
    keys: ["share"],
    trace: true,
    write: ({ state }) => (state.share === SHARES[0] ? "" : state.share),
    read: (text, { state }) => SHARES.includes(text) && Boolean(waysOf(state.trace)) && { share: text },
    none: () => ({ share: SHARES[0] }),
    allowed: ({ state }) => (waysOf(state.trace) ? `one of ${SHARES.join(", ")}` : "there is one grid only"),
  },
  {
    name: "layer",
    keys: ["layer"],
    trace: true,
    write: ({ state }) => (state.layer === "roles" ? "" : state.layer),
    read: (text, { state }) => layersOf(state.trace).includes(text) && { layer: text },
    none: () => ({ layer: "roles" }),
    allowed: ({ state }) => `one of ${layersOf(state.trace).join(", ")}`,
  },
  {
    name: "hidden",
    keys: ["layers"],
    write: ({ state }) => LAYERS.filter((name) => !state.layers.has(name)).join(","),
    read: (text) => listOf(text, LAYERS, (hidden) => ({ layers: new Set(LAYERS.filter((l) => !hidden.includes(l))) })),
    none: () => ({ layers: new Set(LAYERS) }),
    allowed: () => `some of ${LAYERS.join(",")}`,
  },
  {
    name: "lines",
    keys: ["layers"],
    write: ({ state }) => (state.layers.has("ties") ? "1" : ""),
    read: (text) => text === "1" && { ties: true },
    allowed: () => "1",
  },
  {
    name: "frame",
    keys: ["frame"],
    trace: true,
    write: ({ state }) => (state.trace?.clip && state.frame > 0 ? String(state.frame + 1) : ""),
    read: (text, { state }) => wholeIn(text, 1, framesOf(state), (frame) => ({ frame: frame - 1, tile: -1 })),
    none: ({ state }) => firstView(state.trace),
    allowed: ({ state }) => (framesOf(state) ? `a whole number from 1 to ${framesOf(state)}` : "this is no clip"),
  },
  {
    name: "part",
    keys: ["frame", "tile"],
    trace: true,
    write: ({ state }) => partOf(state),
    read: (text, { state }) =>
      wholeIn(text, 1, partsOf(state).length, (at) => {
        const { frame, tile } = partsOf(state)[at - 1];
        return { frame, tile };
      }),
    allowed: ({ state }) =>
      partsOf(state).length ? `a whole number from 1 to ${partsOf(state).length}` : "there is one view only",
  },
  {
    name: "region",
    keys: ["region"],
    trace: true,
    write: ({ state }) => (state.region ? SIDES.map((side) => share3(state.region[side])).join(",") : ""),
    read: (text, { state }) => Boolean(state.trace.clip) && readRegion(text),
    none: () => ({ region: null }),
    allowed: ({ state }) => (state.trace.clip ? "x0,y0,x1,y1 in shares of the picture, 0 to 1" : "this is no clip"),
  },
  {
    name: "token",
    keys: ["pinned"],
    trace: true,
    write: ({ state }) => (state.pinned >= 0 ? String(state.pinned) : ""),
    read: (text, { state }) =>
      wholeIn(text, 0, state.trace.tokens.n - 1, (token) => ({ pinned: token, cursor: token })),
    none: () => ({ pinned: -1, cursor: -1 }),
    allowed: ({ state }) => `a whole number from 0 to ${state.trace.tokens.n - 1}`,
  },
  ...["in", "out"].map((way) => forcedRow(way)),
  {
    name: "step",
    keys: ["playback"],
    trace: true,
    write: ({ state }) => (state.playback === null ? "" : String(state.playback + 1)),
    read: (text) => wholeIn(text, 1, MOST_STEPS, (step) => ({ playback: step - 1 })),
    none: () => ({ playback: null }),
    allowed: () => `a whole number from 1 to ${MOST_STEPS}`,
  },
  ...COMPARED,
  // the looks
  {
    name: "theme",
    keys: ["theme"],
    sticky: true,
    write: ({ state }) => state.theme,
    read: (text) => ["dark", "light"].includes(text) && { theme: text },
    allowed: () => "one of dark, light",
  },
  {
    name: "projector",
    keys: ["projector"],
    sticky: true,
    write: ({ state }) => (state.projector ? "1" : ""),
    read: (text) => text === "1" && { projector: true },
    allowed: () => "1",
  },
];

const NAMES = new Set(ROWS.map((row) => row.name));
export const KEYS = [...new Set(ROWS.flatMap((row) => row.keys))];

/** The query of a view, "" or with its question mark. `before`: the query so far, whose other keys stay. */
export function queryOf(context, before = "") {
  const others = [...new URLSearchParams(before)].filter(([name]) => !NAMES.has(name));
  const ours = ROWS.map((row) => [row.name, row.write(context)]).filter(([, text]) => text);
  const parts = [...ours, ...others].map(([name, text]) => `${encoded(name)}=${encoded(text)}`);
  return parts.length ? `?${parts.join("&")}` : "";
}

/** What goes to others: without what a host added for this visitor alone, as __sign of a private Space. */
export function shareable(query) {
  const ours = [...new URLSearchParams(query)].filter(([name]) => !name.startsWith("__"));
  return ours.length ? `?${ours.map(([name, text]) => `${encoded(name)}=${encoded(text)}`).join("&")}` : "";
}

/** Text for a query: commas and colons stay legible, a space is a plus. */
function encoded(text) {
  return encodeURIComponent(text).replace(/%2C/g, ",").replace(/%3A/g, ":").replace(/%20/g, "+");
}

/**
 * What a query stands for. which: the rows to read. whole: rows without a text stand for what is so by default.
 * @param {string} query @param {Context} context @param {Row[]} which
 * @returns {{ patch: any, ignored: string[] }}
 */
export function readQuery(query, context, which = ROWS, whole = false) {
  const given = new URLSearchParams(query);
  const [patch, ignored] = [/** @type {any} */ ({}), []];
  for (const row of which) {
    const text = given.get(row.name);
    const partly = (part) => ignored.push(`${row.name}=${short(part)} (${row.allowed(context)})`);
    const read = text === null ? null : row.read(text, { ...context, partly });
    if (text !== null && !read) partly(text);
    const found = read || (whole && !row.sticky && row.none?.(context)) || null;
    if (found) merge(patch, found);
  }
  if (patch.ties) patch.layers = new Set([...(patch.layers ?? LAYERS), "ties"]);
  delete patch.ties;
  return { patch, ignored };
}

/** Both rows of forced tokens are one part of the state. */
function merge(patch, /** @type {any} */ { forced, ...rest }) {
  Object.assign(patch, rest);
  if (forced) patch.forced = { in: [], out: [], ...patch.forced, ...forced };
}

const MOST_SHOWN = 40;

function short(text) {
  return text.length > MOST_SHOWN ? `${text.slice(0, MOST_SHOWN)}…` : text;
}

// -- pieces

export function exampleOf(config, { example }) {
  return config.examples.find((e) => e.id === example);
}

function wholeIn(text, low, high, made) {
  const number = DIGITS.test(text) ? Number(text) : NaN;
  return number >= low && number <= high ? made(number) : null;
}

function listOf(text, known, made) {
  const names = text.split(",");
  return names.every((name) => known.includes(name)) ? made(names) : null;
}

function layersOf(trace) {
  return ["roles", ...Object.keys(SCORES).filter((name) => trace.scores?.[name]), ...Object.keys(MEASURED)];
}

function framesOf({ trace }) {
  return trace.clip ? trace.frames.length : 0;
}

/** The views of a picture with several. */
function partsOf({ trace }) {
  const views = trace && !trace.clip ? viewsOf(trace) : [];
  return views.length > 1 ? views : [];
}

/** The one that a picture opens with: its tiles all together, which show more than the base picture. */
export function firstView(trace) {
  return {
    frame: trace.clip
      ? 0
      : Math.max(
          0,
          trace.frames.findIndex((f) => f.part === "tiles"),
        ),
    tile: -1,
  };
}

/** Which of them is on screen, from 1, where it is not the one that a picture opens with. */
function partOf(state) {
  const views = partsOf(state);
  const at = views.findIndex((v) => v.frame === state.frame && v.tile === state.tile);
  const first = views.length ? firstView(state.trace) : null;
  return first && !(state.frame === first.frame && state.tile === first.tile) ? String(at + 1) : "";
}

/** Tokens that are forced in or out, whatever the method says. @returns {Row} */
function forcedRow(way) {
  return {
    name: way,
    keys: ["forced"],
    trace: true,
    write: ({ state }) => written(state.forced?.[way] ?? []),
    read: (text, { state }) => {
      const tokens = readTokens(text, state.trace.tokens.n);
      return tokens && { forced: { [way]: tokens } };
    },
    none: ({ state }) => (state.forced ? { forced: { [way]: [] } } : {}),
    allowed: ({ state }) => `token numbers from 0 to ${state.trace.tokens.n - 1} with commas, as 3,5-9`,
  };
}
