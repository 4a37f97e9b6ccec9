// A scene of the visitor's own: composed on the stage, drawn by the library at every change, asked about as any picture.
//
// One change is on its way at a time; the newest follows when its picture has come, so that none overtakes another.

import { el, fill, refs, setText, toggle } from "../dom.js";
import { begun, done, stepped } from "./history.js";
import { createLayer } from "./layer.js";
import { mountOffered, put } from "./offered.js";
import { mountPalette } from "./palette.js";
import { createPreview, pictureAt } from "./preview.js";
import { added, called, changed, doubled, moved, readScene, textOf, without } from "./scene.js";
import { mountGround, mountTools } from "./tools.js";
import { unknownIn } from "./verdict.js";

const QUIET_MS = 220; // between changes by keyboard; a drag is sent when it ends
const LOST_MS = 8000; // after which a picture that never came is not waited for
const MAKE = "Make a scene";
const EDIT = "Edit the scene";
const NONE = { ground: { kind: "plain", first: "f4f1ea", second: "", seed: 0 }, pieces: [] };

/** io.scene(detail): have the library draw it. stage: of `mountStage`, once it is there. */
export function mountCompose(root, store, config, io, stage) {
  const at = refs(root);
  const { compose } = config;
  /** @type {import("./scene.js").Scene} */
  let scene = NONE;
  let [selected, color, history] = [-1, "red", begun("")];
  let [sitting, sent, since, timer] = [0, "", 0, 0];
  let question = /** @type {string | undefined} */ (undefined); // that a scene to start from brings along
  const wordsByModel = new Map(config.models.map(({ id, words }) => [id, words ? new Set(words) : null]));
  const modelOf = ({ model }) =>
    config.models.find(({ id }) => id === (model?.answering ?? model?.id)) ?? config.models[0];
  const wordsOf = (state) => wordsByModel.get(modelOf(state)?.id) ?? null;

  const layer = createLayer(compose, {
    select: (i) => (i === selected ? null : ((selected = i), show())),
    change: (i, patch, over) => change(changed(scene, i, patch, compose), over, over ? QUIET_MS : -1),
    remove,
    double,
    move,
    add: (name, place) => add(name, place, true),
  });
  const preview = createPreview(layer.canvas, compose);
  const palette = mountPalette(at, compose, (name, pointed) => add(name, null, pointed));
  const tools = mountTools(at, compose, {
    change: (/** @type {any} */ patch) => {
      if (patch.color) palette.colored((color = patch.color));
      change(changed(scene, selected, patch, compose));
    },
    remove: () => remove(selected),
    double: () => double(selected),
    move: (way) => move(selected, way),
  });
  const ground = mountGround(at, compose, (patch) => change({ ...scene, ground: { ...scene.ground, ...patch } }));
  const offered = mountOffered(at, store, wordsOf);
  for (const { name, label } of [...config.methods, ...config.compare]) offered.labels.set(name, label);

  // -- changes

  /** over: it is one step of undo. wait: ms until it is sent, -1: it is not yet. */
  function change(now, over = true, wait = 0) {
    scene = now;
    if (over) say("");
    if (over) history = done(history, textOf(scene));
    show();
    if (wait >= 0) later(wait);
  }

  /** pointed: by mouse or touch, and the new object has focus; by keyboard the palette keeps it, for another one. */
  function add(name, place, pointed) {
    const now = added(scene, name, compose, { place, color });
    if (!now) return say(`${compose.bounds.most} objects are the most.`);
    selected = now.pieces.length - 1;
    change(now);
    if (pointed) layer.focus(selected);
    const how = pointed ? "Drag it, or use the arrow keys." : "On the picture the arrow keys move it.";
    say(`${called(now.pieces[selected])} added. ${how}`);
  }

  function remove(i) {
    if (!scene.pieces[i]) return;
    const name = called(scene.pieces[i]);
    selected = Math.min(i, scene.pieces.length - 2);
    change(without(scene, i));
    if (selected >= 0) layer.focus(selected);
    else at.things.querySelector("button")?.focus({ preventScroll: true });
    say(`${name} deleted.`);
  }

  function double(i) {
    const now = doubled(scene, i, compose);
    if (!now) return say(scene.pieces[i] ? `${compose.bounds.most} objects are the most.` : "");
    selected = now.pieces.length - 1;
    change(now);
    layer.focus(selected);
    say(`Another ${called(now.pieces[selected])}.`);
  }

  function move(i, way) {
    const [now, to] = moved(scene, i, way);
    selected = to;
    change(now);
    layer.focus(to);
  }

  function step(way) {
    const to = stepped(history, way);
    if (to === history) return;
    history = to;
    selected = -1;
    change(readScene(to.now, compose) ?? scene, false);
    say(way < 0 ? "Undone." : "Done again.");
  }

  /** A scene to go on from; with another one it is a new entry of the browser's history. */
  function start(text, brought) {
    const now = readScene(text, compose);
    if (!now) return;
    const fresh = Boolean(store.state.composing) && history.now !== "";
    sitting++;
    selected = -1;
    scene = now;
    history = fresh ? done(history, text) : begun(text);
    question = brought;
    show();
    flush();
  }

  async function random() {
    const known = compose.kinds.animal.every((name) => !unknownIn(name, wordsOf(store.state)).length);
    const seed = Math.floor(Math.random() * 1e9);
    try {
      const answer = await fetch(`./scene/random?seed=${seed}&icons=${known ? 1 : 0}`);
      const { scene: text } = answer.ok ? await answer.json() : { scene: "" };
      start(text);
    } catch {
      say("The server could not be asked for one.");
    }
  }

  // -- to the server

  function later(wait) {
    clearTimeout(timer);
    timer = window.setTimeout(() => flush(), wait);
  }

  function flush() {
    clearTimeout(timer);
    const text = textOf(scene);
    const { composing, drawn, editable } = store.state;
    if (!composing || layer.dragging || (text === (drawn || editable) && !question)) return;
    if (sent && performance.now() - since < LOST_MS) return; // it follows when that one has come
    [sent, since] = [text, performance.now()];
    preview.hold(pictureAt(text)); // drawn while the page is told of it
    const edit = Boolean(store.state.editable) && question === undefined;
    io.scene({ scene: text, edit, sitting, ...(question === undefined ? {} : { question }) });
    if (question) put(question); // as if it were typed: it goes into the address
    question = undefined;
  }

  /** A picture has come: the one that was sent, or another that the visitor has chosen. */
  function arrived(state) {
    const ours = sent && state.drawn === sent;
    if (ours) sent = "";
    if (!state.composing) return;
    if (ours) {
      if (textOf(scene) !== state.drawn) later(0);
    } else if (!state.drawn) {
      if (!sent) leave(); // another picture was chosen
    } else if (!sent && state.drawn !== textOf(scene)) take(state.drawn);
    show();
  }

  function take(text) {
    scene = readScene(text, compose) ?? scene;
    if (history.now !== textOf(scene)) history = begun(textOf(scene)); // else it was only put aside
    selected = -1;
  }

  // -- open and close

  function open() {
    if (store.state.composing) return close();
    const { editable } = store.state;
    store.set({ composing: true, mode: "one", playback: null, cursor: -1, pinned: -1 });
    stage()?.at.picture.append(layer.root);
    if (sent && sent === textOf(scene))
      selected = -1; // put aside before its picture came
    else if (readScene(editable, compose)) take(editable);
    else {
      const known = startsFor(store.state);
      const first = known.find(({ question }) => question) ?? known[0];
      history = begun("");
      start(first.scene, first.question);
    }
    show();
    const { frame } = stage().at;
    if (frame.getBoundingClientRect().top < 0) frame.scrollIntoView({ block: "center" }); // the button lies further down on a phone
  }

  function close() {
    flush();
    leave();
  }

  function leave() {
    layer.root.remove();
    store.set({ composing: false });
  }

  function startsFor(state) {
    return compose.starts.filter(({ scene: text }) => {
      const names = readScene(text, compose)?.pieces.map(called) ?? [];
      return names.every((name) => !unknownIn(name, wordsOf(state)).length);
    });
  }

  // -- drawing

  function show() {
    const { composing, drawn, editable } = store.state;
    if (!composing) return;
    layer.render(scene, selected);
    tools(scene.pieces[selected] ?? null);
    ground(scene.ground);
    palette.full(scene.pieces.length >= compose.bounds.most);
    at.undo.disabled = !history.past.length;
    at.redo.disabled = !history.future.length;
    at.clear.disabled = !scene.pieces.length;
    const now = textOf(scene);
    const here = drawn ? now === drawn && isShown(drawn) : now === editable; // of a saved view
    toggle(layer.canvas, !here);
    if (!here) preview.draw(scene);
  }

  /** Whether the stage shows the library's picture of this scene already. */
  function isShown(text) {
    const image = /** @type {HTMLImageElement | undefined} */ (stage()?.at.image);
    return Boolean(image?.complete && image.src === new URL(pictureAt(text), document.baseURI).href);
  }

  function say(text) {
    setText(at.said, text);
  }

  function showStarts(state) {
    const button = (text, act) => el("button", { type: "button", onclick: act }, text);
    fill(
      at.starts,
      ...startsFor(state).map(({ title, scene: text, question }) =>
        button(title, () => start(text, question || undefined)),
      ),
      button("Random", random),
    );
  }

  function showButton({ editable, composing }) {
    const button = document.querySelector("#fx-makescene");
    if (!button) return void setTimeout(() => showButton(store.state), 200); // Gradio is not there yet
    setText(button, composing ? "Done" : editable ? EDIT : MAKE);
    button.setAttribute("aria-pressed", String(composing));
  }

  at.undo.addEventListener("click", () => step(-1));
  at.redo.addEventListener("click", () => step(1));
  at.clear.addEventListener("click", () => {
    selected = -1;
    change({ ...scene, pieces: [] });
    say("All objects are gone; Undo brings them back.");
  });
  at.done.addEventListener("click", close);
  document.addEventListener("keydown", (event) => {
    const typing = /** @type {HTMLElement} */ (event.target).closest("input:not([type=range]), textarea, select");
    if (!store.state.composing || typing || !(event.ctrlKey || event.metaKey)) return;
    const key = event.key.toLowerCase();
    if (key !== "z" && key !== "y") return;
    event.preventDefault();
    step(key === "y" || event.shiftKey ? 1 : -1);
  });
  store.on(["composing"], ({ composing }) => {
    document.body.classList.toggle("fx-composing", composing);
    toggle(at.composer, composing);
  });
  store.on(["composing", "editable"], showButton);
  let offering = null; // the model that palette and starts are for
  store.on(["model"], (state) => {
    if (modelOf(state) === offering) return; // told again after every look: whatever has focus keeps it
    offering = modelOf(state);
    palette.known(wordsOf(state), modelOf(state)?.title ?? "");
    showStarts(state);
  });
  store.on(["about"], arrived);
  store.on(["mode"], ({ mode, composing }) => mode === "compare" && composing && close());
  store.when("unscened", () => (sent = ""));
  const waitFor = () => {
    const image = stage()?.at.image;
    if (!image) return void setTimeout(waitFor, 200);
    image.addEventListener("load", show);
    new ResizeObserver(() => show()).observe(stage().at.picture);
  };
  waitFor();
  return { open };
}
