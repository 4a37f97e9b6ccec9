// How long the question is, once that matters: what is too long is refused, never cut.

import { refs, setText, toggle } from "./dom.js";
import { mountUnlike } from "./own/unlike.js";

const NEAR = 0.8; // of what is allowed

/** Words about the length of a question; nothing while it is far from too long. */
export function lengthText(length, most) {
  if (length > most)
    return `${length} characters: ${length - most} more than the ${most} that are allowed. Shorten it.`;
  return length >= NEAR * most ? `${length} of ${most} characters` : "";
}

export function mountAsking(root, store, config) {
  const at = refs(root);
  const box = () => /** @type {HTMLTextAreaElement | null} */ (document.querySelector("#fx-question textarea"));
  const show = () => {
    const text = lengthText((box()?.value ?? "").trim().length, config.maxQuestion);
    setText(at.length, text);
    toggle(at.length, Boolean(text));
    at.length.dataset.over = String(text.includes("allowed"));
  };
  document.addEventListener("input", (event) => event.target === box() && show());
  mountUnlike(at.unlike, store, config);
  store.on(["about", "status"], show); // an example brings its question along
}
