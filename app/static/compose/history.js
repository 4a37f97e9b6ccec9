// Undo and redo of texts. Pure: every step makes a new history.

const MOST = 100;

/** @typedef {{ past: string[], now: string, future: string[] }} History */

/** @param {string} now @returns {History} */
export function begun(now) {
  return { past: [], now, future: [] };
}

/** @param {History} history @returns {History} */
export function done(history, now) {
  if (now === history.now) return history;
  return { past: [...history.past, history.now].slice(-MOST), now, future: [] };
}

/** One step back (-1) or forward (1); the same history where there is none. @param {History} history @returns {History} */
export function stepped(history, way) {
  const { past, now, future } = history;
  if (way < 0)
    return past.length ? { past: past.slice(0, -1), now: past.at(-1) ?? now, future: [now, ...future] } : history;
  return future.length ? { past: [...past, now], now: future[0], future: future.slice(1) } : history;
}
