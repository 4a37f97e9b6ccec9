// Bars and lines over the sampled frames, as SVG in real pixels: one path a role, so that a drag moves four attributes.

import { clock, labelEvery, roundUp } from "./film_time.js";
import { sig3 } from "./format.js";

const SVG = "http://www.w3.org/2000/svg";
const TOP = 14; // pixels above the bars, for what the highest means
const LABEL_ROOM = 46; // pixels that a time needs
const PARTS = ["focus", "anchors", "scan", "holding", "kept"]; // from the bottom up
const DOTTED = { anchors: "scan", holding: "kept" }; // whose colour they have

function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function set(node, name, value) {
  if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

let made = 0;

/** Stacked bars of kept tokens. times: whether the frames' times stand below. */
export function makeBars(height, times) {
  const pattern = `fx-dots-${++made}`;
  const plot = { height: height - TOP - (times ? 18 : 1), top: TOP };
  const paths = Object.fromEntries(
    PARTS.map((part) => [part, svg("path", { class: `fx-bar-${DOTTED[part] ?? part}` })]),
  );
  const dots = svg("path", { fill: `url(#${pattern})`, class: "fx-bar-anchors" });
  const band = svg("rect", { class: "fx-band", y: 0 });
  const head = svg("path", { class: "fx-head" });
  const ceiling = svg("line", { class: "fx-ceiling", x1: 0, y1: plot.top, y2: plot.top });
  const most = svg("text", { class: "fx-most", y: TOP - 3 });
  const labels = svg("g", { class: "fx-times" });
  const defs = svg(
    "defs",
    {},
    svg(
      "pattern",
      { id: pattern, width: 6, height: 6, patternUnits: "userSpaceOnUse" },
      svg("circle", { cx: 3, cy: 3, r: 1.5, fill: "#fff" }),
    ),
  );
  const root = svg(
    "svg",
    { height, "aria-hidden": "true" },
    defs,
    band,
    ceiling,
    ...Object.values(paths),
    dots,
    head,
    most,
    labels,
  );
  const bars = { root, paths, dots, band, head, ceiling, most, labels, plot, height, times, size: [0, 0] };
  return {
    root,
    resize: (width, frames) => resize(bars, width, frames),
    draw: (columns) => drawBars(bars, columns),
    go: (frame) => moveHead(bars, frame),
  };
}

function resize(bars, width, frames) {
  bars.size = [width, frames.length];
  set(bars.root, "width", width);
  set(bars.root, "viewBox", `0 0 ${width} ${bars.height}`);
  set(bars.ceiling, "x2", width);
  set(bars.most, "x", width - 2);
  if (!bars.times) return;
  const pitch = width / frames.length;
  const every = labelEvery(frames.length, pitch, LABEL_ROOM);
  const long = frames.at(-1).time >= 60;
  const shown = frames.map((f, i) => [f, i]).filter(([, i]) => i % every === 0);
  bars.labels.replaceChildren(
    ...shown.map(([f, i]) =>
      svg("text", { x: Math.max((i + 0.5) * pitch, LABEL_ROOM / 2 - 4), y: bars.height - 4 }, clock(f.time, long)),
    ),
  );
}

/** columns: {focus, scan, anchors, holding, kept, all} of every frame. */
/** @param {{ [part: string]: any }} bars @param {any[]} columns */
function drawBars(bars, columns) {
  const {
    paths,
    dots,
    most,
    plot,
    size: [width, n],
  } = bars;
  if (!width || columns.length !== n) return;
  const top = roundUp(Math.max(1, ...columns.map((c) => c.all)));
  const text = `${top} token${top > 1 ? "s" : ""}`;
  if (most.textContent !== text) most.textContent = text;
  const pitch = width / n;
  const inset = Math.min(8, pitch * 0.14);
  const d = { focus: "", anchors: "", scan: "", holding: "", kept: "" };
  columns.forEach((c, f) => {
    let y = plot.top + plot.height;
    const anchors = c.anchors - c.holding;
    const parts = { ...c, anchors, scan: c.scan - anchors, kept: c.kept - c.holding };
    for (const part of PARTS) {
      const h = (parts[part] / top) * plot.height;
      if (h <= 0) continue;
      y -= h;
      d[part] +=
        `M${(f * pitch + inset).toFixed(1)} ${y.toFixed(1)}h${(pitch - 2 * inset).toFixed(1)}v${h.toFixed(1)}h${(2 * inset - pitch).toFixed(1)}z`;
    }
  });
  for (const part of PARTS) set(paths[part], "d", d[part]);
  set(dots, "d", d.anchors + d.holding);
}

/** @param {{ [part: string]: any }} bars @param {number} frame */
function moveHead(bars, frame) {
  const {
    band,
    head,
    height,
    times,
    size: [width, n],
  } = bars;
  if (!width) return;
  const pitch = width / n;
  set(band, "x", frame * pitch);
  set(band, "width", pitch);
  set(band, "height", height - (times ? 16 : 0));
  const x = (frame + 0.5) * pitch;
  set(head, "d", times ? `M${x - 5} 0h10l-5 6z` : "");
}

/** A line over the frames; frames without a value have no dot. */
export function makeLine(height) {
  const band = svg("rect", { class: "fx-band", y: 0, height });
  const line = svg("path", { class: "fx-life-line-path" });
  const dots = svg("path", { class: "fx-life-dots" });
  const low = svg("text", { class: "fx-most", y: height - 2 });
  const high = svg("text", { class: "fx-most", y: 10 });
  const root = svg("svg", { height, "aria-hidden": "true" }, band, line, dots, low, high);
  let size = [0, 0];
  return {
    root,
    resize(width, frames) {
      size = [width, frames.length];
      set(root, "width", width);
      set(root, "viewBox", `0 0 ${width} ${height}`);
      for (const text of [low, high]) set(text, "x", width - 2);
    },
    draw(values) {
      const [width, n] = size;
      const known = values.filter((v) => v !== null);
      if (!width || !known.length) return;
      const [min, max] = [Math.min(...known), Math.max(...known)];
      const y = (v) => height - 6 - ((v - min) / (max - min || 1)) * (height - 12);
      const points = values.map((v, f) => (v === null ? null : [((f + 0.5) * width) / n, y(v)]));
      set(
        line,
        "d",
        points
          .map((p, f) => (p ? `${f && points[f - 1] ? "L" : "M"}${p[0].toFixed(1)} ${p[1].toFixed(1)}` : ""))
          .join(""),
      );
      set(
        dots,
        "d",
        points
          .filter(Boolean)
          .map(([px, py]) => `M${(px - 2.5).toFixed(1)} ${py.toFixed(1)}a2.5 2.5 0 1 0 5 0a2.5 2.5 0 1 0 -5 0`)
          .join(""),
      );
      high.textContent = sig3(max);
      low.textContent = max > min ? sig3(min) : "";
    },
    go(frame) {
      const [width, n] = size;
      if (!width) return;
      set(band, "x", (frame * width) / n);
      set(band, "width", width / n);
    },
  };
}
