// What can be done to the chosen object, and the ground of a scene.

import { el, fill, setText, toggle } from "../dom.js";
import { larger, smaller } from "./layer.js";
import { PLAIN, beside, called } from "./scene.js";

const TURN = 15;
const ARTISTS = { noto: "Noto", "fluent-emoji-flat": "Fluent" };
// calm ones, and sky, grass, sand, night
const GROUNDS = ["f4f1ea", "ffffff", "e9efe6", "dfe8f2", "f1dfdc", "bcd9ee", "b9d7a4", "e6cf9f", "8d9096", "1d2430"];

/**
 * @param {any} at ref: tools
 * @param {{ change: (patch: object) => void, remove: () => void, double: () => void, move: (way: number) => void }} on
 */
export function mountTools(at, config, on) {
  let piece = null;
  const name = el("b", {});
  const button = (text, label, act) =>
    el("button", { type: "button", "aria-label": label, title: label, onclick: act }, text);
  const swatches = Object.entries(config.colors).map(([color, rgb]) => swatch(rgb, color, () => on.change({ color })));
  const colors = el("div", { class: "fx-compose-row", role: "group", "aria-label": "Colour" }, ...swatches);
  const sizes = el(
    "div",
    { class: "fx-compose-row" },
    button("−", "Smaller", () => on.change({ size: smaller(smaller(piece.size)) })),
    button("+", "Larger", () => on.change({ size: larger(larger(piece.size)) })),
    button("↺", "Turn left", () => on.change({ turn: piece.turn - TURN })),
    button("↻", "Turn right", () => on.change({ turn: piece.turn + TURN })),
    button("Front", "Bring one step to the front", () => on.move(1)),
    button("Back", "Send one step to the back", () => on.move(-1)),
    button("Duplicate", "Duplicate", () => on.double()),
    button("Delete", "Delete", () => on.remove()),
  );
  const digits = ["", ..."0123456789"].map((d) => el("option", { value: d }, d || "none"));
  const digit = /** @type {HTMLSelectElement} */ (
    el("select", { onchange: () => on.change({ digit: digit.value === "" ? null : Number(digit.value) }) }, ...digits)
  );
  const written = el("label", {}, "Digit", digit);
  const outline = flag("Outline", () => on.change({ outline: !piece.outline }));
  const mirrored = flag("Mirrored", () => on.change({ mirrored: !piece.mirrored }));
  const artists = config.artists.map((artist, i) => el("option", { value: String(i) }, ARTISTS[artist] ?? artist));
  const artist = /** @type {HTMLSelectElement} */ (
    el("select", { onchange: () => on.change({ fluent: artist.value === "1" }) }, ...artists)
  );
  const drawn = el("label", {}, "Drawn by", artist);
  const looks = el("div", { class: "fx-compose-row" }, name, drawn, mirrored, written, outline);
  fill(at.tools, looks, colors, sizes);

  return (now) => {
    piece = now;
    toggle(at.tools, Boolean(piece));
    if (!piece) return;
    const shape = Boolean(piece.color);
    setText(name, called(piece));
    toggle(colors, shape);
    swatches.forEach((node) => node.setAttribute("aria-pressed", String(node.title === piece.color)));
    toggle(written, config.writable.includes(piece.name));
    toggle(outline, shape && piece.name !== "ring");
    for (const node of [mirrored, drawn]) toggle(node, !shape);
    digit.value = piece.digit === null ? "" : String(piece.digit);
    artist.value = piece.fluent ? "1" : "0";
    outline.setAttribute("aria-pressed", String(piece.outline));
    mirrored.setAttribute("aria-pressed", String(piece.mirrored));
  };
}

/** @param {any} at ref: ground @param {(patch: object) => void} change of the ground */
export function mountGround(at, config, change) {
  let ground = null;
  const kinds = config.grounds.map((kind) => el("option", { value: kind }, kind));
  const kind = /** @type {HTMLSelectElement} */ (
    el("select", { onchange: () => colored(ground.first, kind.value) }, ...kinds)
  );
  const swatches = GROUNDS.map((rgb) => swatch(`#${rgb}`, `#${rgb}`, () => colored(rgb, ground.kind)));
  const any = /** @type {HTMLInputElement} */ (
    el("input", {
      type: "color",
      title: "Any colour",
      "aria-label": "Any colour",
      onchange: () => colored(any.value.slice(1), ground.kind),
    })
  );
  fill(at.ground, el("label", {}, "Ground", kind), el("div", { class: "fx-compose-row" }, ...swatches, any));

  function colored(first, of) {
    const second = of === PLAIN ? "" : beside(first);
    const seed = of === PLAIN ? 0 : of === ground.kind ? ground.seed : 1 + Math.floor(Math.random() * 9999);
    change({ kind: of, first, second, seed });
  }

  return (now) => {
    ground = now;
    kind.value = ground.kind;
    any.value = `#${ground.first}`;
    swatches.forEach((node) => node.setAttribute("aria-pressed", String(node.title === `#${ground.first}`)));
  };
}

function swatch(rgb, title, act) {
  const node = el("button", { type: "button", class: "fx-swatch", title, "aria-label": title, onclick: act });
  node.style.setProperty("--rgb", rgb);
  return node;
}

function flag(text, act) {
  return el("button", { type: "button", "aria-pressed": "false", onclick: act }, text);
}
