// A small map: the picture with its tokens painted over, linked to all others by the token under the pointer.

import { makeGeometry, tokenAt } from "../geometry.js";
import { HEAT_OPACITY, VEILED, VEIL_ON_BRIGHT } from "../look.js";
import { ROLE } from "../plan.js";
import { paint, paintPair } from "../paint.js";
import { divergingColors } from "../why/diverging.js";
import { pictureOf, placeImage, windowOf } from "../views.js";
import { el } from "../dom.js";

const SHOWN = new Set(["focus", "scan", "kept", "merged", "dropped"]);

/**
 * @param {import("../store.js").Store} store
 * @returns {{ node: HTMLElement, canvas: HTMLCanvasElement, draw: (state: any, scene: any) => void }}
 */
export function makeMap(store, label) {
  const image = el("img", { alt: "", draggable: "false" });
  const canvas = /** @type {HTMLCanvasElement} */ (el("canvas", { role: "img", "aria-label": label }));
  const node = el("div", { class: "fx-mini" }, image, canvas);
  let geometry = null;

  function fit({ trace, frame, tile, pictures }) {
    const picture = pictureOf({ trace, pictures }, frame);
    if (!trace || !picture) return false;
    if (image.src !== picture.file.url) image.src = picture.file.url;
    placeImage(image, trace, frame, tile);
    const [x0, y0, x1, y1] = windowOf(trace, frame, tile);
    node.style.aspectRatio = `${x1 - x0} / ${y1 - y0}`;
    const width = Math.round(node.getBoundingClientRect().width * (window.devicePixelRatio || 1));
    if (width < 8) return false;
    if (geometry?.of !== trace.tokens || geometry.width !== width || geometry.frame !== frame || geometry.tile !== tile)
      geometry = { ...makeGeometry(trace, frame, width, tile), of: trace.tokens };
    if (canvas.width !== geometry.width || canvas.height !== geometry.height)
      Object.assign(canvas, { width: geometry.width, height: geometry.height });
    return true;
  }

  canvas.addEventListener("pointermove", (event) => {
    if (!geometry) return;
    const box = canvas.getBoundingClientRect();
    const scale = canvas.width / box.width;
    store.set({ cursor: tokenAt(geometry, (event.clientX - box.left) * scale, (event.clientY - box.top) * scale) });
  });
  canvas.addEventListener("pointerleave", () => store.set({ cursor: -1 }));

  return {
    node,
    canvas,
    /** scene: `heat` as `paint` takes it, `only`: a view whose kept tokens stay clear (outlines would hide so small a
     *  picture), `pair`: two views, or `apart`: { values, reach } around 0. */
    draw(state, scene) {
      if (!fit(state)) return;
      const ctx = canvas.getContext("2d");
      const palette = paletteOf(node);
      const pixel = window.devicePixelRatio || 1;
      const common = { view: null, heat: null, layers: SHOWN, cursor: state.cursor, palette, pixel, marks: null };
      const whole = { ...common, veil: state.veil || VEIL_ON_BRIGHT, ...scene };
      if (scene.pair) paintPair(ctx, geometry, { ...whole, one: scene.pair[0], other: scene.pair[1] });
      else if (scene.apart)
        paintCells(ctx, geometry, divergingColors(scene.apart.values, scene.apart.reach), HEAT_OPACITY, whole);
      else if (scene.only) paintCells(ctx, geometry, veilOf(scene.only, whole.veil), VEILED.dropped, whole);
      else paint(ctx, geometry, whole);
      canvas.dataset.cursor = String(state.cursor);
    },
  };
}

const veilOf = ({ roles }, veil) => Array.from(roles, (role) => (role >= ROLE.KEPT ? "" : veil));

function paletteOf(node) {
  const style = getComputedStyle(node);
  const read = (name) => style.getPropertyValue(`--fx-${name}`).trim();
  return { focus: read("focus"), scan: read("scan"), kept: read("kept"), halo: "#fff" };
}

/** One colour a token, "" for none, and the token under the pointer. */
function paintCells(ctx, geometry, colors, opacity, { cursor, pixel }) {
  const { box, index } = geometry;
  ctx.clearRect(0, 0, geometry.width, geometry.height);
  ctx.globalAlpha = opacity;
  index.forEach((token, slot) => {
    const b = slot * 4;
    if (!colors[token]) return;
    ctx.fillStyle = colors[token];
    ctx.fillRect(box[b], box[b + 1], box[b + 2] - box[b], box[b + 3] - box[b + 1]);
  });
  ctx.globalAlpha = 1;
  const slot = cursor >= 0 ? geometry.at[cursor] : -1;
  if (slot < 0) return;
  const [x0, y0, x1, y1] = box.subarray(slot * 4, slot * 4 + 4);
  for (const [color, grow] of /** @type {[string, number][]} */ ([
    ["#000", 1],
    ["#fff", -1],
  ])) {
    ctx.lineWidth = 2 * pixel;
    ctx.strokeStyle = color;
    ctx.strokeRect(x0 - grow, y0 - grow, x1 - x0 + 2 * grow, y1 - y0 + 2 * grow);
  }
}
