// What the Save menu offers: one row a thing. A new one is one more function here, in the list at the end.

import { entriesOf, iou } from "../comparing.js";
import { linkTo } from "../export.js";
import { curvesOf } from "../fidelity.js";
import { savedOf } from "../film.js";
import { saveView } from "./opened.js";
import { savePng } from "./picture.js";
import { LAYERS, measuredOf } from "../why/layer.js";
import { wordScale } from "../words/scale.js";

/**
 * store, config; stage: gives the stage; figure, clip: Python draws a figure, or a film of a clip, and it downloads.
 * @typedef {{ store: any, config: any, stage: () => any, figure: (detail: any) => void, clip: (detail: any) => void }} Doors
 * @typedef {import("./menu.js").Row} Row
 */

const DRAWN = { png: "for documents", svg: "vectors, for slides and web pages", pdf: "vectors, for papers" };

/** @param {Doors} doors @returns {Row} */
function picture({ store, stage, figure }) {
  const send = (format) => () => {
    store.set({ drawing: true });
    figure({ figure: "picture", format, ...pictureOf(store.state) });
  };
  return {
    name: "picture",
    title: "Picture",
    hint: hintOf,
    shown: (state) => Boolean(state.trace) && state.mode !== "compare",
    formats: [
      { label: "PNG", title: "a picture of what is on screen", run: () => savePng(store.state, stage()) },
      { label: "SVG", title: DRAWN.svg, run: send("svg"), server: true },
      { label: "PDF", title: DRAWN.pdf, run: send("pdf"), server: true },
    ],
  };
}

/** Python draws roles and scores; a word's map, a step of the playback and what was measured are drawn here alone. */
function hintOf(state) {
  const measured = LAYERS[state.layer] && measuredOf(state);
  if (wordScale(state) || state.playback !== null || measured)
    return "PNG as on screen; SVG and PDF with every token’s role";
  return state.layer === "roles" ? "as on screen, with the question and both answers" : "as on screen, with its scale";
}

/** @param {Doors} doors @returns {Row} */
function film({ store, config, clip }) {
  const made = config.film === "H.264" ? "MP4" : "WebM";
  const send = (kind) => () => {
    store.set({ drawing: true });
    clip(savedOf(store.state, kind));
  };
  return {
    name: "film",
    title: "Clip",
    hint: () => "every frame with its tokens, as a film or side by side",
    shown: (state) => Boolean(state.trace?.clip && state.view) && state.mode !== "compare",
    formats: [
      { label: made, title: `A film, as ${config.film}`, run: send("mp4"), server: true },
      { label: "PNG", title: "All frames on one sheet", run: send("png"), server: true },
    ],
  };
}

/** @param {Doors} doors @param {string} kind @param {string} title @param {string} hint @returns {Row} */
function compared({ store, config, figure }, kind, title, hint) {
  const send = (format) => () => {
    store.set({ drawing: true });
    figure({ figure: kind, format, ...figureOf(store.state, config) });
  };
  const many = (state) => entriesOf(state, config).filter((e) => e.view).length > 1;
  return {
    name: kind,
    title,
    hint: () => hint,
    shown: (state) => state.mode === "compare" && many(state) && !(kind === "map" && state.arrange === "budgets"),
    formats: Object.entries(DRAWN).map(([format, why]) => ({
      label: format.toUpperCase(),
      title: why,
      run: send(format),
      server: true,
    })),
  };
}

/** @param {Doors} doors @returns {Row} */
function curves({ store, figure }) {
  const send = (format) => () => {
    store.set({ drawing: true });
    figure(curvesOf(store.state, format));
  };
  return {
    name: "curves",
    title: "Fidelity curves",
    hint: () => "distance from the unpruned model over budgets",
    shown: (state) => state.mode === "compare" && state.fidelity.points.length > 0,
    formats: Object.entries(DRAWN).map(([format, why]) => ({
      label: format.toUpperCase(),
      title: why,
      run: send(format),
      server: true,
    })),
  };
}

/** @param {Doors} doors @returns {Row} */
function page({ store, figure }) {
  const run = () => saveView(store, figure, "page", "html");
  return {
    name: "page",
    title: "Page",
    hint: () => "picture, tokens, slider, cards and playback in one file; opens without a network, and here again",
    shown: (state) => Boolean(state.view) && state.mode !== "compare",
    formats: [{ label: "HTML", title: "For a colleague, or a lecture without network", run, server: true }],
  };
}

/** @param {Doors} doors @returns {Row} */
function record({ store, figure }) {
  return {
    name: "record",
    title: "Record",
    hint: () => "picture, scores, plans at every budget, answers and costs: all numbers; opens here again",
    shown: (state) => Boolean(state.trace),
    formats: [
      { label: "JSON", title: "For a program", run: () => saveView(store, figure, "record", "json"), server: true },
    ],
  };
}

/** What the picture on screen is drawn from: one method at one budget, the layer, and the part of the trace that they need. */
function pictureOf(state) {
  const { trace: shown, answers, method, layer, frame, tile, view } = state;
  const methods = shown.methods[method] ? { [method]: shown.methods[method] } : {};
  const scores = shown.scores?.[layer] ? { [layer]: shown.scores[layer] } : {};
  const budget = view?.budget ?? shown.tokens.n;
  const keys = ["full", `${method}@${budget}`].filter((key) => answers[key]);
  const known = Object.fromEntries(keys.map((key) => [key, answers[key]]));
  const small = { ...shown, methods, scores, answers: known };
  const drawn = scores[layer] ? layer : "roles"; // what the Why tab measured is not in the trace
  return { runs: [[method, budget]], layer: drawn, frame, tile, link: linkTo(state), trace: JSON.stringify(small) };
}

/** What a figure is drawn from: the runs on screen, their overlap, and the part of the trace that they need. */
function figureOf(state, config) {
  const entries = entriesOf(state, config).filter((e) => e.view);
  const { trace: shown, answers, question } = state;
  const methods = Object.fromEntries(entries.map((e) => [e.method, shown.methods[e.method]]));
  const keys = ["full", ...entries.map((e) => `${e.method}@${e.budget}`)].filter((key) => answers[key]);
  const small = { ...shown, methods, scores: {}, answers: Object.fromEntries(keys.map((key) => [key, answers[key]])) };
  const values = entries.map((a) => entries.map((b) => iou(a.view, b.view)));
  return {
    runs: entries.map((e) => [e.method, e.budget]),
    values,
    question,
    frame: state.frame,
    trace: JSON.stringify(small),
  };
}

/** @param {Doors} doors @param {string} kind @param {string} title @param {string} hint @returns {Row} */
function moving({ store, config, clip }, kind, title, hint) {
  const ordered = ({ trace: shown, method }) => ["nested", "rank"].includes(shown.methods[method]?.plan.kind);
  const send = (format) => () => {
    store.set({ drawing: true });
    const { runs, frame, trace: small } = pictureOf(store.state);
    const known = Object.entries(store.state.answers).filter(([, a]) => ["full", runs[0][0]].includes(a.method));
    const record = JSON.stringify({ ...JSON.parse(small), scores: {}, answers: Object.fromEntries(known) });
    clip({ kind, format, method: runs[0][0], budget: runs[0][1], frame, trace: record });
  };
  return {
    name: kind,
    title,
    hint: () => hint,
    shown: (state) => Boolean(state.view) && state.mode !== "compare" && (kind === "sweep" || ordered(state)),
    formats: [
      {
        label: config.film === "H.264" ? "MP4" : "WebM",
        title: `a film, as ${config.film}`,
        run: send("film"),
        server: true,
      },
      { label: "WebP", title: "an animated picture, for pages and slides", run: send("webp"), server: true },
    ],
  };
}

/** @param {Doors} doors @returns {Row[]} */
export function saveRows(doors) {
  return [
    picture(doors),
    film(doors),
    moving(doors, "sweep", "Budget sweep", "from all tokens down to few, as an animation"),
    moving(doors, "playback", "Playback", "this selection as it comes about, token by token"),
    compared(doors, "sheet", "Contact sheet", "the picture once for every method, with its answer"),
    compared(doors, "map", "Kept by how many", "for every token, how many methods keep it"),
    compared(doors, "overlap", "Overlap", "intersection over union of what methods keep, as a matrix"),
    curves(doors),
    page(doors),
    record(doors),
  ];
}
