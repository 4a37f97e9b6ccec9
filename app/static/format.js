// Numbers as people read them: three significant digits, a unit on every one, ratios beside pairs. Pure functions.

const MISSING = "–";
const THIN = "\u202f"; // narrow no-break space between a number and its unit

export function isNumber(x) {
  return typeof x === "number" && Number.isFinite(x);
}

/** 3 significant digits without exponent for the sizes met here: 0.00123, 12.3, 1230. */
export function sig3(x) {
  if (!isNumber(x)) return MISSING;
  if (x === 0) return "0";
  const magnitude = Math.floor(Math.log10(Math.abs(x)));
  if (magnitude < -4 || magnitude > 6) return x.toExponential(2).replace("e+", "e").replace("-", "−");
  return x.toFixed(Math.min(6, Math.max(0, 2 - magnitude))).replace("-", "−");
}

export function percent(share) {
  if (!isNumber(share)) return MISSING;
  return `${sig3(share * 100)}${THIN}%`;
}

export function milliseconds(ms) {
  if (!isNumber(ms)) return MISSING;
  return ms >= 10000 ? `${sig3(ms / 1000)}${THIN}s` : `${sig3(ms)}${THIN}ms`;
}

function scaled(x, base, units) {
  if (!isNumber(x)) return MISSING;
  let at = 0;
  while (Math.abs(x) >= base && at < units.length - 1) {
    x /= base;
    at++;
  }
  return `${sig3(x)}${THIN}${units[at]}`;
}

export function bytes(x) {
  return scaled(x, 1024, ["B", "KiB", "MiB", "GiB"]);
}

/** Decimal, as memory and files are sold: 14.8 GB. */
export function gigabytes(x) {
  return isNumber(x) ? scaled(x * 1e9, 1000, ["B", "kB", "MB", "GB"]) : MISSING;
}

export function flops(x) {
  return scaled(x, 1000, ["FLOPs", "kFLOPs", "MFLOPs", "GFLOPs", "TFLOPs"]);
}

/** "4.2 × faster": how `ours` compares with `full` where less is better. */
export function ratio(full, ours, less = "less", more = "more") {
  if (!isNumber(full) || !isNumber(ours) || full <= 0 || ours <= 0) return "";
  const times = full / ours;
  if (Math.abs(times - 1) < 0.015) return "same";
  const shown = times >= 1 ? times : 1 / times;
  return `${shown >= 100 ? shown.toFixed(0) : shown >= 10 ? shown.toFixed(1) : shown.toFixed(2)}${THIN}× ${times >= 1 ? less : more}`;
}

/** "5.8–6.6": the ends of what was measured, in milliseconds as `milliseconds` writes the median. */
export function spread([low, high], median) {
  const unit = median >= 10000 ? 1000 : 1;
  return `${sig3(low / unit)}–${sig3(high / unit)}`;
}

const TELLING = 1.3; // a single run has no spread: only a difference above this is told of it

/** How one measured time compares with another: a ratio, or that no difference was measured, which is so where the
 *  ranges of their repeats overlap. `full` and `ours` are costs, `key` the time that is compared. */
export function comparedTimes(full, ours, key, less = "faster", more = "slower") {
  const text = ratio(full?.[key], ours?.[key], less, more);
  if (!text) return "";
  const [a, b] = [full.spread?.[key], ours.spread?.[key]];
  if (!a || !b) {
    const times = full[key] / ours[key];
    return Math.max(times, 1 / times) < TELLING ? "measured once" : `${text}, once`;
  }
  return a[0] <= b[1] && b[0] <= a[1] ? "no difference measured" : text;
}

/** What a list names, without articles, sorted: "a dog, and a cat" and "cat, dog" are one text. */
export function things(text) {
  const parts = text
    .trim()
    .replace(/\.$/, "")
    .split(/, (?:and )?| and /);
  return parts
    .map((part) => part.replace(/^(a|an|the) /, ""))
    .sort()
    .join(",");
}

/** Whether two answers with commas list the same things in another order. */
export function reordered(a, b) {
  return a.includes(",") && a.trim() !== b.trim() && things(a) === things(b);
}

/** Where two answers first differ, word by word: the character ranges in each, or null where one is a prefix of a running other. */
export function firstDifference(a, b) {
  const words = (text) => [...text.matchAll(/\S+/g)].map((m) => [m[0], m.index, m.index + m[0].length]);
  const left = words(a);
  const right = words(b);
  for (let i = 0; i < Math.max(left.length, right.length); i++) {
    if (left[i]?.[0] === right[i]?.[0]) continue;
    return { left: left[i] ? left[i].slice(1) : null, right: right[i] ? right[i].slice(1) : null };
  }
  return null;
}
