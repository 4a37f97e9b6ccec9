// Example scenes: recorded answers appear at once; asking runs the model on them.

import { el, fill, refs, setText } from "./dom.js";

export function mountGallery(root, store, config, { watch, props, pick }) {
  const at = refs(root);
  const show = () => fill(at.tiles, ...(props.value?.examples ?? []).map((e) => tile(e, pick)));
  show();
  watch("value", show);
  store.on(["model"], ({ model }) => setText(at.note, config.models.find((m) => m.id === model?.id)?.note ?? ""));
  store.on(["example", "about"], (state) => {
    for (const node of at.tiles.children) node.setAttribute("aria-pressed", String(node.dataset.example === state.example));
  });
}

function tile(example, pick) {
  return el("button", { type: "button", class: "fx-tile", "data-example": example.id, title: example.question, "aria-label": `${example.title}: ${example.question}`, onclick: () => pick(example.id) },
    el("img", { src: example.picture.url, alt: "", loading: "lazy", draggable: "false" }), el("span", {}, example.title));
}
