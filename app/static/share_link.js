// The Link button: the address of the view, copied.

import { linkTo } from "./export.js";
import { addNote } from "./notes.js";

const OWN = "This link holds everything but the picture: who opens it is asked to upload it.";
const FILE = "One file holds it all, and opens without a network, or here again:";

/** save: writes the view as one file, picture included. */
export async function copyLink(store, button, save) {
  const link = linkTo(store.state);
  try {
    await navigator.clipboard.writeText(link);
    button.dataset.label ??= button.textContent; // pressed again it says "Copied" already
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = button.dataset.label), 1200);
  } catch {
    window.prompt("Copy this link", link); // no clipboard without https or permission
  }
  const { pictures, example, source, drawn, trace } = store.state;
  if (!pictures.length || example || source || drawn) return;
  const offer = trace ? { label: "Save as a page", perform: save } : undefined; // before a question there is no view
  addNote(store, { kind: "link", text: offer ? `${OWN} ${FILE}` : OWN, offer });
}
