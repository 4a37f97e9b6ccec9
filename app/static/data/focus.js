// Redrawing a group of buttons without taking the focus from who is among them.

import { fill } from "../dom.js";

/** Fills `node` anew; the button that had the focus, told by its data-`name`, has it again. */
export function refill(node, name, ...children) {
  const focused = /** @type {HTMLElement | null} */ (document.activeElement);
  const held = node.contains(focused) ? focused.dataset[name] : undefined;
  fill(node, ...children);
  if (held !== undefined) [...node.querySelectorAll("button")].find((b) => b.dataset[name] === held)?.focus();
}
