// What can be looked at by itself: a frame, the base picture, a mosaic of tiles on its picture, or one tile of it.

import { ROLE } from "./plan.js";
import { el, fill, setText, toggle } from "./dom.js";

/** Which of the visitor's pictures a frame is about: parts say it, other frames are pictures of their own. */
export function pictureOf({ trace, pictures }, frame) {
  const part = trace?.frames[frame];
  return pictures[part?.part ? part.picture : frame] ?? pictures[0];
}

/** Every view of a trace: frame, tile (-1: the whole grid) and a name. Tokens of a mosaic are in two views. */
export function viewsOf(trace) {
  const { frames, tokens } = trace;
  const several = new Set(frames.map((f) => f.picture ?? 0)).size > 1;
  return frames.flatMap(({ part, picture }, frame) => {
    if (!part) return [{ frame, tile: -1, label: String(frame + 1), name: `Frame ${frame + 1}` }];
    const of = several ? `Picture ${picture + 1}: ` : "";
    const word = (text) => (of ? of + text.toLowerCase() : text);
    if (part === "base") return [{ frame, tile: -1, label: word("Base picture"), name: word("Base picture") }];
    const tiles = tilesOf(tokens, frame);
    const each =
      tiles.length > 1
        ? tiles.map((tile, i) => ({ frame, tile, label: String(i + 1), name: word(`Tile ${i + 1}`) }))
        : [];
    return [{ frame, tile: -1, label: word("All tiles"), name: word("All tiles") }, ...each];
  });
}

/** The numbers of the tiles of a frame, ascending. */
export function tilesOf(tokens, frame) {
  if (!tokens.tile) return [];
  const found = new Set();
  for (let i = 0; i < tokens.n; i++) if ((tokens.frame ? tokens.frame[i] : 0) === frame) found.add(tokens.tile[i]);
  return [...found].sort((a, b) => a - b);
}

export function isIn(tokens, i, frame, tile) {
  return (tokens.frame ? tokens.frame[i] : 0) === frame && (tile < 0 || tokens.tile?.[i] === tile);
}

/** The part of the picture that a view shows, x0, y0, x1, y1 in its pixels: all of it, or what a tile covers. */
export function windowOf(trace, frame, tile) {
  const { width, height } = trace.frames[frame];
  if (tile < 0) return [0, 0, width, height];
  const [x0, y0, x1, y1] = around(trace.tokens, frame, tile);
  const inside = [Math.max(0, x0), Math.max(0, y0), Math.min(width, x1), Math.min(height, y1)];
  return inside[2] - inside[0] > 1 && inside[3] - inside[1] > 1 ? inside : [x0, y0, x1, y1];
}

/** The smallest rectangle around the tokens of a tile; it may reach beyond the picture. */
export function around(tokens, frame, tile) {
  const box = [Infinity, Infinity, -Infinity, -Infinity];
  for (let i = 0; i < tokens.n; i++) {
    if (!tokens.rect[i] || !isIn(tokens, i, frame, tile)) continue;
    const [x0, y0, x1, y1] = tokens.rect[i];
    box[0] = Math.min(box[0], x0);
    box[1] = Math.min(box[1], y0);
    box[2] = Math.max(box[2], x1);
    box[3] = Math.max(box[3], y1);
  }
  return box;
}

/** Tokens that no view can show: without a rectangle ([CLS], newlines that methods see), or in the padding around. */
export function placeless(trace) {
  const { tokens, frames } = trace;
  const found = [];
  for (let i = 0; i < tokens.n; i++) {
    const rect = tokens.rect[i];
    const { width, height } = frames[tokens.frame ? tokens.frame[i] : 0];
    const [x, y] = [width, height].map((side) => Math.min(0.5, side / 64)); // a picture may have fewer pixels than tokens
    if (!rect || rect[2] <= x || rect[3] <= y || rect[0] >= width - x || rect[1] >= height - y) found.push(i);
  }
  return found;
}

/** [kept, all] newlines: one is read with the row that it closes, as long as a token of that row is. */
export function newlines({ tokens }, view) {
  const all = new Set();
  const kept = new Set();
  for (let i = 0; i < tokens.n; i++) {
    const newline = tokens.newline?.[i] ?? -1;
    if (newline < 0) continue;
    all.add(newline);
    if (view && view.roles[i] >= ROLE.KEPT) kept.add(newline);
  }
  return [kept.size, all.size];
}

/** Shows the part of a picture that a view is about in the place where all of it stood. */
export function placeImage(image, trace, frame, tile) {
  if (!trace || tile < 0) {
    Object.assign(image.style, { left: "", top: "", width: "", height: "", maxWidth: "" });
    return;
  }
  const { width, height } = trace.frames[frame];
  const [x0, y0, x1, y1] = windowOf(trace, frame, tile);
  const share = (v, whole) => `${(100 * v) / whole}%`;
  Object.assign(image.style, {
    left: share(-x0, x1 - x0),
    top: share(-y0, y1 - y0),
    width: share(width, x1 - x0),
    height: share(height, y1 - y0),
    maxWidth: "none",
  });
}

/** One button a view, where there are several; each says how many of its tokens are kept. */
export function mountViews(node, store, counted = true) {
  let drawn = null;
  let buttons = [];
  store.on(["trace"], ({ trace }) => {
    const views = trace && !trace.clip ? viewsOf(trace) : [];
    toggle(node, views.length > 1);
    if (drawn === trace?.tokens) return;
    drawn = trace?.tokens;
    buttons = views.map((view) => buttonOf(view, store));
    fill(node, ...(views.length > 1 ? grouped(buttons) : []));
  });
  store.on(["trace", "frame", "tile", "view"], ({ trace, frame, tile, view }) => {
    for (const { node: button, count, about, of } of node.hidden ? [] : buttons) {
      button.setAttribute("aria-pressed", String(about.frame === frame && about.tile === tile));
      const kept = view ? keptIn(trace.tokens, view, about) : null;
      if (counted) setText(count, kept === null ? String(of) : `${kept}/${of}`);
      button.setAttribute(
        "aria-label",
        `${about.name}: ${kept === null ? of : `${kept} of ${of}`} tokens${kept === null ? "" : " kept"}`,
      );
    }
  });
}

function buttonOf(about, store) {
  const count = el("span");
  const { tokens } = store.state.trace;
  let of = 0;
  for (let i = 0; i < tokens.n; i++) if (isIn(tokens, i, about.frame, about.tile)) of++;
  const node = el(
    "button",
    { type: "button", title: about.name, onclick: () => show(store, about) },
    about.label,
    count,
  );
  return { node, count, about, of };
}

/** The buttons of tiles stand together behind one word. */
function grouped(buttons) {
  const nodes = [];
  for (const { node, about } of buttons) {
    if (about.tile >= 0 && !nodes.at(-1)?.matches(".fx-tiles")) nodes.push(el("span", { class: "fx-tiles" }, "Tile"));
    (about.tile >= 0 ? nodes.at(-1) : { append: (n) => nodes.push(n) }).append(node);
  }
  return nodes;
}

function keptIn(tokens, view, { frame, tile }) {
  let kept = 0;
  for (let i = 0; i < tokens.n; i++) if (view.roles[i] >= ROLE.KEPT && isIn(tokens, i, frame, tile)) kept++;
  return kept;
}

/** Another view; the token under the cursor stays where the view holds it. */
export function show(store, { frame, tile }) {
  const { trace, cursor } = store.state;
  const stays = cursor >= 0 && isIn(trace.tokens, cursor, frame, tile);
  store.set({ frame, tile, cursor: stays ? cursor : -1 });
}

/** The view before or after (V), round and round. */
export function nextView(store, by = 1) {
  const { trace, frame, tile } = store.state;
  const views = trace && !trace.clip ? viewsOf(trace) : [];
  if (views.length < 2) return;
  const at = views.findIndex((v) => v.frame === frame && v.tile === tile);
  show(store, views[(at + by + views.length) % views.length]);
}

const MOST_LISTED = 32;

/** What no view shows is counted, and its tokens can be pointed at. */
export function mountPlaceless(node, store) {
  const text = el("span");
  const list = el("span", { class: "fx-placeless-list" });
  fill(node, text, list);
  let tokens = [];
  store.on(["trace"], ({ trace }) => {
    tokens = trace && !trace.clip ? placeless(trace) : [];
    fill(
      list,
      ...(tokens.length <= MOST_LISTED ? tokens : []).map((i) =>
        el(
          "button",
          {
            type: "button",
            "data-token": i,
            onclick: () => store.set({ cursor: i, pinned: i }),
            onpointerenter: () => store.set({ cursor: i }),
          },
          `#${i}`,
        ),
      ),
    );
  });
  store.on(["trace", "view"], ({ trace, view }) => {
    const [kept, all] = trace && !trace.clip ? newlines(trace, view) : [0, 0];
    const said = [];
    if (tokens.length)
      said.push(
        `${tokens.length} token${tokens.length > 1 ? "s" : ""} without a place on the picture${view ? `, ${tokens.filter((i) => view.roles[i] >= ROLE.KEPT).length} kept` : ""}.`,
      );
    if (all)
      said.push(
        `${view ? `${kept} of ${all}` : all} newlines ${view ? "are read, each with the row that it closes" : "close the rows of tiles"}; no budget counts them.`,
      );
    setText(text, said.join(" "));
    toggle(node, said.length > 0);
    for (const button of list.children)
      button.dataset.kept = String(Boolean(view && view.roles[Number(button.dataset.token)] >= ROLE.KEPT));
  });
}
