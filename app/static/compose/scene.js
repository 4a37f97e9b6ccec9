// A scene that a visitor composes: its text, which `fsr/world/scene.py` reads as strictly, and what can be done to it.
// Pure functions: a change makes a new scene.

const GROUND = /^([a-z]{4,8})-([0-9a-f]{6})(?:-([0-9a-f]{6})-(0|[1-9][0-9]{0,3}))?$/;
const PIECE =
  /^([a-z]{3,12})-(0|[1-9][0-9]{0,2})-(0|[1-9][0-9]{0,2})-([1-9][0-9]{1,2})(?:-c([a-z]{3,6}))?(?:-t([1-9][0-9]{0,2}))?(?:-d([0-9]))?(-o)?(-f)?(-m)?$/;
const VERSION = "1";
export const SHAPE = "shape";
export const PLAIN = "plain";
const [ICON_SIZE, SHAPE_SIZE] = [84, 64]; // of what is added
const BESIDE = 22; // how far a copy lies from what it is a copy of
const GAP = 6;

/**
 * x, y: its middle; size: its side before it is turned; pixels of the full picture. turn: degrees, clockwise.
 * @typedef {{ name: string, x: number, y: number, size: number, color: string, turn: number, digit: number | null,
 *   outline: boolean, fluent: boolean, mirrored: boolean }} Piece
 * @typedef {{ kind: string, first: string, second: string, seed: number }} Ground
 * @typedef {{ ground: Ground, pieces: Piece[] }} Scene
 */

/** Shape, or the kind of an icon; nothing where there is no such object. */
export function kindOf(config, name) {
  return Object.keys(config.kinds).find((kind) => config.kinds[kind].includes(name)) ?? "";
}

/** The scene of a text; null where it is none. @returns {Scene | null} */
export function readScene(text, config) {
  if (typeof text !== "string" || text.length > config.bounds.longest) return null;
  const [version, ground, ...parts] = text.split("~");
  if (version !== VERSION || ground === undefined || parts.length > config.bounds.most) return null;
  const found = GROUND.exec(ground);
  if (!found || !config.grounds.includes(found[1]) || (found[1] === PLAIN) !== (found[3] === undefined)) return null;
  const [, kind, first, second = "", seed = "0"] = found;
  const pieces = parts.map((part) => readPiece(part, config));
  return pieces.includes(null) ? null : { ground: { kind, first, second, seed: Number(seed) }, pieces };
}

function readPiece(text, config) {
  const found = PIECE.exec(text);
  if (!found) return null;
  const [, name, x, y, size, color = "", turn = "0", digit, outline, fluent, mirrored] = found;
  const piece = {
    name,
    x: Number(x),
    y: Number(y),
    size: Number(size),
    color,
    turn: Number(turn),
    digit: digit === undefined ? null : Number(digit),
    outline: Boolean(outline),
    fluent: Boolean(fluent),
    mirrored: Boolean(mirrored),
  };
  return isPiece(piece, config) ? piece : null;
}

/** @param {Piece} piece */
function isPiece(piece, config) {
  const { side, smallest, largest } = config.bounds;
  const kind = kindOf(config, piece.name);
  const { color, digit, outline, fluent, mirrored } = piece;
  if (!kind || Math.max(piece.x, piece.y) > side || piece.size < smallest || piece.size > largest || piece.turn >= 360)
    return false;
  if (kind !== SHAPE) return !color && digit === null && !outline;
  if (!Object.hasOwn(config.colors, color) || fluent || mirrored) return false;
  return (digit === null || config.writable.includes(piece.name)) && !(outline && piece.name === "ring");
}

/** @param {Scene} scene */
export function textOf({ ground, pieces }) {
  const { kind, first, second, seed } = ground;
  return [
    VERSION,
    kind === PLAIN ? `${kind}-${first}` : `${kind}-${first}-${second}-${seed}`,
    ...pieces.map(write),
  ].join("~");
}

/** @param {Piece} piece */
function write({ name, x, y, size, color, turn, digit, outline, fluent, mirrored }) {
  const more = [color && `c${color}`, turn ? `t${turn}` : "", digit === null ? "" : `d${digit}`];
  const flags = [outline && "o", fluent && "f", mirrored && "m"];
  return [name, x, y, size, ...[...more, ...flags].filter(Boolean)].join("-");
}

// -- changes

/** The scene with piece `at` changed, as far as it may be. @param {Scene} scene @returns {Scene} */
export function changed(scene, at, patch, config) {
  const pieces = scene.pieces.map((piece, i) => (i === at ? bounded({ ...piece, ...patch }, config) : piece));
  return { ...scene, pieces };
}

/** @returns {Piece} */
function bounded(piece, config) {
  const { side, smallest, largest } = config.bounds;
  const within = (value, low, high) => Math.min(high, Math.max(low, Math.round(value)));
  const turn = ((Math.round(piece.turn) % 360) + 360) % 360;
  const [x, y] = [within(piece.x, 0, side), within(piece.y, 0, side)];
  return { ...piece, x, y, size: within(piece.size, smallest, largest), turn };
}

/** With one more object, on top, where there is room or at a place; null where it is full. @returns {Scene | null} */
export function added(scene, name, config, { place = null, color = "red" } = {}) {
  if (scene.pieces.length >= config.bounds.most) return null;
  const shape = kindOf(config, name) === SHAPE;
  const size = shape ? SHAPE_SIZE : ICON_SIZE;
  const [x, y] = place ?? freePlace(scene, size, config);
  const plain = { turn: 0, digit: null, outline: false, fluent: false, mirrored: false };
  const piece = bounded({ name, x, y, size, color: shape ? color : "", ...plain }, config);
  return { ...scene, pieces: [...scene.pieces, piece] };
}

/** The place nearest to the middle where an object of this size touches no other; the middle where there is none. */
export function freePlace({ pieces }, size, { bounds: { side } }) {
  const [from, to, middle] = [size / 2 + 4, side - size / 2 - 4, side / 2];
  const places = [];
  for (let y = from; y <= to; y += 12) for (let x = from; x <= to; x += 12) places.push([x, y]);
  const far = ([x, y]) => Math.hypot(x - middle, y - middle);
  const free = ([x, y]) =>
    pieces.every((p) => Math.max(Math.abs(x - p.x), Math.abs(y - p.y)) >= (size + p.size) / 2 + GAP);
  const found = places.filter(free).sort((a, b) => far(a) - far(b))[0] ?? [middle, middle];
  return found.map(Math.round);
}

/** @param {Scene} scene @returns {Scene} */
export function without(scene, at) {
  return { ...scene, pieces: scene.pieces.filter((_, i) => i !== at) };
}

/** With a copy of piece `at` beside it, on top; null where it is full. @param {Scene} scene @returns {Scene | null} */
export function doubled(scene, at, config) {
  const piece = scene.pieces[at];
  if (!piece || scene.pieces.length >= config.bounds.most) return null;
  const { side } = config.bounds;
  const by = (v) => (v + BESIDE <= side ? BESIDE : -BESIDE);
  const copy = bounded({ ...piece, x: piece.x + by(piece.x), y: piece.y + by(piece.y) }, config);
  return { ...scene, pieces: [...scene.pieces, copy] };
}

/** Piece `at` one step to the front (1) or to the back (-1): [scene, where it is now]. @returns {[Scene, number]} */
export function moved(scene, at, way) {
  const to = at + way;
  if (to < 0 || to >= scene.pieces.length) return [scene, at];
  const pieces = [...scene.pieces];
  [pieces[at], pieces[to]] = [pieces[to], pieces[at]];
  return [{ ...scene, pieces }, to];
}

/** What it is called. @param {Piece} piece */
export function called({ name, color }) {
  return color ? `${color} ${name}` : name;
}

/** Another colour a little darker or lighter than one, for grounds of two. @param {string} first "rrggbb" */
export function beside(first) {
  const parts = [0, 2, 4].map((at) => parseInt(first.slice(at, at + 2), 16));
  const by = parts.reduce((sum, v) => sum + v, 0) > 380 ? -34 : 34;
  return parts
    .map((v) =>
      Math.min(255, Math.max(0, v + by))
        .toString(16)
        .padStart(2, "0"),
    )
    .join("");
}
