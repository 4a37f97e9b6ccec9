// A picture unlike all that the model learnt from: it is said before anything is asked, with a model that reads it.

import { el, fill, toggle } from "../dom.js";
import { isForeign } from "../store.js";

const HOW = "Whoever starts this page can offer a model that reads photographs: FSR_MODELS=";

/**
 * What is to be said of the picture on screen, nothing where it is like what the model knows or where that was never
 * measured. offer: the model that can be taken instead.
 * @param {{ trace: any, model: any, clip?: any }} state
 * @param {{ real: { id: string, title: string } | null, small: string }} config
 */
export function unlikeOf(state, config) {
  const found = state.trace?.familiar;
  if (!found?.far || isForeign(state)) return null;
  const what = state.trace.clip ? "clip" : "picture";
  const title = state.trace.model.title;
  return {
    text: `This ${what} is unlike all that ${title} has learnt from: its answer will mean nothing. What is kept is shown all the same.`,
    reason: reasonOf(found, what),
    offer: config.real,
    how: config.real ? "" : HOW + config.small,
  };
}

function reasonOf({ distance, limit, false_alarms: wrong, detected: right }, what) {
  const [drawn, taken] =
    what === "clip" ? ["drawn clips", "clips panned over photographs"] : ["drawn scenes", "photographs"];
  return (
    `Measured: its visual tokens lie ${number(distance)} from those of ${drawn}, and the limit is ${number(limit)}. ` +
    `Of ${wrong.of} other ${drawn} ${share(wrong)} lie beyond it, of ${right.of} ${taken} ${share(right)}.`
  );
}

/** @param {number} value */
function number(value) {
  return String(Number(value.toPrecision(3)));
}

/** In percent, with its interval. */
function share({ share: value, low, high }) {
  const percent = (x) => Number((100 * x).toFixed(1));
  return `${percent(value)} % (95 % interval ${percent(low)} to ${percent(high)})`;
}

/** Drawn where the question is asked; both views show it. @param {HTMLElement} node */
export function mountUnlike(node, store, config) {
  let drawn = "";
  store.on(["trace", "model"], (state) => {
    const said = unlikeOf(state, config);
    const key = JSON.stringify(said);
    if (key === drawn) return;
    drawn = key;
    toggle(node, Boolean(said));
    fill(node, ...(said ? parts(said, store) : []));
  });
}

function parts({ text, reason, offer, how }, store) {
  const use = () => store.act("choose", /** @type {{ id: string }} */ (offer).id);
  const why = el("details", {}, el("summary", {}, "How is that known?"), el("p", {}, reason));
  return [
    el("p", {}, text),
    offer
      ? el("button", { type: "button", class: "fx-plain", onclick: use }, `Ask ${offer.title} instead`)
      : el("p", {}, how),
    why,
  ];
}
