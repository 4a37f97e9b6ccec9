// The Save menu of the top bar: a list of what can be taken away, each with the files it is written as.

import { el, fill, setText, toggle } from "../dom.js";

/**
 * One line of the menu. hint: a few words below its name. shown: whether there is such a thing in this view.
 * formats: what it is written as; `server`: Python draws it, one at a time.
 * @typedef {{ label: string, title: string, run: () => void, server?: boolean }} Format
 * @typedef {{ name: string, title: string, hint: (state: any) => string, shown: (state: any) => boolean, formats: Format[] }} Row
 */

const WATCHED = [
  ...["trace", "view", "mode", "layer", "drawing", "chosen", "arrange", "rowMethod", "budget", "fidelity"],
  ...["playback", "word", "tab", "part", "looked", "study"],
];

/**
 * at: button, box and text of the menu.
 * @param {{ save: HTMLElement, savebox: HTMLElement, saverows: HTMLElement, savestatus: HTMLElement }} at
 * @param {import("../store.js").Store} store
 * @param {Row[]} rows
 */
export function mountSave(at, store, rows) {
  const lines = rows.map((row) => line(row));
  fill(at.saverows, ...lines.map(({ node }) => node));
  const isOpen = () => !at.savebox.hidden;
  const draw = () => isOpen() && drawLines(at, lines, store.state);
  const open = (on, focus = true) => {
    toggle(at.savebox, on);
    at.save.setAttribute("aria-expanded", String(on));
    draw();
    if (focus) (on ? possible(at.saverows)[0] : at.save)?.focus();
  };
  at.save.addEventListener("click", () => open(!isOpen()));
  at.savebox.addEventListener("keydown", (event) => {
    const way = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    if (!way) return;
    event.preventDefault();
    const buttons = possible(at.saverows);
    const now = buttons.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement));
    buttons[(now + way + buttons.length) % buttons.length]?.focus();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && isOpen()) open(false);
  });
  document.addEventListener("pointerdown", (event) => {
    const inside = [at.save, at.savebox].some((node) => node.contains(/** @type {Node} */ (event.target)));
    if (isOpen() && !inside) open(false, false);
  });
  store.on(/** @type {any} */ (WATCHED), draw);
}

/** @param {HTMLElement} box @returns {HTMLButtonElement[]} */
function possible(box) {
  return /** @type {HTMLButtonElement[]} */ ([...box.querySelectorAll("li:not([hidden]) button")]);
}

function line(row) {
  const hint = el("span", { class: "fx-save-hint" });
  const buttons = row.formats.map((format) =>
    el(
      "button",
      {
        type: "button",
        title: format.title,
        "data-save": `${row.name}.${format.label.toLowerCase()}`,
        onclick: (event) => event.target.ariaDisabled !== "true" && format.run(),
      },
      format.label,
    ),
  );
  const words = el("span", { class: "fx-save-words" }, el("b", {}, row.title), hint);
  const node = el("li", { "data-row": row.name }, words, el("span", { class: "fx-save-formats" }, ...buttons));
  return { row, node, hint, buttons };
}

function drawLines(at, lines, state) {
  for (const { row, node, hint, buttons } of lines) {
    const shown = row.shown(state);
    toggle(node, shown);
    if (!shown) continue;
    setText(hint, row.hint(state));
    row.formats.forEach((format, i) => {
      buttons[i].ariaDisabled = String(Boolean(format.server && state.drawing)); // focus stays where it is
      buttons[i].setAttribute("aria-label", `${row.title} as ${format.label}`);
    });
  }
  const none = lines.every(({ node }) => node.hidden);
  setText(
    at.savestatus,
    none ? "There is nothing to save yet; ask first." : state.drawing ? "Being made; it downloads by itself." : "",
  );
}
