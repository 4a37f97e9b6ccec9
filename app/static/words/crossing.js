// Two questions about one picture: three maps, what both keep, and the answers crosswise.

import { SCALES } from "../look.js";
import { VIRIDIS_GRADIENT } from "../color.js";
import { sig3 } from "../format.js";
import { place } from "../describe.js";
import { DIVERGING_GRADIENT } from "../why/diverging.js";
import { commonScale, crosswiseText, difference, overlapText, scoreOf, viewOfKept } from "./maps.js";
import { unknownSentence } from "../answers.js";
import { makeMap } from "./mini.js";
import { el, fill, mountRadios, setChecked, setText, toggle } from "../dom.js";

const RUNNING = new Set(["waiting", "loading", "encoding", "answering"]);
const KINDS = { kept: "Selection", relevance: "Relevance", priority: "Priority" };
const COLUMNS = ["own", "other", "full"];

export const isCrossing = (task) => RUNNING.has(task.phase);

/**
 * @param {any} at @param {import("../store.js").Store} store
 * @param {{ ask: (task: string, more: any) => void, halt: () => void }} doors
 */
export function mountCrossing(at, store, doors) {
  const { ask, halt } = doors;
  const maps = {
    one: makeMap(store, "Question 1"),
    other: makeMap(store, "Question 2"),
    apart: makeMap(store, "Difference"),
  };
  for (const [name, map] of Object.entries(maps)) fill(at[`map${name}`], map.node);
  at.heatgradient.style.background = VIRIDIS_GRADIENT;
  at.apartgradient.style.background = DIVERGING_GRADIENT;
  const buttons = Object.entries(KINDS).map(([kind, label]) =>
    el("button", { type: "button", role: "radio", "data-kind": kind, onclick: () => choose(kind) }, label),
  );
  fill(at.kinds, ...buttons);
  mountRadios(at.kinds, buttons);
  const choose = (kind) => store.set({ crossed: { ...store.state.crossed, kind } });
  at.form.addEventListener("submit", (event) => {
    event.preventDefault();
    const other = at.other.value.trim();
    if (other) ask("cross", { other });
    else at.other.focus();
  });
  at.crosshalt.addEventListener("click", halt);
  let decoded = { of: null, maps: null };
  const numbers = (pair) => {
    if (decoded.of !== pair.kept.join("|")) decoded = { of: pair.kept.join("|"), maps: decode(pair) };
    return decoded.maps;
  };

  store.on(["crossed", "trace"], ({ crossed, trace }) => {
    const { pair, phase, text } = crossed;
    toggle(at.compare, !isCrossing(crossed));
    toggle(at.crosshalt, isCrossing(crossed));
    setText(at.crossstatus, text ?? "");
    at.crossstatus.dataset.phase = phase;
    if (!pair) setText(at.crossunknown, "");
    toggle(at.crossed, Boolean(pair && trace));
    if (!pair || !trace) return;
    const unknown = unknownSentence(pair.unknown_words[1] ?? []);
    setText(at.crossunknown, unknown && `Question 2. ${unknown}`);
    setText(at.askedone, pair.questions[0]);
    setText(at.askedother, pair.questions[1]);
    setText(at.overlap, overlapText(pair));
    setText(at.allhead, `all ${trace.tokens.n} tokens`);
    fill(at.rows, ...pair.questions.map((question, i) => row(question, i, pair.answers[i])));
    setText(at.crosswise, crosswiseText(pair));
    const found = numbers(pair);
    for (const button of buttons) {
      const { kind } = button.dataset;
      toggle(button, kind === "kept" || Boolean(found[kind]));
      setChecked(button, kind === kindOf(crossed, found));
    }
  });
  const redraw = (state) => {
    const { crossed, tab, part, trace } = state;
    if (tab !== "words" || part !== "cross" || !crossed.pair || !trace) return;
    draw(at, state, maps, numbers(crossed.pair));
  };
  store.on(["crossed", "cursor", "frame", "tile", "trace", "tab", "part", "veil"], redraw);
  new ResizeObserver(() => redraw(store.state)).observe(at.crossed);
  store.when("theme", () => redraw(store.state));
}

function decode({ maps, kept }) {
  const found = { kept };
  for (const kind of ["relevance", "priority"])
    if (maps.every((one) => one[kind])) found[kind] = maps.map((one) => scoreOf(one[kind]));
  return found;
}

const kindOf = ({ kind }, found) => (found[kind] ? kind : "kept");

function row(question, i, answers) {
  const told = (name) => {
    const answer = answers[name];
    const differs = answer && answers.full && answer.text.trim() !== answers.full.text.trim();
    const text = answer ? answer.text || "(no text)" : "…";
    return el("td", { "data-cell": name }, text, differs ? el("small", {}, " differs from all tokens") : null);
  };
  const head = el("th", { scope: "row", title: question }, el("b", { class: "fx-letter" }, i + 1), " ", question);
  return el("tr", {}, head, ...COLUMNS.map(told));
}

function draw(at, state, maps, found) {
  const { crossed, trace, cursor } = state;
  const kind = kindOf(crossed, found);
  const kept = kind === "kept";
  const n = trace.tokens.n;
  toggle(at.heatscale, !kept);
  toggle(at.apartscale, !kept);
  toggle(at.pairlegend, !kept);
  toggle(at.pairlegend, kept);
  setText(at.apartname, kept ? "Which keeps it" : "2 less 1");
  if (kept) {
    const views = found.kept.map((tokens) => viewOfKept(tokens, n));
    maps.one.draw(state, { only: views[0] });
    maps.other.draw(state, { only: views[1] });
    maps.apart.draw(state, { pair: views });
  } else {
    const [a, b] = found[kind];
    const scale = commonScale([a, b], SCALES[kind]);
    const apart = difference(a, b);
    maps.one.draw(state, { heat: { values: a, ...scale } });
    maps.other.draw(state, { heat: { values: b, ...scale } });
    maps.apart.draw(state, { apart });
    setText(at.heatlow, sig3(scale.min));
    setText(at.heathigh, `${sig3(scale.max)}${scale.kind === "log" ? ", logarithmic" : ""}`);
    setText(at.apartlow, `−${sig3(apart.reach)} more for 1`);
    setText(at.aparthigh, `+${sig3(apart.reach)} more for 2`);
  }
  for (const map of Object.values(maps)) map.canvas.dataset.kind = kind;
  setText(at.crosstoken, cursor >= 0 ? tokenText(found, kind, trace, cursor) : "Point at a token to read both.");
}

function tokenText(found, kind, trace, cursor) {
  const of = (i) =>
    kind === "kept" ? (found.kept[i].includes(cursor) ? "kept" : "dropped") : sig3(found[kind][i][cursor]);
  return `Token #${cursor}, ${place(trace, cursor)}: ${of(0)} for question 1, ${of(1)} for question 2.`;
}
