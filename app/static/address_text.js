// Parts of an address as text: regions, lists of methods, parameters and tokens. Pure functions.

import { MOST } from "./comparing.js";

const WHOLE = /^\d{1,7}$/;
export const SIDES = ["x0", "y0", "x1", "y1"];

export function share3(value) {
  return String(Math.round(1000 * value) / 1000);
}

export function readRegion(text) {
  const values = text.split(",").map((part) => (/^\d(\.\d{1,3})?$/.test(part) ? Number(part) : NaN));
  const [x0, y0, x1, y1] = values;
  return values.length === 4 && x0 < x1 && y0 < y1 && x1 <= 1 && y1 <= 1 && { region: { x0, y0, x1, y1 } };
}

export function pairs(record, shown) {
  return Object.entries(record)
    .map(([name, value]) => `${name}:${shown(value)}`)
    .join(",");
}

export function readDepth(text, { config }) {
  const layerAt = {};
  for (const part of text.split(",")) {
    const [name, layer] = part.split(":");
    if (!WHOLE.test(layer ?? "") || Number(layer) < 1 || !config.compare.some((m) => m.name === name)) return null;
    layerAt[name] = Number(layer) - 1;
  }
  return { layerAt };
}

/** The methods that there are; of the others it is said. @param {string} text @param {any} context */
export function readChosen(text, { config, partly }) {
  const names = [...new Set(text.slice(0, 400).split(","))];
  const chosen = names.filter((name) => config.compare.some((m) => m.name === name)).slice(0, MOST);
  if (chosen.length < 2) return null;
  for (const name of names) if (!chosen.includes(name)) partly(name);
  return { chosen };
}

// -- parameters: method.parameter:value

function parametersOf(config, method) {
  return [...config.methods, ...config.compare].find((m) => m.name === method)?.parameters ?? [];
}

/** Of every tuned method the parameters that are not as by default. */
export function tunedOf(edited, config) {
  return Object.entries(edited).flatMap(([method, values]) =>
    parametersOf(config, method)
      .filter((p) => Object.hasOwn(values, p.name) && values[p.name] !== p.default)
      .map((p) => `${method}.${p.name}:${values[p.name] ?? "none"}`),
  );
}

/**
 * Full parameters of every method that is named; of what is none of them it is said.
 * @param {string} text @param {{ config: any, partly?: (text: string) => void }} context
 */
export function readParameters(text, { config, partly }) {
  const edited = {};
  const parts = text.slice(0, 2000).split(",");
  const bad = parts.filter((part) => {
    const [, method, name, written] = /^([\w-]+)\.(\w+):([\w.+-]+)$/.exec(part) ?? [];
    const parameter = parametersOf(config, method).find((p) => p.name === name);
    const value = parameter ? valueOf(parameter, written) : undefined;
    if (value === undefined) return true;
    const defaults = Object.fromEntries(parametersOf(config, method).map((p) => [p.name, p.default]));
    edited[method] = { ...defaults, ...edited[method], [name]: value };
    return false;
  });
  if (bad.length === parts.length) return null;
  bad.forEach(partly);
  return { edited };
}

/** The value of a parameter as it is written, undefined where it is none; Python checks it again. */
function valueOf(p, text) {
  if (p.choices) return p.choices.find((choice) => String(choice ?? "none") === text);
  if (text === "none") return p.optional ? null : undefined;
  const value = /^-?\d{1,12}(\.\d{1,12})?(e[+-]?\d{1,2})?$/.test(text) ? Number(text) : NaN;
  const fits = (p.above ? value > p.low : value >= p.low) && value <= (p.high ?? Infinity);
  return fits && (!p.whole || Number.isInteger(value)) ? value : undefined;
}

// -- lists of tokens: 3,5-9

/** Ascending token numbers as a short text: neighbours as a range. */
export function written(tokens) {
  const sorted = [...tokens].sort((a, b) => a - b);
  const runs = [];
  for (const token of sorted) {
    const last = runs.at(-1);
    if (last && token === last[1] + 1) last[1] = token;
    else runs.push([token, token]);
  }
  return runs.map(([from, to]) => (from === to ? from : `${from}-${to}`)).join(",");
}

/** The token numbers of such a text, all below n, each once; null where it is none. */
export function readTokens(text, n) {
  const found = new Set();
  for (const part of text.slice(0, 4000).split(",")) {
    const [, from, to = from] = /^(\d{1,6})(?:-(\d{1,6}))?$/.exec(part) ?? [];
    if (from === undefined || Number(from) > Number(to) || Number(to) >= n) return null;
    for (let i = Number(from); i <= Number(to); i++) found.add(i);
  }
  return [...found].sort((a, b) => a - b);
}
