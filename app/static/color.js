// Viridis, and nothing else: heat layers use one perceptually uniform map with its scale shown.

import { HEAT, LOG_SPAN } from "./look.js";

const STOPS = HEAT.map((color) => [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16)));

/** Colour of a value in [0, 1], as "rgb(r g b)". */
export function viridis(t) {
  const x = Math.min(1, Math.max(0, t)) * (STOPS.length - 1);
  const low = Math.min(STOPS.length - 2, Math.floor(x));
  const mix = (c) => Math.round(STOPS[low][c] + (x - low) * (STOPS[low + 1][c] - STOPS[low][c]));
  return `rgb(${mix(0)} ${mix(1)} ${mix(2)})`;
}

export const VIRIDIS_GRADIENT = `linear-gradient(90deg, ${STOPS.map((c) => `rgb(${c.join(" ")})`).join(", ")})`;

const TABLE = Array.from({ length: 256 }, (_, i) => viridis(i / 255));

/**
 * From min to max, "linear" or "log". below: whether some values are less than min, which only "log" has: they, and 0,
 * have the lowest colour.
 * @typedef {{ kind: string, min: number, max: number, below: boolean }} Scale
 */

/** The scale of some values; "log" becomes linear where none is above 0. @returns {Scale} */
export function scaleOf(values, kind = "linear") {
  let [min, max, least] = [Infinity, -Infinity, Infinity];
  for (const v of values) {
    if (v < min) min = v;
    if (v > max) max = v;
    if (v > 0 && v < least) least = v;
  }
  if (kind !== "log" || max <= 0) return { kind: "linear", min, max, below: false };
  const low = Math.max(least, max / LOG_SPAN);
  return { kind: "log", min: low, max, below: min < low };
}

/** Where a value lies on a scale, 0 to 1; 0 on a scale without length. */
export function placeOn({ kind = "linear", min, max }, v) {
  if (!(max > min)) return 0;
  return kind === "log" ? Math.log(Math.max(v, min) / min) / Math.log(max / min) : (v - min) / (max - min);
}

/** One colour per value on a scale. */
export function heatColors(values, scale) {
  return Array.from(values, (v) => TABLE[Math.min(255, Math.max(0, Math.round(255 * placeOn(scale, v))))]);
}
