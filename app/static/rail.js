// The rail beside the picture: method, heat layers, legend with counts, and the card of one token.

import { ROLE } from "./plan.js";
import { sig3 } from "./format.js";
import { VIRIDIS_GRADIENT } from "./color.js";
import { endsOf, facts, heatOf, holds, neverEncoded, place, roleName, SCORES } from "./describe.js";
import { hold } from "./inspect.js";
import { mountTips } from "./tips.js";
import { flipLayer, isForeign, planOf } from "./store.js";
import { DIVERGING_GRADIENT } from "./why/diverging.js";
import { LAYERS, measuredAt, measuredOf } from "./why/layer.js";
import { sceneAt } from "./lecture/steps.js";
import { pinnedHeat } from "./words/maps.js";
import { whyNodes } from "./why/token.js";
import { tunedOf, tunedText } from "./made.js";
import { el, fill, mountRadios, refs, setChecked, setText, toggle } from "./dom.js";

export function mountRail(root, store, config) {
  const at = refs(root);
  fill(at.method, ...config.methods.map((m) => el("option", { value: m.name }, m.label)));
  at.method.addEventListener("change", () => store.set({ method: at.method.value }));
  at.drawer.addEventListener("click", () => store.act("drawer"));
  at.gradient.style.background = VIRIDIS_GRADIENT;
  store.on(["method", "trace", "edited"], (state) => drawMethod(at, state, config));
  mountLayers(at, store);
  mountLegend(at.legend, store);
  store.on(["cursor", "view", "study"], (state) => drawCard(at.card, state, store));
}

function drawMethod(at, state, config) {
  const method = config.methods.find((m) => m.name === state.method);
  if (at.method.value !== state.method) at.method.value = state.method;
  fill(at.paper, paperLink(method?.paper ?? ""));
  at.drawer.disabled = !method?.parameters.length;
  const tuned = tunedText(tunedOf(config, state.method, state.edited[state.method]));
  at.drawer.dataset.tuned = String(Boolean(tuned));
  setText(at.drawer, tuned ? "Tuned" : "Tune");
  setText(at.tuned, tuned);
  toggle(at.tuned, Boolean(tuned));
  toggle(at.paper, !tuned); // in its place
  const still = state.trace && !state.trace.clip; // a picture, or several: no frame follows another
  for (const option of at.method.options) {
    const about = config.methods.find((m) => m.name === option.value);
    const unknown = isForeign(state) && !Object.hasOwn(state.trace.methods, option.value); // else it is planned
    option.disabled = unknown || Boolean(still && about?.across_frames);
  }
}

function paperLink(paper) {
  if (!paper.startsWith("https://")) return paper ? el("span", {}, paper) : null;
  const name = paper.replace("https://arxiv.org/abs/", "arXiv ").replace("https://", "");
  return el("a", { href: paper, target: "_blank", rel: "noopener noreferrer" }, name);
}

function mountLayers(at, store) {
  const names = ["roles", ...Object.keys(SCORES), ...Object.keys(LAYERS)];
  const buttons = names.map((name) =>
    el(
      "button",
      {
        type: "button",
        role: "radio",
        "data-layer": name,
        title: (SCORES[name] ?? LAYERS[name])?.help ?? "what becomes of every token",
        onclick: () => store.set({ layer: name }),
      },
      (SCORES[name] ?? LAYERS[name])?.label ?? "Roles",
    ),
  );
  fill(at.layers, ...buttons);
  mountRadios(at.layers, buttons);
  store.on(["layer", "trace", "view", "study", "forced", "playback", "word", "tab", "part", "looked"], (state) => {
    const { trace, playback } = state;
    const measured = (layer) => (LAYERS[layer] ? measuredOf({ ...state, layer }) : null);
    const heat = heatOf(trace, state.layer);
    const shown = measured(state.layer);
    for (const button of buttons) {
      const { layer } = button.dataset;
      setChecked(button, layer === (heat || shown ? state.layer : "roles"));
      toggle(button, layer === "roles" || Boolean(trace?.scores?.[layer] || measured(layer)));
    }
    const covered = playback !== null || Boolean(pinnedHeat(state)); // another map is on the picture, with its own scale
    toggle(at.scale, !covered && Boolean(heat || shown));
    if (at.scale.hidden) return;
    const [low, high] = heat ? endsOf(heat) : [`−${sig3(shown.reach)}`, `+${sig3(shown.reach)} nats`];
    at.gradient.style.background = heat ? VIRIDIS_GRADIENT : DIVERGING_GRADIENT;
    setText(at.low, low);
    setText(at.high, high);
    setText(at.kind, heat?.kind === "log" ? "log" : "");
    at.scale.title = heat?.kind === "log" ? "A logarithmic scale: equal steps are equal ratios" : "A linear scale";
  });
}

const ENTRIES = [
  ["focus", "Focus", "Focus, orange: the evidence. Tokens of the highest priority, what the question needs."],
  ["scan", "Scan", "Scan, blue: the context. Each looked least like everything kept before it."],
  ["kept", "Kept", "Kept: the language model reads it."],
  [
    "ties",
    "Anchors",
    "Anchors: kept tokens (of FSR those of Scan) that took in others, with a white ring. Press to see lines to what they took in.",
  ],
  ["merged", "Merged", "Merged: dropped, but averaged into an anchor, so not quite lost."],
  ["dropped", "Dropped", "Dropped: the language model never reads it."],
];

function countOf(view, name) {
  return name === "ties" ? view.anchors : view.counts[ROLE[name.toUpperCase()]];
}

function mountLegend(legend, store) {
  const entries = ENTRIES.map(([name, label, help]) =>
    el(
      "button",
      {
        type: "button",
        class: "fx-entry",
        "data-layer": name,
        "data-tip": help,
        onclick: () => flipLayer(store, name),
      },
      el("i", { class: `fx-swatch fx-swatch-${name}`, "aria-hidden": "true" }),
      el("span", {}, label),
      el("b", {}, "–"),
    ),
  );
  fill(legend, ...entries);
  mountTips(legend);
  store.on(["view", "layers", "playback", "trace", "method"], (state) => {
    const { layers, playback } = state;
    const crossed = neverEncoded(state.trace, state.method);
    const view = playback === null ? state.view : (sceneAt(state, playback)?.view ?? null); // what is on the picture
    const byHand = Boolean(view?.counts[ROLE.KEPT]); // beside stages: kept by hand
    const staged = !byHand || view.counts[ROLE.FOCUS] + view.counts[ROLE.SCAN] > 0;
    for (const entry of entries) {
      const name = entry.dataset.layer;
      const some = (name === "merged" || name === "ties") && view && countOf(view, name) > 0;
      toggle(entry, name === "dropped" || some || (name === "kept" ? byHand : staged));
      entry.setAttribute("aria-pressed", String(layers.has(name)));
      if (name === "dropped") sayDropped(entry, crossed);
      setText(entry.lastChild, view ? String(countOf(view, name)) : "–");
    }
  });
}

const DROPPED = ENTRIES.find(([name]) => name === "dropped").slice(1);
const CROSSED = [
  "Never encoded",
  "Never encoded: dropped in front of the vision tower, which read the others alone. So the kept ones have not seen it.",
];

function sayDropped(entry, crossed) {
  const [label, help] = crossed ? CROSSED : DROPPED;
  entry.firstChild.classList.toggle("fx-swatch-crossed", crossed);
  setText(entry.children[1], label);
  entry.dataset.tip = help;
}

function drawCard(card, state, store) {
  const { cursor, trace } = state;
  card.classList.toggle("fx-card-empty", cursor < 0);
  if (!trace || cursor < 0) {
    fill(card, el("p", {}, "Point at a token, or use the arrow keys on the picture."));
    return;
  }
  const rows = facts(state, cursor);
  if (!planOf(state)) rows.push(["Role", "not analysed yet", ""]);
  const measured = state.view && measuredAt(state, cursor, { method: state.method, budget: state.view.budget });
  if (measured) rows.unshift([measured[0], `${sig3(measured[1])} nats`, "measured by leaving out or putting back"]);
  fill(
    card,
    el(
      "header",
      {},
      el("b", {}, `#${cursor}`),
      state.view
        ? el("span", { class: "fx-role", "data-role": state.view.roles[cursor] }, roleName(state, cursor))
        : null,
      el("button", { type: "button", class: "fx-close", "aria-label": "Close", onclick: () => hold(store, -1) }, "×"),
    ),
    el("p", { class: "fx-place" }, place(trace, cursor)),
    ...whyNodes(state, cursor),
    holds(state, cursor) ? el("p", { class: "fx-holds" }, holds(state, cursor)) : null,
    el("dl", {}, ...rows.flatMap(([label, value, title]) => [el("dt", { title }, label), el("dd", {}, value)])),
  );
}
