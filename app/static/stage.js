// The stage: the picture, the token canvas over it, pointer and keyboard.

import { makeGeometry, step, tokenAt } from "./geometry.js";
import { paintStep } from "./lecture/paint_step.js";
import { sceneAt } from "./lecture/steps.js";
import { HALO, VEIL_ON_BRIGHT } from "./look.js";
import { veilOver } from "./veil.js";
import { planOf } from "./store.js";
import { refs, setText, toggle } from "./dom.js";
import { describe, heatOf, neverEncoded } from "./describe.js";
import { mountBudget } from "./budget.js";
import { mountShare } from "./share.js";
import { mountSpread } from "./spread.js";
import { mountPlaceless, mountViews, pictureOf, placeImage, windowOf } from "./views.js";
import { foreignOf } from "./life.js";
import { mountRegion } from "./region.js";
import { measuredOf } from "./why/layer.js";
import { marksOf } from "./why/marks.js";
import { mountMarking } from "./why/whatif.js";
import { mountCaption } from "./words/caption.js";
import { wordLayer } from "./words/influence.js";
import { pinnedHeat } from "./words/maps.js";
import { hold, leave } from "./inspect.js";

export function mountStage(root, store) {
  const at = refs(root);
  const stage = { geometry: null, veil: VEIL_ON_BRIGHT, palette: readPalette(root), at };

  function fit() {
    const { trace, frame, tile } = store.state;
    const shown = sizeOf(store.state);
    if (!shown) return;
    const room = at.frame.getBoundingClientRect();
    const scale = Math.min(room.width / shown.width, room.height / shown.height);
    const [width, height] = [Math.floor(shown.width * scale), Math.floor(shown.height * scale)];
    if (width < 1) return;
    Object.assign(at.picture.style, { width: `${width}px`, height: `${height}px` });
    const pixel = window.devicePixelRatio || 1;
    stage.geometry = trace ? makeGeometry(trace, frame, Math.round(width * pixel), tile) : null;
    at.canvas.width = Math.round(width * pixel);
    at.canvas.height = Math.round(height * pixel);
  }

  function redraw() {
    if (!stage.geometry || store.state.mode === "compare") return;
    paintStep(at.canvas.getContext("2d"), stage.geometry, sceneOf(store.state, stage));
    const { view, method, cursor } = store.state;
    Object.assign(at.canvas.dataset, {
      method,
      cursor,
      budget: view?.budget ?? "",
      playback: store.state.playback ?? "",
      counts: view?.counts.join(",") ?? "",
    });
  }

  store.on(["pictures", "trace", "frame", "tile"], (state) => {
    const picture = pictureOf(state, state.frame);
    if (picture && at.image.src !== picture.file.url) at.image.src = picture.file.url;
    placeImage(at.image, state.trace, state.frame, state.tile);
  });
  at.image.addEventListener("load", () => {
    if (store.state.trace?.clip && store.state.frame > 0) return; // one veil a clip: it must not flicker
    stage.veil = veilOver(at.image);
    store.set({ veil: stage.veil });
    document.body.style.setProperty("--fx-veil", stage.veil); // the legend's swatches show the veil that lies there
    redraw();
  });
  store.on(["trace", "frame", "tile", "pictures"], fit);
  store.on(
    ["view", "trace", "frame", "tile", "layer", "layers", "cursor", "mode", "forced", "study", "playback"],
    redraw,
  );
  store.on(["looked", "word", "tab", "part"], redraw);
  mountCaption(at.frame, store);
  store.on(["trace", "frame"], ({ trace, frame }) => {
    toggle(at.unseen, Boolean(trace) && !seesAll(trace.frames[frame]));
    setText(
      at.unseen,
      trace?.frames[frame]?.part === "tiles" ? "Hatched: outside the tiles" : "Hatched: the model does not see this",
    );
  });
  mountViews(at.frames, store);
  mountPlaceless(at.placeless, store);
  mountShare(at.ways, store);
  mountSpread(at.spread, store);
  store.on(["trace", "view", "status"], (state) => {
    const text = planOf(state) ? "" : emptyText(state);
    setText(at.note, text);
    toggle(at.note, Boolean(text));
  });
  store.on(["cursor"], (state) => setText(at.live, state.cursor >= 0 ? describe(state, state.cursor) : ""));

  new ResizeObserver(() => (fit(), redraw())).observe(at.frame);
  store.when("theme", () => ((stage.palette = readPalette(root)), redraw()));
  mountPointer(at, stage, store);
  mountMarking(at, stage, store);
  mountKeys(at.canvas, stage, store);
  mountBudget(at, store);
  mountRegion({ layer: at.region, box: at.regionbox }, store);
  return stage;
}

/** Width and height of what the view shows, in pixels of the picture; before a trace, of the picture itself. */
function sizeOf({ trace, pictures, frame, tile }) {
  if (!trace) return pictures[frame];
  const [x0, y0, x1, y1] = windowOf(trace, frame, tile);
  return { width: x1 - x0, height: y1 - y0 };
}

function seesAll({ seen, width, height }) {
  return seen[0] <= 0 && seen[1] <= 0 && seen[2] >= width && seen[3] >= height;
}

function emptyText(state) {
  if (!state.pictures.length) return "Choose an example, or upload a picture.";
  if (state.status.phase === "planning") return state.status.text;
  if (state.status.phase === "failed") return "";
  return "Press Ask to see which visual tokens are kept.";
}

export function sceneOf(state, stage, pixel = window.devicePixelRatio || 1) {
  const { view, layers, cursor, layer, trace } = state;
  const pinned = pinnedHeat(state);
  const heat = pinned ?? (layer === "roles" ? null : heatOf(trace, layer));
  const measured = pinned ? null : (wordLayer(state) ?? measuredOf(state));
  const foreign = trace?.clip && view ? foreignOf(view, trace) : null;
  const marks = marksOf(state, measured);
  const played = state.playback === null ? null : sceneAt(state, state.playback);
  const crossed = neverEncoded(trace, state.method);
  const whole = {
    view,
    crossed,
    layers,
    heat,
    cursor,
    foreign,
    marks,
    palette: stage.palette,
    veil: stage.veil,
    pixel,
  };
  return played ? { ...whole, foreign: null, marks: null, ...played } : whole;
}

function readPalette(root) {
  const style = getComputedStyle(root);
  const read = (name) => style.getPropertyValue(`--fx-${name}`).trim();
  return { focus: read("focus"), scan: read("scan"), kept: read("kept"), halo: HALO };
}

function mountPointer(at, stage, store) {
  const pick = (event) => {
    if (!stage.geometry) return -1;
    const box = at.canvas.getBoundingClientRect();
    const scale = at.canvas.width / box.width;
    return tokenAt(stage.geometry, (event.clientX - box.left) * scale, (event.clientY - box.top) * scale);
  };
  at.canvas.addEventListener("pointermove", (event) => {
    if (event.pointerType === "mouse" || event.pressure > 0) store.set({ cursor: pick(event) });
  });
  at.canvas.addEventListener("pointerdown", (event) => hold(store, pick(event)));
  at.canvas.addEventListener("pointerleave", (event) => {
    if (event.pointerType === "mouse") leave(store);
  });
  at.canvas.addEventListener("blur", () => leave(store));
}

const SIDES = { ArrowLeft: 0, ArrowUp: 1, ArrowRight: 2, ArrowDown: 3 };

function mountKeys(canvas, stage, store) {
  canvas.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hold(store, -1);
    if (!(event.key in SIDES) || !stage.geometry) return;
    event.preventDefault();
    const times = event.shiftKey ? 5 : 1;
    let token = store.state.cursor;
    for (let i = 0; i < times; i++) token = step(stage.geometry, token, SIDES[event.key]);
    hold(store, token);
  });
  canvas.addEventListener("focus", () => {
    if (store.state.cursor < 0 && stage.geometry && canvas.matches(":focus-visible")) {
      hold(store, step(stage.geometry, -1, 0));
    }
  });
}
