// The model picker: what is in memory, what can be loaded, what it needs, and what its scores are made of.

import { el, fill, refs, setText, toggle } from "./dom.js";
import { gigabytes } from "./format.js";
import { mountProven } from "./proven.js";

const STATES = { loaded: "in memory", here: "on this machine", hub: "to be downloaded" };

export function mountPicker(root, store, config, { chosen, look }) {
  const at = refs(root);
  const drawProven = mountProven(at);
  let rows = [];
  const draw = () => {
    const { model } = store.state;
    if (!model) return;
    if (model.rows) rows = model.rows;
    drawProven(model.proven);
    setText(at.model, config.models.find((m) => m.id === model.id)?.title ?? model.id);
    setText(at.notice, model.notice ?? "");
    toggle(at.notice, Boolean(model.notice));
    setText(at.room, room(rows));
    const focused = at.offers.contains(document.activeElement)
      ? /** @type {HTMLElement} */ (document.activeElement.closest("[data-model]")).dataset.model
      : "";
    fill(at.offers, ...rows.map((row) => offer(row, model, choose)));
    [...at.offers.children]
      .find((node) => node.dataset.model === focused)
      ?.querySelector("button")
      .focus();
  };
  const choose = (id) => {
    at.models.close();
    chosen(id);
  };
  const open = () => {
    if (at.models.open) return;
    look();
    at.models.showModal();
    (at.offers.querySelector("[aria-current] button") ?? at.close).focus();
  };
  store.on(["model"], draw);
  at.model.addEventListener("click", open);
  at.close.addEventListener("click", () => at.models.close());
  at.models.addEventListener("click", (event) => event.target === at.models && at.models.close());
  store.when("models", open);
}

/** What is free where models go; the same for every row. */
function room(rows) {
  const free = rows.find((row) => row.free_gb !== null)?.free_gb;
  if (!rows.length) return "Looking at this machine's memory.";
  return free === undefined ? "" : `${gigabytes(free)} are free for a model on this machine.`;
}

function offer(row, model, choose) {
  const current = row.id === model.id;
  const use = el(
    "button",
    { type: "button", "aria-label": `Use ${row.title}`, onclick: () => choose(row.id) },
    current && !model.notice ? "In use" : current ? "Try again" : "Use",
  );
  return el(
    "li",
    { class: "fx-offer", "data-model": row.id, "aria-current": current ? "true" : null },
    el(
      "div",
      { class: "fx-offer-head" },
      el("b", {}, row.title),
      el("span", { class: "fx-offer-state", "data-state": row.state }, state(row)),
      use,
    ),
    el(
      "dl",
      {},
      ...fact("Memory", memory(row), row.fits === false ? "fx-bad" : ""),
      ...(row.answer_s ? fact("An answer", patience(row)) : []),
      ...fact("Saliency", row.saliency ?? "known once it is here"),
      ...fact("Relevance", row.relevance ?? "known once it is here"),
      ...fact("Licence", row.licence),
    ),
  );
}

function state({ state: name, download_gb: size }) {
  return name === "hub" && size ? `about ${gigabytes(size)} to be downloaded` : STATES[name];
}

/** Measured for the model in memory, an estimate for the others. */
function memory({ held_gb: held, needs_gb: needs, precision, fits }) {
  if (held !== null) return `${gigabytes(held)} in ${precision}, measured`;
  if (needs === null) return "known once it is here";
  const verdict = fits === null ? "" : fits ? ": fits" : ": does not fit";
  return `about ${gigabytes(needs)} in ${precision} (estimate)${verdict}`;
}

/** Seconds of an answer with all tokens, and with a ninth of them. */
function patience({ answer_s: [all, few], answer_pixels: [width, height] }) {
  const how = `a picture of ${width} × ${height} on two cores, measured with random weights`;
  return `about ${all} s, ${few} s with a ninth of the tokens (${how})`;
}

function fact(name, text, look = "") {
  return [el("dt", {}, name), el("dd", look ? { class: look } : {}, text)];
}
