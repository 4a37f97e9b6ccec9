// The Link button: the address of the view, copied.

import { linkTo } from "./export.js";
import { addNote } from "./notes.js";

const OWN = "This link holds everything but the picture.";

export async function copyLink(store, button) {
  const link = linkTo(store.state);
  try {
    await navigator.clipboard.writeText(link);
    button.dataset.label ??= button.textContent; // pressed again it says "Copied" already
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = button.dataset.label), 1200);
  } catch {
    window.prompt("Copy this link", link); // no clipboard without https or permission
  }
  const { pictures, example } = store.state;
  if (pictures.length && !example) addNote(store, { kind: "link", text: OWN });
}
