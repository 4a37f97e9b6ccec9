// The address follows the view, and the view the address: what a link asks for, reload, Back and Forward.

import { KEYS, OWN, ROWS, exampleOf, queryOf, readQuery, shareable } from "./address.js";
import { isBusy } from "./answers.js";
import { addNote, dropNote } from "./notes.js";
import { switchTo } from "./share.js";
import { LAYERS as MEASURED, measuredOf } from "./why/layer.js";

const QUIET_MS = 250; // an address is written when nothing has changed for so long, never during a drag; a new place at once
const AGAIN_MS = 200;
const PICTURE = new Set(["example", "recording", "sweep", "item", "picture", "scene"]); // rows that the server is asked for
const SPACES = "huggingface.co"; // the page around a Space takes its address from the frame
const NO_PICTURE =
  "This link holds everything but the picture: upload the picture, and the view of the link is shown on it, or open the file that was saved of it.";

/** What the page asks of its address. Nothing is written before what it asks for is on screen. */
export function createAddress(store, config) {
  const opening = wantedOf(config);
  let typed = opening.asked.question ?? ""; // what an example brings along is not the visitor's own question
  const context = () => ({ config, state: store.state, question: box()?.value === typed ? typed : "", picture: own });
  let pending = opening.any ? opening : null;
  let own = ""; // the id of the visitor's picture on the stage
  let last = { query: "", place: "" };
  let held = null;
  let opened = false;
  let timer = 0;

  /** Whether a record is to wait, because it is what opens without an address and the address asks for another. */
  function waits(value) {
    const first = !store.state.about && (!held || held.run === value.run); // it may be told twice
    const waiting = first && pending?.sure && !isWanted(pending, value);
    if (waiting) held = value;
    return Boolean(waiting);
  }

  /** A record has been put on the stage: show of it what the address asks for. */
  function arrived(value) {
    const settling = Boolean(pending) || !opened;
    let overtaken = false; // by another picture than the one that the address asks for
    if (value.fresh) own = value.example ? "" : (value.picture ?? "");
    if (value.fresh && pending && !isWanted(pending, value)) {
      if (!pending.own || opened) [pending, overtaken] = [null, opened];
      else addNote(store, { kind: "picture", text: NO_PICTURE });
    }
    opened = true;
    if (pending && (value.fresh || pending.shown) && isWanted(pending, value)) {
      dropNote(store, "picture");
      show(pending, value);
      last.place = placeOf();
      if (value.trace) pending = null;
    }
    if (overtaken) later();
    else if (!pending && settling) settled();
  }

  function show({ query, whole, kept, source, scene, shown }, { fresh, trace }) {
    const rows = ROWS.filter((row) => !PICTURE.has(row.name) && (row.trace ? Boolean(trace) : !shown));
    const { patch, ignored } = readQuery(query, context(), rows, whole);
    pending.shown = true;
    if (ignored.length || pending.ignored.length) {
      addNote(store, {
        kind: "ignored",
        text: `Ignored in the address: ${[...pending.ignored, ...ignored].join("; ")}`,
      });
      pending.ignored = [];
    }
    put(patch);
    if (fresh && !trace && (kept || source || scene)) store.act("look");
    if (trace) noteQuestion(pending.asked.question);
    if (trace && patch.layer) noteMeasured(patch.layer);
  }

  /** Sets what was read; other parameters, and another share of the budget, are planned as soon as they can be. */
  function put({ share, ...patch }) {
    const before = store.state.edited;
    store.set(patch);
    const edited = store.state.edited;
    const names = new Set([...Object.keys(before), ...Object.keys(edited)]);
    const methods = [...names].filter((name) => JSON.stringify(before[name]) !== JSON.stringify(edited[name]));
    const other = share && share !== store.state.share ? share : "";
    if (other || methods.length) plan({ about: store.state.about, share: other, methods });
  }

  function plan(wanted) {
    const { state } = store;
    if (wanted.about !== state.about) return;
    if (!state.trace || !state.model || isBusy(state.status)) return void setTimeout(() => plan(wanted), AGAIN_MS);
    if (wanted.share) switchTo(store, wanted.share);
    for (const method of wanted.methods) store.act("plan", { method, parameters: state.edited[method] ?? {} });
  }

  /** A layer that is measured when it is asked for is not in the address, only its name. */
  function noteMeasured(layer) {
    const measured = MEASURED[layer];
    if (!measured || measuredOf(store.state)) return;
    const text = `The link shows ${measured.label.toLowerCase()}, ${measured.help}; until it is measured here, roles are shown.`;
    const perform = () => (dropNote(store, "measured"), store.act("study", measured.what));
    addNote(store, { kind: "measured", text, offer: { label: "Measure it", perform } });
  }

  function noteQuestion(question) {
    const { trace } = store.state;
    const asked = question?.trim();
    if (!asked || asked === trace.question) return;
    const text = `The question in the box came with the link; what is shown is about “${trace.question}”. Ask answers it.`;
    addNote(store, { kind: "question", text });
  }

  // -- writing

  function settled() {
    last = { query: queryOf(context(), window.location.search), place: placeOf() };
  }

  /** A new picture, or the other view, is a new entry of the history; anything else changes the one that is. */
  function write() {
    clearTimeout(timer);
    timer = 0;
    if (pending || !opened) return;
    const query = queryOf(context(), window.location.search);
    const place = placeOf();
    if (query === last.query && place === last.place) return;
    const url = `${window.location.pathname}${query}${window.location.hash}`;
    const entry = { picture: own };
    if (place === last.place) window.history.replaceState(entry, "", url);
    else window.history.pushState(entry, "", url);
    last = { query, place };
    const around = window.parent !== window && document.referrer ? new URL(document.referrer) : null;
    if (around?.hostname === SPACES)
      window.parent.postMessage({ queryString: query, hash: window.location.hash }, around.origin);
  }

  function later() {
    clearTimeout(timer);
    timer = window.setTimeout(write, placeOf() === last.place ? QUIET_MS : 0);
  }

  function placeOf() {
    const { example, recording, source, mode, drawn, sitting } = store.state;
    return JSON.stringify([example, recording, source, drawn ? sitting : own, mode]); // a scene is one place, however edited
  }

  /** For others, see `shareable`. */
  function linkOf() {
    const { origin, pathname, search } = window.location;
    return `${origin}${pathname}${shareable(queryOf(context(), search))}`;
  }

  // -- Back and Forward

  function moved() {
    clearTimeout(timer);
    const wanted = wantedOf(config);
    const { example, recording, source, drawn } = store.state;
    const same = wanted.source
      ? isSource(wanted.source, source)
      : wanted.scene || drawn
        ? wanted.scene === drawn
        : wanted.own
          ? !example && !source && wanted.kept === own
          : example === wanted.example && (wanted.recording ?? config.recording) === recording;
    pending = { ...wanted, whole: true };
    typed = wanted.asked.question ?? "";
    if (!same) return void store.act("open", wanted.asked);
    const { id } = store.state.model ?? {};
    const model = wanted.asked.model ?? config.models[0]?.id;
    if (id && model && id !== model) store.act("choose", model);
    setBox(wanted.asked.question ?? (source ?? exampleOf(config, store.state))?.question ?? "");
    show(pending, { fresh: false, trace: store.state.trace });
    pending = null;
    settled();
  }

  store.set({ linkOf });
  store.when("visit", (query) => {
    write();
    window.history.pushState({ picture: "" }, "", window.location.pathname + query);
    moved();
  });
  store.on(/** @type {any} */ (KEYS), () => opened && later());
  store.on(["status"], ({ status }) => isBusy(status) && status.phase !== "planning" && dropNote(store, "question"));
  window.addEventListener("popstate", moved);
  window.addEventListener("pagehide", write);
  document.addEventListener("input", ({ target }) => {
    if (!(target instanceof Element) || !target.closest("#fx-question")) return;
    typed = box()?.value ?? "";
    later();
  });

  return {
    waits,
    arrived,
    write,
    /** What was asked for cannot be had: what opens without an address is shown, or stays. */
    failed() {
      const record = held;
      [pending, held] = [null, null];
      return store.state.about ? null : record;
    },
  };
}

/** What the address asks of the server, checked. any: whether it asks for anything; kept: the id of a visitor's picture. */
function wantedOf(config) {
  const query = window.location.search;
  const { state } = window.history;
  const given = new URLSearchParams(query);
  const context = { config, state: null };
  const asked = ["example", "recording", "picture", "model", "question", "sweep", "item", "scene"];
  const good = (name) => {
    const row = ROWS.find((r) => r.name === name);
    return given.has(name) && row.read(given.get(name), context) ? given.get(name) : undefined;
  };
  const [example, recording, picture, model, question, sweep, item, scene] = asked.map(good);
  const source = sweep && item ? { sweep, item: Number(item) } : null;
  const { ignored } = readQuery(
    query,
    context,
    ROWS.filter((row) => PICTURE.has(row.name)),
  );
  const own = picture === OWN && !example && !source && !scene;
  const kept = own && typeof state?.picture === "string" ? state.picture : "";
  return {
    any: ROWS.some((row) => given.has(row.name)),
    query,
    ignored,
    own,
    kept,
    source,
    scene,
    example: own || source || scene ? undefined : (example ?? config.examples[0]?.id),
    recording: own || source || scene ? undefined : recording,
    sure: Boolean(example || kept || source || scene), // another record will come than what opens without an address
    whole: false,
    shown: false,
    asked: {
      id: example ?? config.examples[0]?.id,
      recording: recording ?? config.recording,
      model,
      question,
      picture: kept,
      scene,
      ...source,
    },
  };
}

function isSource(wanted, source) {
  return source?.sweep === wanted.sweep && source?.item === wanted.item;
}

function isWanted({ own, kept, source, scene, example, recording }, value) {
  if (!value.fresh) return true;
  if (scene) return value.drawn === scene;
  if (source) return isSource(source, value.source);
  if (own) return !value.example && (!kept || kept === value.picture);
  return value.example === example && (recording === undefined || recording === value.recording);
}

/** @returns {HTMLTextAreaElement | null} */
function box() {
  return document.querySelector("#fx-question textarea");
}

function setBox(text) {
  const node = box();
  if (!node || node.value === text) return;
  node.value = text;
  node.dispatchEvent(new Event("input", { bubbles: true }));
}
