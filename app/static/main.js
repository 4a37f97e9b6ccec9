// The one global: Gradio's HTML components call its mounts, in any order, with their doors to the server.

import { createPage, flipProjector, flipTheme } from "./page.js";
import { mountStage } from "./stage.js";
import { mountRail } from "./rail.js";
import { mountAnswers } from "./answers.js";
import { mountAsking } from "./asking.js";
import { mountGallery } from "./gallery.js";
import { mountDrawer } from "./drawer.js";
import { mountTopbar } from "./topbar.js";
import { mountCompare } from "./compare.js";
import { mountOverlap } from "./overlap.js";
import { mountFidelity } from "./fidelity.js";
import { mountFilm } from "./film.js";
import { copyLink } from "./share_link.js";
import { drawPicture } from "./save/picture.js";
import { saveView } from "./save/opened.js";
import { saveRows } from "./save/rows.js";
import { mountCompose } from "./compose/compose.js";
import { mountTabs } from "./tabs.js";
import { mountWhy } from "./why/why.js";
import { mountWords } from "./words/words.js";
import { mountLecture } from "./lecture/lecture.js";
import { mountGuide } from "./guide/guide.js";
import * as life from "./life.js";
import * as plan from "./plan.js";
import * as views from "./views.js";
import * as format from "./format.js";

export function start(config) {
  const page = createPage(config);
  const { store } = page;
  let stage = null;

  /** Panels that take records: the first one, then every new one. A record that was taken is let go of, because
   *  Gradio copies a component's value at every step of a running answer. */
  const listen = ({ props, watch }, receive) => {
    const take = () => {
      const { value } = props;
      if (!value || value.taken) return;
      receive(value);
      props.value = { taken: value.run };
    };
    take();
    watch("value", take);
  };

  return {
    page,
    plan,
    format,
    life,
    views,
    exportCanvas: () => drawPicture(store.state, stage),
    stage(io) {
      stage = mountStage(io.element, store);
      listen(io, page.receive);
      store.when("look", io.look);
      store.when(
        "released",
        () => /** @type {HTMLInputElement} */ (document.querySelector("#fx-again input"))?.checked && io.again(),
      );
      mountDrop(stage.at);
    },
    compare: ({ element }) => mountCompare(element, store, config, () => stage),
    overlap: ({ element }) => mountOverlap(element, store, config),
    film: ({ element }) => mountFilm(element, store),
    fidelity(io) {
      mountFidelity(io.element, store, config, io);
      listen(io, page.learn);
    },
    rail: ({ element }) => mountRail(element, store, config),
    asking: ({ element }) => mountAsking(element, store, config),
    answers(io) {
      mountAnswers(io.element, store, config, page.setBudget);
      listen(io, page.hear);
    },
    compose: (io) => (page.compose = mountCompose(io.element, store, config, io, () => stage).open),
    tabs: ({ element }) => mountTabs(element, store),
    why: (io) => listen(io, mountWhy(io.element, page, config, io)),
    words: (io) => listen(io, mountWords(io.element, store, config, page, io)),
    lecture: ({ element }) => mountLecture(element, store, config),
    guide: ({ element }) => mountGuide(element, store),
    gallery(io) {
      mountGallery(io.element, store, config, io);
      store.when("open", io.open);
    },
    drawer: (io) =>
      mountDrawer(io.element, store, config, io.replan, () => ((page.forced = store.state.forced), ++page.look)),
    topbar: (io) =>
      mountTopbar(io.element, store, config, {
        ...io,
        tools: {
          copyLink: (button) => copyLink(store, button, () => saveView(store, io.figure, "page", "html")),
          rows: saveRows({ store, config, stage: () => stage, figure: io.figure, clip: io.exportClip }),
          flipTheme: () => flipTheme(store),
          flipProjector: () => flipProjector(store),
        },
      }),
  };
}

/** A picture dropped on the stage goes the way of the upload button, with its limits. */
function mountDrop(at) {
  const isFile = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  at.frame.addEventListener("dragover", (event) => {
    if (!isFile(event)) return;
    event.preventDefault();
    at.drop.hidden = false;
  });
  at.frame.addEventListener("dragleave", (event) => !at.frame.contains(event.relatedTarget) && (at.drop.hidden = true));
  at.frame.addEventListener("drop", (event) => {
    event.preventDefault();
    at.drop.hidden = true;
    const file = event.dataTransfer.files[0];
    if (file) hand(file, 100);
  });
}

/** Give a file to the upload button, which may not be there yet in the page's first moments. */
function hand(file, tries) {
  /** @type {HTMLInputElement | null} */
  const input = document.querySelector("#fx-choose input[type=file]");
  if (!input) {
    if (tries > 0) setTimeout(() => hand(file, tries - 1), 100);
    return;
  }
  const carried = new DataTransfer();
  carried.items.add(file);
  input.files = carried.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
}
