// A pen on the picture, or on an empty sheet: a dialog whose drawing becomes a picture of the visitor's own.

import { el, fill, setText } from "../dom.js";
import { COLORS, WIDTHS, begun, drawnTo, paintAll, paintStroke, pointOn, sheetOf } from "./strokes.js";

const HINT = "Draw with mouse, finger or pen. Ctrl+Z takes the last stroke back, Escape leaves, and the drawing waits.";

/** Returns what opens it: with a picture of the page, or null for an empty sheet. @param {(file: File) => void} use */
export function mountPen(use) {
  const tool = { color: "red", width: "medium", erases: false };
  let sheet = sheetOf(null);
  let strokes = [];
  let on = /** @type {string | null} */ (null); // the picture that they wait for
  const base = /** @type {HTMLImageElement} */ (el("img", { alt: "", draggable: "false" }));
  const layer = /** @type {HTMLCanvasElement} */ (el("canvas", { "aria-label": "Drawing" }));
  const paper = el("div", { class: "fx-pen-paper" }, base, layer);
  const ctx = () => /** @type {CanvasRenderingContext2D} */ (layer.getContext("2d"));
  const undo = button("Undo", () => change(strokes.slice(0, -1)));
  const clear = button("Clear", () => change([]));
  const done = button("Use this drawing", () => finish(), "fx-pen-use");
  const said = el("p", { class: "fx-pen-hint", role: "status" }, HINT);
  const tools = el("div", { class: "fx-pen-tools" });
  const dialog = /** @type {HTMLDialogElement} */ (
    el(
      "dialog",
      { class: "fx-pen", "aria-label": "Draw" },
      tools,
      paper,
      said,
      el(
        "div",
        { class: "fx-pen-ends" },
        button("Cancel", () => ((on = null), dialog.close())),
        done,
      ),
    )
  );
  document.body.append(dialog);

  const drawTools = () => {
    const pick = (patch) => () => (Object.assign(tool, patch), drawTools());
    const colors = Object.entries(COLORS).map(([name, color]) => {
      const node = choice(name, !tool.erases && tool.color === name, pick({ color: name, erases: false }));
      node.style.setProperty("--fx-ink", color);
      return node;
    });
    const widths = Object.keys(WIDTHS).map((name) => choice(name, tool.width === name, pick({ width: name })));
    const focused = /** @type {HTMLElement} */ (document.activeElement)?.dataset.name;
    fill(
      tools,
      el("div", { class: "fx-pen-colors", role: "group", "aria-label": "Color" }, ...colors),
      el("div", { class: "fx-pen-widths", role: "group", "aria-label": "Width" }, ...widths),
      choice("eraser", tool.erases, pick({ erases: !tool.erases })),
      undo,
      clear,
    );
    if (focused) /** @type {HTMLElement | null} */ (tools.querySelector(`[data-name="${focused}"]`))?.focus();
  };
  const change = (next) => {
    strokes = next;
    paintAll(ctx(), sheet, strokes);
    drawEnds();
  };
  const drawEnds = () => {
    for (const node of [undo, clear]) node.disabled = !strokes.length;
    done.disabled = !strokes.some((stroke) => stroke.color !== null);
  };
  const finish = async () => {
    const blob = await flattened(base, layer, sheet);
    if (!blob) return setText(said, "The browser could not make a picture of this drawing.");
    on = null;
    dialog.close();
    use(new File([blob], "drawing.png", { type: "image/png" }));
  };
  layer.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    event.preventDefault();
    layer.setPointerCapture(event.pointerId);
    strokes = begun(strokes, tool, sheet, pointOn(sheet, layer.getBoundingClientRect(), event));
    paintStroke(ctx(), strokes.at(-1));
    drawEnds();
  });
  layer.addEventListener("pointermove", (event) => {
    if (!layer.hasPointerCapture(event.pointerId)) return;
    const next = drawnTo(strokes, pointOn(sheet, layer.getBoundingClientRect(), event));
    if (next === strokes) return;
    strokes = next;
    paintStroke(ctx(), strokes.at(-1), strokes.at(-1).points.length - 2);
  });
  dialog.addEventListener("keydown", (event) => {
    event.stopPropagation(); // the page's own keys rest
    if (event.key.toLowerCase() !== "z" || !(event.ctrlKey || event.metaKey) || !strokes.length) return;
    event.preventDefault();
    change(strokes.slice(0, -1));
  });

  return (picture) => {
    const kept = on === (picture?.file.url ?? "") ? strokes : [];
    on = picture?.file.url ?? "";
    sheet = sheetOf(picture);
    Object.assign(layer, sheet);
    base.hidden = !picture;
    if (picture) base.src = picture.file.url;
    else base.removeAttribute("src");
    paper.style.setProperty("--fx-ratio", String(sheet.width / sheet.height));
    setText(said, HINT);
    drawTools();
    change(kept);
    dialog.showModal();
  };
}

/** The picture, or white, with the strokes on it, as PNG. @returns {Promise<Blob | null>} */
async function flattened(base, layer, sheet) {
  const whole = Object.assign(document.createElement("canvas"), sheet);
  const ctx = /** @type {CanvasRenderingContext2D} */ (whole.getContext("2d"));
  ctx.fillStyle = "#ffffff";
  ctx.fillRect(0, 0, sheet.width, sheet.height);
  if (!base.hidden) {
    await base.decode();
    ctx.drawImage(base, 0, 0, sheet.width, sheet.height);
  }
  ctx.drawImage(layer, 0, 0);
  return new Promise((resolve) => whole.toBlob(resolve, "image/png"));
}

function choice(name, pressed, onclick) {
  return el(
    "button",
    { type: "button", "data-name": name, title: name, "aria-pressed": String(pressed), onclick },
    name,
  );
}

function button(text, onclick, name = "") {
  return /** @type {HTMLButtonElement} */ (el("button", { type: "button", class: name || null, onclick }, text));
}
