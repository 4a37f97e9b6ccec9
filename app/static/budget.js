// The budget: one native range over a track that shows what the budget is spent on. Nothing here talks to the server.

import { budgetNote, nextBudget, paperBudgets, ROLE, snapBudget } from "./plan.js";
import { percent } from "./format.js";
import { splitOf } from "./describe.js";
import { planOf } from "./store.js";
import { sameText } from "./answers.js";
import { el, fill, setText, toggle } from "./dom.js";

/** `shared`: the compare view's budget, which no single method's plan may round. */
export function mountBudget(at, store, { shared = false } = {}) {
  at.range.addEventListener("input", () => setBudget(store, Number(at.range.value)));
  at.range.addEventListener("change", () => store.act("released"));
  store.on(["trace"], (state) => {
    const n = state.trace?.tokens.n ?? 1;
    at.range.max = String(n);
    at.range.disabled = !state.trace;
    toggle(at.count.parentElement, Boolean(state.trace));
    setText(at.total, state.trace ? String(n) : "–");
    fill(at.ticks, ...(state.trace ? ticks(n, store) : []));
  });
  if (shared) {
    store.on(["budget", "trace"], (state) => (state.trace ? drawCount(at, state, state.budget) : drawNothing(at)));
    return;
  }
  store.on(["view", "budget", "trace", "method"], (state) => drawBudget(at, state));
  store.on(["answers", "method", "trace"], (state) => drawMarks(at.marks, state));
}

/** Moves the budget; plans that hold only some budgets show the nearest that is not above. */
export function setBudget(store, wanted) {
  const { trace, mode } = store.state;
  if (!trace) return;
  if (mode === "compare") store.set({ budget: Math.min(trace.tokens.n, Math.max(1, Math.round(wanted))) });
  else store.set({ budget: nextBudget(planOf(store.state), trace.tokens.n, shownBudget(store.state), wanted) });
}

/** By so many tokens, from the budget on screen; at least to the next one that the plan can show. */
export function moveBudget(store, by) {
  const now = shownBudget(store.state);
  setBudget(store, now + by);
  if (shownBudget(store.state) === now) setBudget(store, now + Math.sign(by));
}

function shownBudget(state) {
  return state.trace && state.mode !== "compare"
    ? snapBudget(planOf(state), state.trace.tokens.n, state.budget)
    : state.budget;
}

function drawBudget(at, state) {
  const n = state.trace?.tokens.n;
  if (!n) return void drawNothing(at);
  drawCount(at, state, state.view?.budget ?? state.budget);
  const focus = state.view ? state.view.counts[ROLE.FOCUS] : 0;
  at.track.style.setProperty("--focus", String(focus / n));
  at.track.dataset.kind = state.view?.counts[ROLE.KEPT] && !focus ? "kept" : "stages";
  setText(at.split, splitText(state));
  const note = isFocusOnly(state) ? "Focus used the whole budget: nothing was scanned." : budgetNote(planOf(state), n);
  setText(at.notice, note);
  toggle(at.notice, Boolean(note));
}

/** Before a picture or clip was looked at nobody knows how many tokens it has. */
function drawNothing(at) {
  setText(at.share, "How many visual tokens there are is known after Ask.");
  for (const node of [at.split, at.notice]) setText(node, "");
  toggle(at.notice, false);
  at.track.style.setProperty("--budget", "0");
  at.track.style.setProperty("--focus", "0");
}

function drawCount(at, state, budget) {
  const n = state.trace?.tokens.n;
  if (!n) return;
  if (Number(at.range.value) !== budget) at.range.value = String(budget);
  at.range.setAttribute("aria-valuetext", `${budget} of ${n} visual tokens`);
  setText(at.count, String(budget));
  const cut = percent((budget - n) / n);
  setText(at.share, `${percent(budget / n)} kept · ${budget === n ? "nothing removed" : cut}`);
  at.track.style.setProperty("--budget", String(budget / n));
}

function splitText(state) {
  if (!state.view) return "";
  const { counts, anchors } = state.view;
  const split = splitOf(state.view);
  return split && anchors ? `${split}, ${counts[ROLE.MERGED]} merged into ${anchors}` : split;
}

export function isFocusOnly(state) {
  const counts = state.view?.counts;
  return (
    Boolean(counts) && counts[ROLE.FOCUS] > 0 && counts[ROLE.SCAN] === 0 && counts[ROLE.FOCUS] < state.trace.tokens.n
  );
}

function ticks(n, store) {
  return [...paperBudgets(n), n].map((k) =>
    el(
      "button",
      {
        type: "button",
        class: "fx-tick",
        style: `--at:${k / n}`,
        title: k === n ? "all tokens" : "a budget of the paper's tables",
        onclick: () => {
          setBudget(store, k);
          store.act("released");
        },
      },
      k,
    ),
  );
}

/** A dot on the track at every budget with a known answer: filled where it equals the full answer. */
function drawMarks(marks, state) {
  const n = state.trace?.tokens.n;
  const full = state.answers.full?.text;
  const known = Object.values(state.answers).filter((a) => a.method === state.method && a.done && a.method !== "full");
  fill(
    marks,
    ...(n && full !== undefined ? known : []).map((a) => {
      const same = sameText(a, state.answers.full);
      const title = `at ${a.budget} tokens: ${same ? "the same answer as with all tokens" : "another answer"}`;
      return el("i", { class: same ? "fx-mark" : "fx-mark fx-mark-differs", style: `--at:${a.budget / n}`, title });
    }),
  );
}
