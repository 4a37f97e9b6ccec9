// The filmstrip: every sampled frame with its tokens. Frames out of sight are not painted until they are seen.

import { tokenAt } from "./geometry.js";
import { heatColors } from "./color.js";
import { HEAT_OPACITY, VEIL_ON_BRIGHT } from "./look.js";
import { heatOf } from "./describe.js";
import { ROLE } from "./plan.js";
import { foreignOf, framesOf, heldBy, tokensByFrame } from "./life.js";
import { inksOf, paintThumb, pixel, thumbGeometry } from "./film_paint.js";
import { nameOf } from "./film_time.js";
import { el, fill } from "./dom.js";
import { leave } from "./inspect.js";

const SVG = "http://www.w3.org/2000/svg";
const MOST_LINKS = 400; // beyond, lines are a blot

/** palette: a function that gives the colours of the theme. `show(frame)` scrolls a frame into sight, `paint()` repaints. */
export function mountStrip(at, store, palette) {
  const strip = { thumbs: [], look: null, of: null };
  const links = document.createElementNS(SVG, "svg");
  links.setAttribute("class", "fx-links");
  links.setAttribute("aria-hidden", "true");
  const seen = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      const thumb = strip.thumbs[Number(/** @type {HTMLElement} */ (target).dataset.frame)];
      if (thumb?.node !== target) continue;
      thumb.seen = isIntersecting;
      if (isIntersecting) paintOne(thumb);
    }
  });

  function build({ trace, pictures }, frames) {
    seen.disconnect();
    strip.of = trace;
    strip.thumbs = frames.map((frame, i) => makeThumb(frames, i, pictures[i]));
    fill(at.row, ...strip.thumbs.map((t) => t.node), links);
    for (const thumb of strip.thumbs) seen.observe(thumb.node);
  }

  function paintOne(thumb) {
    if (!strip.look || thumb.painted === strip.look) return;
    const width = Math.round(thumb.canvas.clientWidth * (window.devicePixelRatio || 1));
    if (width < 8) return;
    if (thumb.geometry?.width !== width) {
      thumb.geometry = thumbGeometry(strip.of, tokensByFrame(strip.of)[thumb.frame], thumb.frame, width);
      Object.assign(thumb.canvas, { width, height: thumb.geometry.height });
      thumb.image = thumb.canvas
        .getContext("2d", { willReadFrequently: true })
        .createImageData(width, thumb.geometry.height);
      thumb.data = new Uint32Array(thumb.image.data.buffer);
    }
    paintThumb(thumb.data, thumb.geometry, strip.look);
    thumb.canvas.getContext("2d").putImageData(thumb.image, 0, 0);
    thumb.canvas.dataset.budget = strip.look.budget;
    thumb.painted = strip.look;
  }

  function paint() {
    strip.look = strip.of ? lookOf(store.state, palette()) : null;
    for (const thumb of strip.thumbs) if (thumb.seen) paintOne(thumb);
  }

  let drawn = [];
  store.on(["trace", "pictures"], (state) => {
    const frames = framesOf(state);
    const on = state.pictures.length >= frames.length ? [frames, state.trace?.tokens, state.pictures] : [];
    if (on.length && on.every((x, i) => x === drawn[i])) return; // a patch of methods keeps the frames
    drawn = on;
    build(state, on[0] ?? []);
  });
  store.on(["trace", "pictures", "view", "layer", "layers", "veil", "mode"], paint);
  store.on(["trace", "pictures", "frame"], ({ frame }) => mark(at.row, strip.thumbs, frame));
  store.on(["trace", "cursor", "view", "mode"], (state) => drawLinks(links, strip, state));
  new ResizeObserver(() => {
    for (const thumb of strip.thumbs) thumb.painted = null;
    paint();
    drawLinks(links, strip, store.state);
  }).observe(at.row);
  mountPointer(at.row, strip, store);
  return { paint, show: (frame) => show(at.strip, strip.thumbs[frame]) };
}

function makeThumb(frames, i, picture) {
  const frame = frames[i];
  const canvas = el("canvas");
  const image = el("img", { src: picture.file.url, alt: "", draggable: "false" });
  const view = el(
    "div",
    { class: "fx-thumb-view", style: `aspect-ratio: ${frame.width} / ${frame.height}` },
    image,
    canvas,
    el("i", { class: "fx-thumb-region" }),
  );
  const time = nameOf(frames, i, frames.at(-1).time >= 60);
  const number = Number.isFinite(frame.index) ? `, number ${frame.index} of the file` : "";
  const node = el(
    "div",
    {
      class: "fx-thumb",
      role: "option",
      id: `fx-thumb-${i}`,
      "data-frame": i,
      "aria-selected": "false",
      "aria-label": `Frame ${i + 1}, ${time}`,
      title: `frame ${i + 1} of ${frames.length}${number}`,
    },
    view,
    el("span", {}, time),
  );
  return { frame: i, node, view, canvas, seen: false, painted: null, geometry: null };
}

/** What all frames are painted with. A new object whenever anything changed. */
function lookOf(state, palette) {
  const { view, trace, layer, layers, veil, mode } = state;
  const budget = view?.budget ?? "";
  if (mode === "compare" || !view) return { heat: new Uint32Array(trace.tokens.n), budget: "" };
  const heat = layer === "roles" ? null : heatOf(trace, layer);
  if (heat) return { heat: heatPixels(heat), budget };
  const line = Math.max(1, Math.round(window.devicePixelRatio || 1));
  const inks = inksOf(palette, veil || VEIL_ON_BRIGHT);
  return {
    roles: view.roles,
    absorbed: view.refine.absorbed,
    foreign: foreignOf(view, trace),
    layers,
    inks,
    line,
    budget,
  };
}

let warm = { values: null, pixels: null };

function heatPixels(heat) {
  const { values } = heat;
  if (warm.values !== values)
    warm = { values, pixels: Uint32Array.from(heatColors(values, heat), (c) => pixel(c, HEAT_OPACITY)) };
  return warm.pixels;
}

function mark(row, thumbs, frame) {
  for (const { node, frame: i } of thumbs) node.setAttribute("aria-selected", String(i === frame));
  if (thumbs[frame]) row.setAttribute("aria-activedescendant", thumbs[frame].node.id);
}

/** Scrolls sideways only: the page itself stays where it is. */
function show(scroller, thumb) {
  if (!thumb || scroller.scrollWidth <= scroller.clientWidth) return;
  const { offsetLeft: left, offsetWidth: width } = thumb.node;
  if (left < scroller.scrollLeft) scroller.scrollLeft = left - width / 2;
  else if (left + width > scroller.scrollLeft + scroller.clientWidth)
    scroller.scrollLeft = left + 1.5 * width - scroller.clientWidth;
}

// -- what an anchor holds, drawn over the frames

function drawLinks(svg, strip, { cursor, view, trace, mode }) {
  svg.replaceChildren();
  if (cursor < 0 || !view || mode === "compare" || strip.of?.tokens !== trace?.tokens) return;
  const merged = view.roles[cursor] === ROLE.MERGED;
  const anchor = merged ? view.refine.anchor[cursor] : view.refine.absorbed[cursor] ? cursor : -1;
  const middle = (token) => middleOf(strip, trace, token);
  const from = middle(cursor);
  if (!from) return;
  if (anchor >= 0) {
    const tokens = merged ? [cursor] : heldBy(view, trace, anchor).tokens.slice(0, MOST_LINKS);
    const to = middle(anchor);
    const ends = tokens.map(middle).filter(Boolean);
    for (const layer of ["fx-link-halo", "fx-link"]) {
      const d = ends.map(([x, y]) => arc(to, [x, y])).join("");
      svg.append(shape("path", { class: layer, d }));
    }
    for (const [cx, cy] of ends) svg.append(shape("circle", { class: "fx-link-end", cx, cy, r: 2.5 }));
    svg.append(shape("circle", { class: "fx-link-anchor", cx: to[0], cy: to[1], r: 5 }));
  }
  svg.append(shape("circle", { class: "fx-link-cursor", cx: from[0], cy: from[1], r: 8 }));
}

/** Straight within a frame, bowed between frames, so that lines along the row stay apart. */
/** @param {number[]} from @param {number[]} to */
function arc([x0, y0], [x1, y1]) {
  const bow = Math.min(26, Math.abs(x1 - x0) / 6);
  return `M${x0} ${y0}Q${(x0 + x1) / 2} ${(y0 + y1) / 2 - bow} ${x1} ${y1}`;
}

function shape(tag, attributes) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

/** The middle of a token in the row's own pixels. */
function middleOf(strip, trace, token) {
  const rect = trace.tokens.rect[token];
  const thumb = strip.thumbs[trace.tokens.frame?.[token] ?? 0];
  if (!rect || !thumb) return null;
  const { node, view } = thumb;
  const scale = view.clientWidth / trace.frames[thumb.frame].width;
  const [left, top] = [node.offsetLeft + view.offsetLeft, node.offsetTop + view.offsetTop];
  return [left + ((rect[0] + rect[2]) / 2) * scale, top + ((rect[1] + rect[3]) / 2) * scale];
}

function mountPointer(row, strip, store) {
  const thumbAt = (event) => strip.thumbs[Number(event.target.closest?.(".fx-thumb")?.dataset.frame ?? -1)];
  row.addEventListener("pointermove", (event) => {
    if (event.pointerType !== "mouse" || store.state.mode === "compare" || store.state.playing) return;
    const thumb = thumbAt(event);
    if (!thumb?.geometry) return;
    const box = thumb.canvas.getBoundingClientRect();
    const scale = thumb.geometry.width / box.width;
    store.set({
      cursor: tokenAt(thumb.geometry, (event.clientX - box.left) * scale, (event.clientY - box.top) * scale),
    });
  });
  row.addEventListener("pointerleave", () => leave(store));
  row.addEventListener("click", (event) => {
    const thumb = thumbAt(event);
    if (thumb) store.set({ frame: thumb.frame, playing: false });
  });
}
