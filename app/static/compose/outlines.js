// The shapes' outlines, as `fsr/world/outlines.py` has them, for the picture while it is dragged. Pure functions.

const INNER = { rectangle: 0.52, star: 0.45, diamond: 0.71, cross: 0.31, ring: 0.58 };
const RADIANS = Math.PI / 180;

const regular = (n, start) =>
  Array.from({ length: n }, (_, i) => [
    Math.cos(((i * 360) / n + start) * RADIANS),
    Math.sin(((i * 360) / n + start) * RADIANS),
  ]);
const box = (half) => [
  [-half, -half],
  [half, -half],
  [half, half],
  [-half, half],
];

function cross(arm) {
  const quarter = [
    [-arm, -1],
    [arm, -1],
    [arm, -arm],
  ];
  const turned = (points) => points.map(([x, y]) => [-y, x]);
  const [b, c, d] = [1, 2, 3].map((times) => Array.from({ length: times }).reduce(turned, quarter));
  return [...quarter, ...b, ...c, ...d];
}

/** Closed outlines in the unit square [-1, 1]^2; of two the second is a hole. @returns {number[][][]} */
export function outlinesOf(name) {
  const inner = INNER[name];
  if (name === "circle") return [regular(72, 0)];
  if (name === "ring") return [regular(72, 0), regular(72, 0).map(([x, y]) => [inner * x, inner * y])];
  if (name === "square") return [box(0.96)];
  if (name === "rectangle") return [box(1)];
  if (name === "hexagon") return [regular(6, 0)];
  if (name === "cross") return [cross(inner)];
  if (name === "triangle") return [[[0, -1], [1, 0.9], [-1, 0.9]]]; // prettier-ignore
  if (name === "diamond") return [[[0, -1], [inner, 0], [0, 1], [-inner, 0]]]; // prettier-ignore
  const [outer, notch] = [regular(5, -90), regular(5, -54).map(([x, y]) => [inner * x, inner * y])];
  return [outer.flatMap((point, i) => [point, notch[i]])];
}

/** Height over width before it is turned. */
export function flatness(name) {
  return name === "rectangle" ? INNER.rectangle : 1;
}
