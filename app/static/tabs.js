// The strip over the side column: Answer, Why, Words, Lecture. One of them is shown.

import { refs, setText, toggle } from "./dom.js";

export const TABS = ["answer", "why", "words", "lecture"];

export function mountTabs(root, store) {
  const at = refs(root);
  const buttons = /** @type {HTMLButtonElement[]} */ ([...at.tabs.children]);
  for (const button of buttons) button.addEventListener("click", () => store.set({ tab: button.dataset.tab }));
  at.tabs.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const now = buttons.indexOf(event.target);
    const to = way ? (now + way + buttons.length) % buttons.length : { Home: 0, End: buttons.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    buttons[to].focus();
    buttons[to].click();
  });
  store.on(["mode"], ({ mode }) => {
    const comparing = mode === "compare";
    setText(buttons[0], comparing ? "Overlap" : "Answer");
    buttons[0].setAttribute("aria-controls", comparing ? "fx-panel-overlap" : "fx-panel-answer");
  });
  store.on(["tab"], ({ tab }) => {
    for (const button of buttons) {
      const on = button.dataset.tab === tab;
      button.setAttribute("aria-selected", String(on));
      button.tabIndex = on ? 0 : -1;
    }
  });
}

/** Shows a panel while its tab is chosen. */
export function showWith(store, tab, panel) {
  store.on(["tab"], (state) => toggle(panel, state.tab === tab));
}
