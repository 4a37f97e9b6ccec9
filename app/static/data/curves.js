// Scores over budgets with their intervals, the unpruned model as a line. Markers carry letters, as in the compare view.

import { el } from "../dom.js";
import { isNumber } from "../format.js";
import { budgetText, markOf, methodMark, withInterval } from "./marks.js";
import { byBudget, endsOf, measureOf } from "./scores.js";
import { FULL, labelOf, pruningOf } from "./view.js";

const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT] = [480, 280];
const BOX = { left: 50, right: 16, top: 12, bottom: 40 };

function svg(tag, attributes, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** Three to six round values between the ends. */
export function ticksOf(from, to) {
  const step = [0.01, 0.02, 0.05, 0.1, 0.2, 0.25].find((s) => (to - from) / s <= 6) ?? 0.25;
  const first = Math.ceil(from / step - 1e-9);
  return Array.from({ length: Math.floor(to / step + 1e-9) - first + 1 }, (_, i) => (first + i) * step);
}

/** The points of every method that prunes to given budgets, ascending. */
export function seriesOf(sweep, rows, measure) {
  const groups = byBudget(rows, measure).filter(([budget]) => budget !== null);
  return pruningOf(sweep)
    .map((method) => ({
      method,
      points: groups
        .flatMap(([, group]) => group)
        .filter((row) => row.method === method && isNumber(row[measure]))
        .sort((a, b) => a.budget - b.budget),
    }))
    .filter(({ points }) => points.length);
}

export function drawCurves(sweep, rows, view) {
  const measure = measureOf(rows);
  const series = seriesOf(sweep, rows, measure);
  const budgets = [...new Set(series.flatMap(({ points }) => points.map((p) => p.budget)))].sort((a, b) => a - b);
  const what = measure === "score" ? "Score" : "Same answer as the unpruned model";
  const root = svg("svg", {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
    role: "img",
    "aria-label": `${what} against the budget`,
  });
  if (!budgets.length) return root;
  const [from, to] = endsOf(rows, measure);
  const [first, last] = [Math.log(budgets[0]), Math.log(budgets.at(-1))];
  const inner = { w: WIDTH - BOX.left - BOX.right - 30, h: HEIGHT - BOX.top - BOX.bottom };
  const px = (x) => BOX.left + 15 + (last > first ? (inner.w * (Math.log(x) - first)) / (last - first) : inner.w / 2);
  const py = (y) => BOX.top + inner.h * (1 - (y - from) / (to - from || 1));
  root.append(...axes(budgets, ticksOf(from, to), px, py));
  const full = rows.find((row) => row.method === FULL);
  if (isNumber(full?.[measure])) root.append(...unprunedLine(full[measure], py));
  if (view.budget >= budgets[0] && view.budget <= budgets.at(-1))
    root.append(line("fx-now", px(view.budget), px(view.budget), BOX.top, HEIGHT - BOX.bottom));
  const ordered = [...series].sort((a, b) => Number(a.method === view.method) - Number(b.method === view.method));
  for (const one of ordered)
    root.append(curve(sweep, one, { px, py, measure, chosen: one.method === view.method, of: series }));
  return root;
}

/** Which letter is whose. */
export function legendOf(sweep, rows, view) {
  const items = seriesOf(sweep, rows, measureOf(rows)).map(({ method }) =>
    el("li", { "data-chosen": method === view.method }, methodMark(sweep, method), labelOf(sweep, method)),
  );
  return el("ul", { class: "fx-legend", "aria-label": "Methods" }, ...items);
}

const line = (name, x1, x2, y1, y2) => svg("line", { class: name, x1, x2, y1, y2 });

function axes(budgets, ticks, px, py) {
  const text = (name, x, y, words) => svg("text", { class: name, x, y }, words);
  return [
    ...ticks.map((y) => line("fx-grid", BOX.left, WIDTH - BOX.right, py(y), py(y))),
    ...ticks.map((y) => text("fx-tick-y", BOX.left - 8, py(y) + 4, `${Math.round(100 * y)}\u202f%`)),
    ...budgets.map((x) => text("fx-tick-x", px(x), HEIGHT - BOX.bottom + 20, String(x))),
    text("fx-tick-x", BOX.left + (WIDTH - BOX.left - BOX.right) / 2, HEIGHT - 4, "visual tokens (logarithmic)"),
  ];
}

function unprunedLine(value, py) {
  const label = svg("text", { class: "fx-tick-start", x: BOX.left + 4, y: py(value) - 5 }, "unpruned");
  return [line("fx-unpruned", BOX.left, WIDTH - BOX.right, py(value), py(value)), label];
}

/** Methods stand a little beside each other at a budget, so that their intervals can be told apart. */
function curve(sweep, { method, points }, { px, py, measure, chosen, of }) {
  const { letter, color, ink } = markOf(sweep, method);
  const aside = (of.findIndex((one) => one.method === method) - (of.length - 1) / 2) * Math.min(5, 28 / of.length);
  const x = (p) => px(p.budget) + aside;
  const group = svg("g", { class: "fx-curve", "data-chosen": chosen ? "" : null });
  const stroke = color || "currentColor";
  group.append(
    svg("polyline", {
      fill: "none",
      stroke,
      "stroke-width": chosen ? 3 : 1.75,
      points: points.map((p) => `${x(p)},${py(p[measure])}`).join(" "),
    }),
  );
  for (const p of points) {
    const [low, high] = [p[`${measure}_low`], p[`${measure}_high`]];
    if (isNumber(low) && isNumber(high))
      group.append(svg("line", { class: "fx-whisker", stroke, x1: x(p), x2: x(p), y1: py(low), y2: py(high) }));
  }
  for (const p of points) {
    const words = `${labelOf(sweep, method)} at ${budgetText(p.budget)}: ${withInterval(p[measure], p[`${measure}_low`], p[`${measure}_high`])}`;
    group.append(
      svg(
        "g",
        {},
        svg("title", {}, words),
        svg("circle", {
          class: "fx-dot-of",
          cx: x(p),
          cy: py(p[measure]),
          r: chosen ? 8.5 : 7,
          fill: color || "var(--fx-muted)",
        }),
        svg("text", { class: "fx-marker", x: x(p), y: py(p[measure]) + 3.5, fill: ink || "var(--fx-bg)" }, letter),
      ),
    );
  }
  return group;
}
