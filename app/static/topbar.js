// The bar on top: which model answers and on what device, and the page's own tools.

import { refs, setText } from "./dom.js";
import { mountPicker } from "./picker.js";
import { mountSave } from "./save/menu.js";
import { mountNotes } from "./notes.js";
import { mountListed } from "./listed.js";

export function mountTopbar(root, store, config, { watch, props, chosen, look, tools }) {
  const at = refs(root);
  mountPicker(root, store, config, { chosen, look });
  mountNotes(at.notes, store);
  mountListed(at, store);
  store.when("choose", chosen);
  const show = () => {
    const { value } = props;
    const now = store.state.model;
    if (!value?.chosen && value?.id !== now?.id) return; // word of a question to the model before
    store.set({ model: value ?? null });
    if (value?.back) chosen(value.back); // it could not be loaded
  };
  show();
  watch("value", show);
  store.on(["model", "status"], (state) => {
    const { model } = state;
    if (!model) return;
    setText(at.device, [model.device, model.dtype].filter(Boolean).join(" · "));
    at.dot.dataset.state = state.status.phase === "loading" ? "loading" : model.loaded ? "ready" : "idle";
    at.modelbox.title = [
      model.loaded ? "Model loaded." : "Loads at the first question.",
      ...Object.entries(model.pathways ?? {}).map(([k, v]) => `${k}: ${v}`),
    ].join("\n");
  });
  mountReach(at);
  for (const button of at.modes.children)
    button.addEventListener("click", () => store.set({ mode: button.dataset.mode, cursor: -1 }));
  store.on(["mode"], ({ mode }) => {
    for (const button of at.modes.children) button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
  });
  at.link.addEventListener("click", () => tools.copyLink(at.link));
  mountSave(/** @type {any} */ (at), store, tools.rows);
  at.theme.addEventListener("click", () => tools.flipTheme());
  store.on(["theme"], ({ theme }) => at.data.setAttribute("href", theme ? `./data?theme=${theme}` : "./data"));
  at.projector.addEventListener("click", () => tools.flipProjector());
  at.help.addEventListener("click", () => at.keys.showModal());
  at.keys.addEventListener("click", (event) => event.target === at.keys && at.keys.close());
  store.when("help", () => at.keys.showModal());
  store.when("projector", (detail) => at.projector.setAttribute("aria-pressed", String(detail)));
}

/** The link that skips to the question, and the menu that holds the tools of a narrow window. */
function mountReach(at) {
  at.skip.addEventListener("click", (event) => {
    event.preventDefault();
    /** @type {HTMLElement | null} */ (document.querySelector("#fx-question :is(textarea, input)"))?.focus();
  });
  const open = (on) => {
    at.menu.setAttribute("aria-expanded", String(on));
    at.tools.toggleAttribute("data-open", on);
  };
  at.menu.addEventListener("click", () => open(at.menu.getAttribute("aria-expanded") !== "true"));
  at.tools.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !at.tools.hasAttribute("data-open")) return;
    open(false);
    at.menu.focus();
  });
}
