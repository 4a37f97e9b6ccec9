// Beside the upload button: a picture from the clipboard, a pen on the picture, an empty sheet.

import { refs } from "../dom.js";
import { pictureOf } from "../views.js";
import { mountPen } from "../pen/pen.js";
import { hand, mountPaste } from "./files.js";

/** @param {{ store: import("../store.js").Store, keepsQuestion: boolean }} page */
export function mountOwn(root, page) {
  const { store } = page;
  const at = refs(root);
  const open = mountPen((file) => {
    page.keepsQuestion = true; // a drawing is asked what the picture was asked
    hand(file);
  });
  mountPaste(at.paste, store);
  at.draw.addEventListener("click", () => open(pictureOf(store.state, store.state.frame)));
  at.sheet.addEventListener("click", () => open(null));
  store.on(["pictures"], ({ pictures }) => (at.draw.disabled = !pictures.length));
}
