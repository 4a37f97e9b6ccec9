// A diverging scale around 0 for what was measured by leaving out: green speaks for the answer, purple against it, white
// is nothing. Told apart by people who do not see red and green alike; signs and numbers say the same.

const FOR = [
  [247, 247, 247],
  [166, 219, 160],
  [90, 174, 97],
  [0, 90, 50],
];
const AGAINST = [
  [247, 247, 247],
  [194, 165, 207],
  [153, 112, 171],
  [84, 20, 105],
];

/** Colour of a value in [-1, 1], as "rgb(r g b)". @param {number} t */
export function diverging(t) {
  const stops = t < 0 ? AGAINST : FOR;
  const x = Math.min(1, Math.abs(t)) * (stops.length - 1);
  const low = Math.min(stops.length - 2, Math.floor(x));
  const mix = (c) => Math.round(stops[low][c] + (x - low) * (stops[low + 1][c] - stops[low][c]));
  return `rgb(${mix(0)} ${mix(1)} ${mix(2)})`;
}

/** One colour a value, none where it is not a number. @param {ArrayLike<number>} values @param {number} reach */
export function divergingColors(values, reach) {
  return Array.from(values, (v) => (Number.isNaN(v) ? "" : diverging(v / reach)));
}

const stop = (t) => `${diverging(t)} ${(50 + 50 * t).toFixed(0)}%`;
export const DIVERGING_GRADIENT = `linear-gradient(90deg, ${[-1, -2 / 3, -1 / 3, 0, 1 / 3, 2 / 3, 1].map(stop).join(", ")})`;
