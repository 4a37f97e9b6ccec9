// Time of a clip's sampled frames: when each is shown, how long, and how to say it. Pure functions.

export const SPEEDS = [0.5, 1, 2, 4];

/** Milliseconds that frame `at` stays on screen: until the next frame's time; the last one as long as the mean. */
export function shownFor(frames, at, speed) {
  const times = frames.map((f, i) => f.time ?? i / 2);
  const mean = times.length > 1 ? (times.at(-1) - times[0]) / (times.length - 1) : 1;
  const gap = at + 1 < times.length ? times[at + 1] - times[at] : mean;
  return Math.max(40, (1000 * (gap > 0 ? gap : mean || 1)) / speed);
}

/** The frame after `at`, by `by` frames, held at both ends. */
export function stepFrame(n, at, by) {
  return Math.min(n - 1, Math.max(0, at + by));
}

/** Which of n equal columns of a chart lies under x. */
export function frameAt(x, width, n) {
  return Math.min(n - 1, Math.max(0, Math.floor((x / width) * n)));
}

/** 4.2 s, 1:04.2: seconds with as many digits as the clip needs. */
export function clock(seconds, long = false) {
  if (!Number.isFinite(seconds)) return "";
  const digits = long ? 1 : 2;
  if (seconds < 60) return `${seconds.toFixed(digits)}\u202fs`;
  const tenths = Math.round(10 * seconds); // rounded before it is split: 119.96 s is 2:00.0
  const rest = ((tenths % 600) / 10).toFixed(1).padStart(4, "0");
  return `${Math.floor(tenths / 600)}:${rest}`;
}

/** Frame i by its time or, where that is not known, its number. */
export function nameOf(frames, i, long = false) {
  return clock(frames[i].time, long) || String(i + 1);
}

/** Every how many frames a label fits, where a label takes `room` and a column `pitch` pixels. */
export function labelEvery(n, pitch, room) {
  for (const every of [1, 2, 4, 5, 8, 10, 16, 20, 32]) if (every * pitch >= room) return every;
  return n;
}

/** A round number at or above the highest count, for the top of an axis. */
export function roundUp(most) {
  for (let unit = 1; ; unit *= 10)
    for (const step of [1, 2, 3, 4, 5, 6, 8]) if (step * unit >= most) return step * unit;
}
