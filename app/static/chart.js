// A line chart of a few series over budgets, as SVG: markers carry their letters, so colour is never alone.

import { SERIES } from "./look.js";

const SVG = "http://www.w3.org/2000/svg";
export const INK = ["#000", "#fff", "#fff", "#000", "#fff", "#000"];
const [WIDTH, HEIGHT] = [460, 280];
const BOX = { left: 46, right: 16, top: 12, bottom: 38 };

function svg(tag, attributes, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/**
 * series: [{letter, points: [{x, y, title}]}], x ascending. xs: the ticks. log: the lowest value that is told apart on a
 * logarithmic axis, or 0 for a linear axis from 0 to 1. mark: x of a dashed line, or null.
 */
export function drawChart({ series, xs, log, mark, label, xLabel }) {
  const across = [Math.log(xs[0]), Math.log(xs.at(-1))];
  const inner = { w: WIDTH - BOX.left - BOX.right, h: HEIGHT - BOX.top - BOX.bottom };
  const px = (x) => BOX.left + (inner.w * (Math.log(x) - across[0])) / (across[1] - across[0] || 1);
  const ticks = log ? decades(series, log) : [0, 0.25, 0.5, 0.75, 1];
  const scale = log ? (y) => Math.log10(Math.max(y, ticks[0])) : (y) => y;
  const ends = [scale(ticks[0]), scale(ticks.at(-1))];
  const py = (y) => BOX.top + inner.h * (1 - (scale(y) - ends[0]) / (ends[1] - ends[0] || 1));
  const root = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label });
  for (const y of ticks) {
    root.append(svg("line", { class: "fx-grid", x1: BOX.left, x2: WIDTH - BOX.right, y1: py(y), y2: py(y) }));
    root.append(
      svg("text", { class: "fx-tick-y", x: BOX.left - 8, y: py(y) + 4 }, log ? power(y) : `${100 * y}\u202f%`),
    );
  }
  for (const x of xs)
    root.append(svg("text", { class: "fx-tick-x", x: px(x), y: HEIGHT - BOX.bottom + 20 }, String(x)));
  root.append(svg("text", { class: "fx-tick-x", x: BOX.left + inner.w / 2, y: HEIGHT - 3 }, xLabel));
  if (mark >= xs[0] && mark <= xs.at(-1))
    root.append(svg("line", { class: "fx-now", x1: px(mark), x2: px(mark), y1: BOX.top, y2: HEIGHT - BOX.bottom }));
  series.forEach(({ points }, i) =>
    root.append(
      svg("polyline", {
        fill: "none",
        stroke: SERIES[i],
        "stroke-width": 2.5,
        points: points.map((p) => `${px(p.x)},${py(p.y)}`).join(" "),
      }),
    ),
  );
  series.forEach(({ letter, points }, i) => {
    for (const p of points) root.append(marker(px(p.x), py(p.y), letter, i, p.title));
  });
  return root;
}

function marker(x, y, letter, i, title) {
  const text = svg("text", { class: "fx-marker", x, y: y + 3.5, fill: INK[i] }, letter);
  return svg(
    "g",
    {},
    svg("title", {}, title),
    svg("circle", { cx: x, cy: y, r: 7.5, fill: SERIES[i], class: "fx-dot-of" }),
    text,
  );
}

/** Powers of ten around the values; what lies below the lowest is drawn on it. */
function decades(series, lowest) {
  const values = series.flatMap((s) => s.points.map((p) => Math.max(p.y, lowest)));
  const low = Math.floor(Math.log10(Math.min(...values)));
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...values))));
  return Array.from({ length: high - low + 1 }, (_, i) => 10 ** (low + i));
}

function power(y) {
  return y >= 0.001 && y <= 1000 ? String(Number(y.toPrecision(1))) : y.toExponential(0).replace("e-", "e\u2212");
}
