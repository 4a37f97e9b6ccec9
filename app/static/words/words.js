// Where each word looked.

import { refs } from "../dom.js";
import { showWith } from "../tabs.js";

export function mountWords(root, store) {
  const at = refs(root);
  showWith(store, "words", at.panel);
}
