// Strokes of a pen as plain values; how they are painted needs a 2D context alone.

/** Of a pen; words that a model may be asked about. */
export const COLORS = {
  black: "#1b1d20",
  white: "#ffffff",
  red: "#d62828",
  orange: "#f08c00",
  yellow: "#f5d000",
  green: "#2b9348",
  blue: "#1d5fd1",
  purple: "#7b2cbf",
};
/** Of a line, in shares of the sheet's longer side. */
export const WIDTHS = { thin: 0.008, medium: 0.022, thick: 0.06 };
const LEAST_SIDE = 672; // pixels of the longer side: a stroke on a small picture is not made of squares
const MOST_STROKES = 2000;
const SHORT = 0.01; // pixels of a dot: a line of no length is not painted

/** @typedef {{ color: string | null, width: number, points: [number, number][] }} Stroke color null: an eraser */

/** The sheet for a picture of this size, or an empty one. @param {{ width: number, height: number } | null} picture */
export function sheetOf(picture) {
  if (!picture) return { width: LEAST_SIDE, height: LEAST_SIDE };
  const scale = Math.max(1, LEAST_SIDE / Math.max(picture.width, picture.height));
  return { width: Math.round(picture.width * scale), height: Math.round(picture.height * scale) };
}

/** @param {Stroke[]} strokes */
export function begun(strokes, tool, sheet, point) {
  const width = WIDTHS[tool.width] * Math.max(sheet.width, sheet.height);
  const stroke = { color: tool.erases ? null : COLORS[tool.color], width, points: [point] };
  return [...strokes.slice(-(MOST_STROKES - 1)), stroke];
}

/** The last stroke goes on to this point; the same strokes where it does not move. @param {Stroke[]} strokes */
export function drawnTo(strokes, point) {
  const last = strokes.at(-1);
  const [x, y] = last?.points.at(-1) ?? point;
  if (!last || Math.hypot(point[0] - x, point[1] - y) < 0.5) return strokes;
  return [...strokes.slice(0, -1), { ...last, points: [...last.points, point] }];
}

/** Where a pointer is on the sheet, from where it is on the screen. */
export function pointOn(sheet, box, event) {
  return [
    ((event.clientX - box.left) * sheet.width) / box.width,
    ((event.clientY - box.top) * sheet.height) / box.height,
  ];
}

/** @param {CanvasRenderingContext2D} ctx @param {Stroke} stroke @param {number} from which of its points is first */
export function paintStroke(ctx, { color, width, points }, from = 0) {
  ctx.globalCompositeOperation = color === null ? "destination-out" : "source-over";
  ctx.strokeStyle = color ?? "#000";
  Object.assign(ctx, { lineWidth: width, lineCap: "round", lineJoin: "round" });
  ctx.beginPath();
  const [first, ...rest] = points.slice(from);
  ctx.moveTo(...first);
  for (const [x, y] of rest.length ? rest : [[first[0] + SHORT, first[1]]]) ctx.lineTo(x, y);
  ctx.stroke();
}

/** @param {Stroke[]} strokes */
export function paintAll(ctx, sheet, strokes) {
  ctx.clearRect(0, 0, sheet.width, sheet.height);
  for (const stroke of strokes) paintStroke(ctx, stroke);
}
