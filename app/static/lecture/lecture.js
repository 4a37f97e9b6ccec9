// Step through the method.

import { refs } from "../dom.js";
import { showWith } from "../tabs.js";

export function mountLecture(root, store) {
  const at = refs(root);
  showWith(store, "lecture", at.panel);
}
