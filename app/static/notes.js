// What the page has to say once about the address or a file: a line under the bar on top, until it is dismissed.

import { el, fill, toggle } from "./dom.js";

/** @typedef {{ kind: string, text: string, offer?: { label: string, perform: () => void } }} Note */

/** @param {Note} note A line of its kind; one that stands there already makes room. */
export function addNote(store, note) {
  store.set({ notes: [...store.state.notes.filter(({ kind }) => kind !== note.kind), note] });
}

export function dropNote(store, kind) {
  const notes = store.state.notes.filter((note) => note.kind !== kind);
  if (notes.length < store.state.notes.length) store.set({ notes });
}

export function mountNotes(node, store) {
  store.on(["notes"], ({ notes }) => {
    toggle(node, notes.length > 0);
    fill(node, ...notes.map((note) => line(note, store)));
  });
}

/** @param {Note} note */
function line({ kind, text, offer }, store) {
  return el(
    "p",
    { class: "fx-modelnotice fx-noteline", "data-kind": kind },
    el("span", {}, text),
    offer ? el("button", { type: "button", class: "fx-plain", onclick: offer.perform }, offer.label) : null,
    el(
      "button",
      { type: "button", class: "fx-close", "aria-label": "Dismiss", onclick: () => dropNote(store, kind) },
      "×",
    ),
  );
}
