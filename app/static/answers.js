// The two answers side by side, where they first differ, and what each one cost.

import {
  bytes,
  comparedTimes,
  firstDifference,
  flops,
  isNumber,
  milliseconds,
  ratio,
  reordered,
  spread,
} from "./format.js";
import { PASSING } from "./notices.js";
import { isForeign } from "./store.js";
import { keepsAll, nearestAnswer, tunedText } from "./made.js";
import { showWith } from "./tabs.js";
import { el, fill, refs, setText, toggle } from "./dom.js";

export function answerKey(method, budget) {
  return method === "full" ? "full" : `${method}@${budget}`;
}

export function mountAnswers(root, store, config, setBudget) {
  const at = refs(root);
  showWith(store, "answer", at.panel);
  mountAllCosts(at);
  store.on(["answers", "method", "view"], (state) => drawSweep(at.sweep, state, setBudget));
  store.on(["answers", "aside", "status", "view", "method", "budget", "trace", "asked", "model", "note"], (state) =>
    draw(at, state, config),
  );
}

const RUNNING = new Set(["waiting", "loading", "encoding", "full", "method", "measuring"]);

export function isRunning(status) {
  return RUNNING.has(status.phase);
}

/** Whether the server is at work for this page: at an answer, or at a selection. */
export function isBusy(status) {
  return isRunning(status) || status.phase === "planning";
}

/**
 * The two answers to show: the one for what is on screen if it is known, else, marked stale, the last one asked for, the
 * nearest budget's, or one that was made with other parameters. whole: every token is kept, so it is the full answer.
 */
export function sides(state) {
  const { answers, aside, asked, method, status, view } = state;
  const budget = view?.budget ?? state.budget;
  const full = answers.full ?? null;
  const exact = answers[answerKey(method, budget)];
  if (!exact && full && keepsAll(view) && !(isRunning(status) && asked))
    return { full, ours: { ...full, method, budget }, stale: false, whole: true };
  const last = asked ? answers[asked] : nearestAnswer(answers, method, budget);
  const ours = exact ?? last ?? (isRunning(status) ? null : nearestAnswer(aside, method, budget)) ?? null;
  return { full, ours, stale: Boolean(ours) && !exact, whole: Boolean(exact) && keepsAll(view) };
}

function draw(at, state, config) {
  const n = state.trace?.tokens.n;
  const { full, ours, stale, whole } = sides(state);
  const label = (name) => config.methods.find((m) => m.name === name)?.label ?? name;
  drawStatus(at.status, state.status);
  setText(at.said, state.note);
  toggle(at.said, Boolean(state.note));
  const making = state.status.text && !PASSING.has(state.status.phase); // what was answered before a refusal stays
  setText(at.asked, !making && (full || ours) ? state.question : "");
  setText(at.fulltitle, n ? `All ${n} tokens` : "All tokens");
  const shown = label(ours?.method ?? state.method);
  const budget = ours?.budget ?? state.view?.budget; // before the model has looked, nobody knows how many tokens there are
  setText(at.ourstitle, stale || !budget ? shown : `${shown}, ${budget} tokens`);
  at.ours.classList.toggle("fx-stale", stale);
  const mixed = full && ours && Boolean(full.recorded) !== Boolean(ours.recorded);
  drawBadge(at.fullbadge, mixed && full.recorded ? "recorded" : "");
  drawBadge(at.oursbadge, [madeText(state, ours, stale, whole), mixed && ours.recorded ? "recorded" : ""]);
  const difference = full?.done && ours?.done ? firstDifference(full.text, ours.text) : null;
  drawText(at.fulltext, full, difference?.left, state.status, "full");
  drawText(at.ourstext, ours, difference?.right, state.status, "method");
  drawVerdict(at.verdict, full, ours, difference, stale, whole);
  drawCosts(at, full?.cost, ours?.cost, n, isRunning(state.status), mixed);
  drawSource(at, state, shown);
}

/** What is to be said of the answer beside its title: what it was made with, where that is not what is on screen. */
function madeText(state, ours, stale, whole) {
  if (whole) return "keeps all: the full answer";
  const tuned = tunedText(ours?.parameters);
  if (!stale) return tuned;
  const other = !Object.values(state.answers).includes(ours);
  return `answered at ${ours.budget} tokens${other ? `, with ${tuned || "the default parameters"}` : tuned && `, ${tuned}`}`;
}

/** @param {HTMLElement} badge @param {string | string[]} texts */
function drawBadge(badge, texts) {
  const text = [texts].flat().filter(Boolean).join("; ");
  setText(badge, text);
  toggle(badge, Boolean(text));
}

function drawStatus(node, status) {
  node.dataset.phase = status.phase;
  setText(node, status.text ?? "");
  toggle(node, Boolean(status.text));
}

/** The text with the first difference marked; the marked part is an element, the text itself never HTML. */
export function drawText(node, answer, range, status, side) {
  const streaming = status.phase === side;
  const waiting = !answer && isRunning(status) && !streaming;
  node.dataset.state = streaming
    ? "streaming"
    : answer
      ? answer.done
        ? "done"
        : "stopped"
      : waiting
        ? "waiting"
        : "empty";
  if (!answer) {
    setText(node, waiting || streaming ? "" : "Not answered yet.");
    return;
  }
  const text = answer.text || (answer.done ? "(no text)" : "");
  if (!range) {
    setText(node, text);
    return;
  }
  fill(
    node,
    document.createTextNode(text.slice(0, range[0])),
    el("mark", {}, text.slice(...range)),
    document.createTextNode(text.slice(range[1])),
  );
}

function drawVerdict(node, full, ours, difference, stale, whole) {
  const known = full?.done && ours?.done;
  node.dataset.same = known ? String(!difference) : "";
  setText(node, known ? verdictText(full, ours, difference, stale, whole) : "");
}

function verdictText(full, ours, difference, stale, whole) {
  if (difference && reordered(full.text, ours.text))
    return "The same things, in another order from the marked word on.";
  if (difference) return "The answers differ from the marked word on.";
  if (whole) return `All ${ours.budget} tokens are kept: this is the full answer.`;
  if (!full.text) return "Neither says a word: the model ends at once.";
  return `The same answer${stale ? ` at ${ours.budget} tokens` : ""}.`;
}

/** Every known answer of this method: its budget, its text, and whether it equals the full one. */
function drawSweep(node, state, setBudget) {
  const { full } = state.answers;
  const known = Object.values(state.answers).filter((a) => a.method === state.method && a.done && a.method !== "full");
  toggle(node, known.length > 1);
  if (node.hidden) return;
  known.sort((a, b) => a.budget - b.budget);
  const several = new Set([full, ...known].filter(Boolean).map((a) => Boolean(a.recorded))).size > 1;
  const focused = node.contains(document.activeElement)
    ? /** @type {HTMLElement} */ (document.activeElement).dataset.budget
    : "";
  fill(
    node,
    ...known.map((a) => {
      const same = full?.done ? sameText(a, full) : null;
      const origin = several && a.recorded ? `, recorded on ${a.recorded.on}` : "";
      const compared =
        same === null ? "" : same ? ": the same answer as with all tokens" : ": another answer than with all tokens";
      const attributes = {
        type: "button",
        class: same === false ? "fx-differs" : "",
        title: `At ${a.budget} tokens${origin}${compared}`,
      };
      const pressed = {
        "data-budget": a.budget,
        "aria-pressed": String(a.budget === state.view?.budget),
        onclick: () => setBudget(a.budget),
      };
      const text = same ? null : el("span", {}, a.text);
      const mark = origin ? el("small", {}, "recorded") : null;
      return el("button", { ...attributes, ...pressed }, el("i", {}), el("b", {}, a.budget), text, mark);
    }),
  );
  if (focused) node.querySelector(`[data-budget="${focused}"]`)?.focus();
}

export function sameText(a, b) {
  return a.text.trim() === b.text.trim();
}

const MINOR = new Set(["encode_ms", "select_ms", "prefill_ms", "peak_bytes", "flops_estimated"]); // left out in projector mode

/** Label, name in the cost, how it is written, words for less and more. @type {[string, string, (x: number) => string, string, string][]} */
const COSTS = [
  ["Visual tokens", "visual_tokens", String, "fewer", "more"],
  ["Vision encode", "encode_ms", milliseconds, "", ""],
  ["Selection", "select_ms", milliseconds, "", ""],
  ["Prefill", "prefill_ms", milliseconds, "", ""],
  ["Selection + prefill", "first_token_ms", milliseconds, "faster", "slower"],
  ["Decode per token", "decode_ms_per_token", milliseconds, "faster", "slower"],
  ["KV cache", "kv_bytes", bytes, "smaller", "larger"],
  ["Peak memory", "peak_bytes", bytes, "smaller", "larger"],
  ["FLOPs, estimated", "flops_estimated", flops, "fewer", "more"],
];

/** The table shows what matters most; the rest on request, so that the scenes below stay in sight. */
function mountAllCosts(at) {
  at.allcosts.addEventListener("click", () => {
    const all = at.costs.toggleAttribute("data-all");
    at.allcosts.setAttribute("aria-expanded", String(all));
    setText(at.allcosts, all ? "Fewer costs" : "All costs");
  });
}

function drawCosts(at, full, ours, n, running, mixed) {
  toggle(at.costs, Boolean(full || ours || running));
  toggle(at.allcosts, !at.costs.hidden);
  const shown = [full, ours, n, running, mixed];
  if (at.costs.hidden || shown.every((x, i) => x === at.shown?.[i])) return; // nothing new: a drag leaves the table alone
  at.shown = shown;
  setText(at.fullhead, n ? `all ${n}` : "all");
  setText(at.ourshead, ours ? String(ours.visual_tokens) : "–");
  const rows = COSTS.filter(
    ([, key]) => isNumber(full?.[key]) || isNumber(ours?.[key]) || (running && key !== "peak_bytes"),
  );
  fill(
    at.rows,
    ...rows.map(([label, key, show, less, more]) => {
      const told = (cost) => isNumber(cost?.[key]) && !(key === "select_ms" && cost === full);
      const value = (cost) =>
        el(
          "td",
          {},
          told(cost) ? show(cost[key]) : "–",
          told(cost) && cost.spread?.[key]
            ? el("small", { class: "fx-spread" }, spread(cost.spread[key], cost[key]))
            : null,
        );
      const compared = () => {
        if (mixed && show === milliseconds) return ""; // of other days and machines
        if (show !== milliseconds) return ratio(full?.[key], ours?.[key], less, more);
        const early = running && !(full?.spread && ours?.spread); // measured once so far
        return early ? "" : comparedTimes(full, ours, key, less, more);
      };
      return el(
        "tr",
        { class: MINOR.has(key) ? "fx-minor" : "" },
        el("th", { scope: "row" }, label),
        value(full),
        value(ours),
        el("td", { class: "fx-ratio" }, less ? compared() : ""),
      );
    }),
  );
}

/** Where these answers come from, and what asking would do. @param {any[]} shown @param {string[]} labels */
export function sourceText(state, shown, labels = []) {
  const { where } = state;
  const [old, fresh] = [true, false].map((wanted) => shown.filter((a) => Boolean(a.recorded) === wanted));
  const by = withOther(state);
  const here = fresh.length && where ? `Measured here${by}, on ${where}, one answer at a time.` : "";
  if (!old.length) return here;
  const { on, device } = old[0].recorded;
  if (!fresh.length)
    return `Recorded${by} on ${on}, ${device}. ${by ? "Ask, and the model in use answers." : "Ask to run it here."}`;
  const which = labels[shown.indexOf(old[0])] ?? "What is marked so";
  return `${which} was recorded on ${on}, ${device}. ${here} Times of the two are not compared.`;
}

/** How the times were measured: nothing before the repeats are there. */
export function repeatsText(...costs) {
  const repeats = Math.min(...costs.filter(Boolean).map((cost) => cost.repeats ?? 1));
  return repeats > 1 && Number.isFinite(repeats)
    ? `Times are medians of ${repeats} runs in turns; in small, the middle half of the runs.`
    : "";
}

/** Which model gave the answers on screen, where it is no longer the one in use. */
export function withOther(state) {
  return isForeign(state) ? ` with ${state.trace.model.title}` : "";
}

function drawSource(at, state, label) {
  const { full, ours } = sides(state);
  const labels = ["The answer of all tokens", `The answer of ${label}`];
  const source = sourceText(state, [full, ours].filter(Boolean), full ? labels : labels.slice(1));
  setText(at.source, [source, repeatsText(full?.cost, ours?.cost)].filter(Boolean).join(" "));
  setText(at.unknown, unknownText(state));
  toggle(at.unknown, Boolean(at.unknown.textContent));
}

/** Words of the question that the model does not know. */
export function unknownText({ trace }) {
  return unknownSentence(trace?.unknown_words ?? []);
}

/** @param {string[]} unknown */
export function unknownSentence(unknown) {
  return unknown.length ? `The model does not know: ${unknown.join(", ")}. It reads each as <unk>.` : "";
}
