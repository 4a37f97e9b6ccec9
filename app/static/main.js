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
import { mountDrop } from "./own/files.js";
import { mountOwn } from "./own/own.js";
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
    own: ({ element }) => mountOwn(element, page),
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
