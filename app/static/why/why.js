// Which tokens the answer rests on.

import { refs } from "../dom.js";
import { showWith } from "../tabs.js";

export function mountWhy(root, store) {
  const at = refs(root);
  showWith(store, "why", at.panel);
}
