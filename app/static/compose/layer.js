// The objects of a scene as handles over the picture: drag, scale, turn, and everything by keyboard.

import { el, fill } from "../dom.js";
import { called } from "./scene.js";
import { flatness } from "./outlines.js";

const [STEP, FAR] = [2, 14]; // pixels of the full picture that an arrow moves, alone and with Shift: 14 is a token
const [GROW, TURN, SNAP] = [1.08, 5, 4];
const HANDLE = 26; // pixels of the screen from its edge to the middle of the handle that turns it
const DRAG_FROM = 3; // pixels of the screen: less is a tap
const HELP =
  "Arrow keys move it, with Shift by a token. Plus and minus scale it, square brackets turn it. " +
  "D duplicates it, Delete removes it, Page up and Page down bring it to the front or the back.";

/**
 * on: what is to happen. select(at); change(at, patch, done): done where a change is over; remove, double, move(at, way);
 * add(name, place): something was dropped.
 * @param {any} config
 * @param {{ select: (at: number) => void, change: (at: number, patch: object, done: boolean) => void,
 *   remove: (at: number) => void, double: (at: number) => void, move: (at: number, way: number) => void,
 *   add: (name: string, place: number[]) => void }} on
 */
export function createLayer(config, on) {
  const canvas = el("canvas", { class: "fx-compose-preview", "aria-hidden": "true" });
  const objects = el("div", { class: "fx-compose-objects" });
  const help = el("p", { class: "fx-sr", id: "fx-compose-help" }, HELP);
  const root = el("div", { class: "fx-compose", role: "group", "aria-label": "Objects of your scene" });
  fill(root, canvas, objects, help);
  const { side } = config.bounds;
  let scene = { ground: null, pieces: [] };
  let selected = -1;
  let drag = null;

  const nodes = () => /** @type {HTMLElement[]} */ ([...objects.children]);

  function render(now, at) {
    [scene, selected] = [now, at];
    const pixel = side / (root.clientWidth || side); // read before anything is written: a drag renders often
    while (objects.children.length > scene.pieces.length) objects.lastElementChild?.remove();
    while (objects.children.length < scene.pieces.length) objects.append(node());
    scene.pieces.forEach((piece, i) => {
      const each = nodes()[i];
      const share = (v) => `${(100 * v) / side}%`;
      Object.assign(each.style, {
        left: share(piece.x),
        top: share(piece.y),
        width: share(piece.size),
        height: share(piece.size * flatness(piece.name)),
        transform: `translate(-50%, -50%) rotate(${piece.turn}deg)`,
      });
      each.dataset.name = piece.name;
      each.setAttribute("aria-label", labelOf(piece, i, scene.pieces.length));
      each.setAttribute("aria-pressed", String(i === selected));
      const handle = /** @type {HTMLElement} */ (each.firstElementChild);
      handle.dataset.way = turnsAbove(piece, side, pixel) ? "turn" : "turn-below";
    });
  }

  function node() {
    return el(
      "div",
      {
        class: "fx-object",
        role: "button",
        tabindex: "0",
        "aria-describedby": help.id,
        onkeydown: keyed,
        onfocus: focused,
      },
      el("i", { class: "fx-handle fx-handle-turn", "data-way": "turn" }),
      el("i", { class: "fx-handle fx-handle-size", "data-way": "size" }),
    );
  }

  const indexOf = (target) => nodes().indexOf(target.closest?.(".fx-object"));
  const focused = (event) => drag || on.select(indexOf(event.target));

  // -- pointer

  const placeOf = (event) => {
    const box = root.getBoundingClientRect();
    return [((event.clientX - box.left) * side) / box.width, ((event.clientY - box.top) * side) / box.height];
  };

  root.addEventListener("pointerdown", (event) => {
    const target = /** @type {HTMLElement} */ (event.target);
    const at = indexOf(target);
    if (event.button) return;
    if (at < 0) return on.select(-1);
    const piece = scene.pieces[at];
    const [x, y] = placeOf(event);
    const way = target.dataset.way ?? "move";
    drag = { at, way, piece, x, y, from: [event.clientX, event.clientY], id: event.pointerId, moved: false };
    root.setPointerCapture(event.pointerId);
    on.select(at);
    nodes()[at].focus({ preventScroll: true });
    event.preventDefault();
  });
  root.addEventListener("pointermove", (event) => {
    if (!drag || event.pointerId !== drag.id) return;
    const far = Math.hypot(event.clientX - drag.from[0], event.clientY - drag.from[1]);
    if (!drag.moved && far < DRAG_FROM) return;
    drag.moved = true;
    on.change(drag.at, dragged(drag, placeOf(event)), false);
  });
  const ended = (event) => {
    if (!drag || event.pointerId !== drag.id) return;
    const { at, moved } = drag;
    drag = null;
    if (moved) on.change(at, {}, true);
  };
  root.addEventListener("pointerup", ended);
  root.addEventListener("pointercancel", ended);

  // -- what is dragged here from the palette

  root.addEventListener(
    "dragover",
    (event) => event.dataTransfer?.types.includes("text/fsr-object") && event.preventDefault(),
  );
  root.addEventListener("drop", (event) => {
    const name = event.dataTransfer?.getData("text/fsr-object");
    if (!name) return;
    event.preventDefault();
    event.stopPropagation();
    on.add(name, placeOf(event));
  });

  // -- keyboard

  function keyed(event) {
    const at = indexOf(event.target);
    const piece = scene.pieces[at];
    const act = event.ctrlKey || event.metaKey || event.altKey || !piece ? null : actionOf(event, piece, at, on);
    if (!act) return;
    event.preventDefault();
    event.stopPropagation(); // square brackets are the budget's elsewhere
    act();
  }

  return {
    root,
    canvas,
    render,
    focus: (at) => nodes()[at]?.focus({ preventScroll: true }),
    get dragging() {
      return Boolean(drag?.moved);
    },
  };
}

function actionOf(event, piece, at, on) {
  const by = event.shiftKey ? FAR : STEP;
  const change = (patch) => () => on.change(at, patch, true);
  return {
    ArrowLeft: change({ x: piece.x - by }),
    ArrowRight: change({ x: piece.x + by }),
    ArrowUp: change({ y: piece.y - by }),
    ArrowDown: change({ y: piece.y + by }),
    "+": change({ size: larger(piece.size) }),
    "=": change({ size: larger(piece.size) }),
    "-": change({ size: smaller(piece.size) }),
    "[": change({ turn: piece.turn - TURN }),
    "]": change({ turn: piece.turn + TURN }),
    Delete: () => on.remove(at),
    Backspace: () => on.remove(at),
    d: () => on.double(at),
    PageUp: () => on.move(at, 1),
    PageDown: () => on.move(at, -1),
    Escape: () => on.select(-1),
  }[event.key];
}

export function larger(size) {
  return Math.max(size + 1, size * GROW);
}

export function smaller(size) {
  return Math.min(size - 1, size / GROW);
}

/** Whether the handle that turns a piece lies on the picture at its head; else it hangs at its foot. pixel: of the scene,
 *  for one of the screen. @param {any} piece @param {number} side @param {number} pixel */
export function turnsAbove({ name, x, y, size, turn }, side, pixel) {
  const away = (size * flatness(name)) / 2 + HANDLE * pixel;
  const angle = (turn * Math.PI) / 180;
  const inside = (v) => v >= 8 * pixel && v <= side - 8 * pixel;
  return inside(x + away * Math.sin(angle)) && inside(y - away * Math.cos(angle));
}

/** What a drag that began at drag.x, drag.y makes of its piece. Pure. @param {any} drag @param {number[]} to */
export function dragged({ way, piece, x, y }, [toX, toY]) {
  if (way === "move") return { x: piece.x + toX - x, y: piece.y + toY - y };
  const [wide, high] = [toX - piece.x, toY - piece.y];
  if (way === "size") {
    const before = Math.max(1, Math.hypot(x - piece.x, y - piece.y));
    return { size: (piece.size * Math.hypot(wide, high)) / before };
  }
  const from = way === "turn" ? 450 : 630; // from its head, or from its foot
  const turn = (Math.round((Math.atan2(high, wide) * 180) / Math.PI) + from) % 360;
  const upright = Math.round(turn / 90) * 90;
  return { turn: Math.abs(turn - upright) <= SNAP ? upright : turn };
}

function labelOf(piece, i, of) {
  const turned = piece.turn ? `, turned by ${piece.turn} degrees` : "";
  return `${called(piece)}, object ${i + 1} of ${of}, at ${piece.x}, ${piece.y}, size ${piece.size}${turned}`;
}
