// The scene as this browser draws it while it changes; what the library draws takes its place once it is here.

import { PLAIN, textOf } from "./scene.js";
import { flatness, outlinesOf } from "./outlines.js";

const WRITTEN_FROM = 42; // pixels of the full picture, see DIGIT_FROM in fsr/world/sampling.py
const EDGE = 0.75; // pixels of an icon that are left out, so that none of its neighbour in the atlas is drawn
const [DIGIT, LINE] = [0.62, 0.09]; // size of a digit, width of an outline: shares of a shape's shorter side

/** Where the library draws a scene, relative to the page. @param {string} text */
export function pictureAt(text) {
  return `./scene/picture?scene=${encodeURIComponent(text)}`;
}

/** Where the icons of an artist are. @param {string} artist */
export function iconsAt(artist) {
  return `./scene/icons/${artist}`;
}

/** @param {HTMLCanvasElement} canvas */
export function createPreview(canvas, config) {
  const pictures = new Map();
  let last = null;

  /** An image by its address, once it is here; then the last scene is drawn again. */
  function image(url) {
    if (!pictures.has(url)) {
      const node = new Image();
      node.addEventListener("load", () => last && draw(last));
      node.src = url;
      pictures.set(url, node);
      if (pictures.size > 24) pictures.delete(pictures.keys().next().value);
    }
    const node = pictures.get(url);
    return node.complete && node.naturalWidth ? node : null;
  }

  /** @param {import("./scene.js").Scene} scene */
  function draw(scene) {
    last = scene;
    const width = Math.round(canvas.clientWidth * (window.devicePixelRatio || 1));
    if (!width) return;
    if (canvas.width !== width) canvas.width = canvas.height = width;
    const pen = canvas.getContext("2d");
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.fillStyle = `#${scene.ground.first}`;
    pen.fillRect(0, 0, width, width);
    const ground = scene.ground.kind === PLAIN ? null : image(pictureAt(textOf({ ...scene, pieces: [] })));
    if (ground) pen.drawImage(ground, 0, 0, width, width);
    const scale = width / config.bounds.side;
    for (const piece of scene.pieces) {
      pen.setTransform(scale, 0, 0, scale, piece.x * scale, piece.y * scale);
      pen.rotate((piece.turn * Math.PI) / 180);
      if (piece.color) shape(pen, piece, config.colors[piece.color]);
      else icon(pen, piece);
    }
  }

  function icon(pen, { name, size, fluent, mirrored }) {
    const atlas = image(iconsAt(config.artists[fluent ? 1 : 0]));
    if (!atlas) return;
    const { side, columns, names } = config.atlas;
    const at = names.indexOf(name);
    if (mirrored) pen.scale(-1, 1);
    const [left, top] = [(at % columns) * side + EDGE, Math.floor(at / columns) * side + EDGE];
    pen.drawImage(atlas, left, top, side - 2 * EDGE, side - 2 * EDGE, -size / 2, -size / 2, size, size);
  }

  return { draw, hold: (url) => image(url) };
}

/** @param {import("./scene.js").Piece} piece */
function shape(pen, piece, color) {
  const [halfWidth, halfHeight] = [piece.size / 2, (piece.size / 2) * flatness(piece.name)];
  const shorter = 2 * halfHeight;
  pen.beginPath();
  for (const outline of outlinesOf(piece.name)) {
    outline.forEach(([x, y], i) => pen[i ? "lineTo" : "moveTo"](x * halfWidth, y * halfHeight));
    pen.closePath();
  }
  if (piece.outline) {
    Object.assign(pen, { strokeStyle: color, lineWidth: LINE * shorter, lineJoin: "round" });
    pen.stroke();
  } else {
    pen.fillStyle = color;
    pen.fill("evenodd");
  }
  if (piece.digit === null || shorter < WRITTEN_FROM) return;
  pen.rotate((-piece.turn * Math.PI) / 180); // digits stand upright
  const dark = piece.outline || brightness(color) > 120;
  Object.assign(pen, { fillStyle: dark ? "#0f0f0f" : "#f5f5f5", textAlign: "center", textBaseline: "middle" });
  pen.font = `${DIGIT * shorter}px sans-serif`;
  pen.fillText(String(piece.digit), 0, 0);
}

function brightness(color) {
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
  return 0.3 * red + 0.59 * green + 0.11 * blue;
}
