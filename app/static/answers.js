// The two answers side by side, where they first differ, and what each one cost.

import { bytes, comparedTimes, firstDifference, flops, isNumber, milliseconds, ratio, spread } from "./format.js";
import { isForeign } from "./store.js";
import { showWith } from "./tabs.js";
import { el, fill, refs, setText, toggle } from "./dom.js";

export function answerKey(method, budget) {
  return method === "full" ? "full" : `${method}@${budget}`;
}

export function mountAnswers(root, store, config, setBudget) {
  const at = refs(root);
  showWith(store, "answer", at.panel);
  store.on(["answers", "method", "view"], (state) => drawSweep(at.sweep, state, setBudget));
  store.on(["answers", "status", "view", "method", "budget", "trace", "asked", "edited", "model", "note"], (state) =>
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

/** The two answers to show: the one for the budget on screen if it is known, else, marked stale, the last one asked for
 *  or, of recorded ones, the nearest. */
export function sides(state) {
  const budget = state.view?.budget ?? state.budget;
  const full = state.answers.full ?? null;
  const exact = state.answers[answerKey(state.method, budget)];
  const asked = state.asked ? state.answers[state.asked] : nearestAnswer(state, budget);
  const ours = exact ?? asked ?? null;
  return { full, ours, stale: Boolean(ours) && !exact };
}

function nearestAnswer({ answers, method }, budget) {
  const known = Object.values(answers).filter((a) => a.method === method);
  return known.sort((a, b) => Math.abs(a.budget - budget) - Math.abs(b.budget - budget))[0];
}

function draw(at, state, config) {
  const n = state.trace?.tokens.n;
  const { full, ours, stale } = sides(state);
  const label = (name) => config.methods.find((m) => m.name === name)?.label ?? name;
  drawStatus(at.status, state.status);
  setText(at.said, state.note);
  toggle(at.said, Boolean(state.note));
  setText(at.asked, !state.status.text && (full || ours) ? state.question : "");
  setText(at.fulltitle, n ? `All ${n} tokens` : "All tokens");
  const shown = label(ours?.method ?? state.method);
  const budget = ours?.budget ?? state.view?.budget; // before the model has looked, nobody knows how many tokens there are
  setText(at.ourstitle, stale || !budget ? shown : `${shown}, ${budget} tokens`);
  drawBadge(at.oursbadge, at.ours, stale ? `answered at ${ours.budget} tokens` : "");
  if (state.edited[state.method] && ours) drawBadge(at.oursbadge, at.ours, "other parameters");
  const difference = full?.done && ours?.done ? firstDifference(full.text, ours.text) : null;
  drawText(at.fulltext, full, difference?.left, state.status, "full");
  drawText(at.ourstext, ours, difference?.right, state.status, "method");
  drawVerdict(at.verdict, full, ours, difference, stale);
  drawCosts(at, full?.cost, ours?.cost, n, isRunning(state.status));
  drawSource(at, state);
}

function drawBadge(badge, card, text) {
  setText(badge, text);
  toggle(badge, Boolean(text));
  card.classList.toggle("fx-stale", Boolean(text));
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

function drawVerdict(node, full, ours, difference, stale) {
  const known = full?.done && ours?.done;
  node.dataset.same = known ? String(!difference) : "";
  setText(
    node,
    !known
      ? ""
      : difference
        ? "The answers differ from the marked word on."
        : `The same answer${stale ? ` at ${ours.budget} tokens` : ""}.`,
  );
}

/** Every known answer of this method: its budget, its text, and whether it equals the full one. */
function drawSweep(node, state, setBudget) {
  const { full } = state.answers;
  const known = Object.values(state.answers).filter((a) => a.method === state.method && a.done && a.method !== "full");
  toggle(node, known.length > 1);
  if (node.hidden) return;
  known.sort((a, b) => a.budget - b.budget);
  const focused = node.contains(document.activeElement)
    ? /** @type {HTMLElement} */ (document.activeElement).dataset.budget
    : "";
  fill(
    node,
    ...known.map((a) => {
      const same = full?.done ? sameText(a, full) : null;
      const compared =
        same === null ? "" : same ? ": the same answer as with all tokens" : ": another answer than with all tokens";
      const attributes = {
        type: "button",
        class: same === false ? "fx-differs" : "",
        title: `At ${a.budget} tokens${compared}`,
      };
      const pressed = {
        "data-budget": a.budget,
        "aria-pressed": String(a.budget === state.view?.budget),
        onclick: () => setBudget(a.budget),
      };
      const text = same ? null : el("span", {}, a.text);
      return el("button", { ...attributes, ...pressed }, el("i", {}), el("b", {}, a.budget), text);
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

function drawCosts(at, full, ours, n, running) {
  toggle(at.costs, Boolean(full || ours || running));
  const shown = [full, ours, n, running];
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

/** Where recorded answers come from, and what asking would do; nothing for a live trace. */
export function recordedText(state) {
  const { origin, where } = state;
  if (!origin || where) return "";
  const by = withOther(state);
  return `Recorded${by} on ${origin.on}, ${origin.device}. ${by ? "Ask, and the model in use answers." : "Ask to run it here."}`;
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

function drawSource(at, state) {
  const { trace } = state;
  const where = recordedText(state);
  const measured = state.where ? `Measured here${withOther(state)}, on ${state.where}. One answer at a time.` : "";
  const { full, ours } = sides(state);
  setText(at.source, [where || measured, repeatsText(full?.cost, ours?.cost)].filter(Boolean).join(" "));
  const unknown = trace?.unknown_words ?? [];
  toggle(at.unknown, unknown.length > 0);
  setText(at.unknown, unknown.length ? `The model does not know: ${unknown.join(", ")}. It reads each as <unk>.` : "");
}
