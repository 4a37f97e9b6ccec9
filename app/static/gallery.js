// Example scenes: recorded answers appear at once; asking runs the model on them. Where several models were recorded,
// their answers can be looked at without the model.

import { el, fill, refs, setText, toggle } from "./dom.js";

export function mountGallery(root, store, config, { watch, props, pick }) {
  const at = refs(root);
  const recordings = () => props.value?.recordings ?? [];
  const chosen = () => recordings().find((r) => r.name === store.state.recording);
  const show = () => {
    fill(at.tiles, ...(props.value?.examples ?? []).map((e) => tile(e, (id) => pick(id, store.state.recording))));
    toggle(
      at.recordings,
      recordings().some((r) => r.name),
    );
    fill(at.recording, ...recordings().map((r) => el("option", { value: r.name }, `${r.title}, ${r.on}, ${r.device}`)));
  };
  show();
  at.recording.addEventListener("change", () => {
    const one = recordings().find((r) => r.name === at.recording.value);
    pick(one.examples.includes(store.state.example) ? store.state.example : one.examples[0], one.name);
  });
  store.on(["recording", "about"], ({ recording }) => {
    at.recording.value = recording;
    const known = recording ? chosen()?.examples : null; // the embedded models answer the others
    for (const node of at.tiles.children)
      node.classList.toggle("fx-unrecorded", Boolean(known) && !known.includes(node.dataset.example));
  });
  store.when("example", (id) => pick(id, store.state.recording));
  watch("value", show);
  store.on(["recording", "example", "about"], (state) => {
    const story = state.recording ? "" : (props.value?.examples ?? []).find((e) => e.id === state.example)?.story;
    setText(at.story, story ?? ""); // it is about what the embedded models answered
    toggle(at.story, Boolean(story));
  });
  store.on(["model"], ({ model }) => setText(at.note, config.models.find((m) => m.id === model?.id)?.note ?? ""));
  store.on(["example", "about"], (state) => {
    for (const node of at.tiles.children)
      node.setAttribute("aria-pressed", String(node.dataset.example === state.example));
  });
}

function tile(example, pick) {
  return el(
    "button",
    {
      type: "button",
      class: "fx-tile",
      "data-example": example.id,
      title: example.question,
      "aria-label": `${example.title}: ${example.question}`,
      onclick: () => pick(example.id),
    },
    el("img", { src: example.picture.url, alt: "", loading: "lazy", draggable: "false" }),
    example.clip ? el("i", { class: "fx-tile-clip", title: "a clip" }) : null,
    el("span", {}, example.title),
  );
}
