// Which tokens are alike, from a few numbers a token (fsr/trace/sketch.py). Pure but for memory of the last traces.

import { ROLE } from "../plan.js";

const decoded = new WeakMap(); // trace.tokens -> unit rows

/** (n * dims) Float32Array of unit rows, or null where the trace has no sketch. */
function rowsOf(tokens) {
  const { sketch, n } = tokens;
  if (!sketch) return null;
  if (!decoded.has(tokens)) {
    const bytes = atob(sketch.values);
    const rows = new Float32Array(n * sketch.dims);
    for (let i = 0; i < n; i++) {
      let length = 0;
      for (let d = 0; d < sketch.dims; d++) {
        const at = i * sketch.dims + d;
        const value = ((bytes.charCodeAt(2 * at) | (bytes.charCodeAt(2 * at + 1) << 8)) << 16) >> 16;
        rows[at] = value;
        length += value * value;
      }
      if (length > 0) for (let d = 0; d < sketch.dims; d++) rows[i * sketch.dims + d] /= Math.sqrt(length);
    }
    decoded.set(tokens, rows);
  }
  return decoded.get(tokens);
}

/**
 * The token most like this one among those that `wanted` accepts, itself left out; null where there is none, or where
 * nobody knows. error: how far off the cosine may be.
 * @param {any} trace @param {number} token @param {(other: number) => boolean} wanted
 * @returns {{ token: number, cosine: number, error: number } | null}
 */
export function nearest(trace, token, wanted) {
  const rows = rowsOf(trace.tokens);
  if (!rows || token < 0) return null;
  const { n, sketch } = trace.tokens;
  const { dims } = sketch;
  let best = -1;
  let closest = -Infinity;
  for (let i = 0; i < n; i++) {
    if (i === token || !wanted(i)) continue;
    let cosine = 0;
    for (let d = 0; d < dims; d++) cosine += rows[token * dims + d] * rows[i * dims + d];
    if (cosine > closest) [best, closest] = [i, cosine];
  }
  return best < 0 ? null : { token: best, cosine: closest, error: sketch.error };
}

/** The kept token most like a dropped one; null for tokens that are kept, or where nobody knows. */
export function nearestKept(trace, view, token) {
  if (!view || token < 0 || view.roles[token] >= ROLE.KEPT) return null;
  return nearest(trace, token, (other) => view.roles[other] >= ROLE.KEPT);
}
