// What the budget is shared by: all visual tokens together, or each tile or frame its equal part. The other way of
// selecting is planned on the server from what is encoded already, and kept while the question stays.

import { isRunning } from "./answers.js";
import { isForeign, planOf } from "./store.js";
import { el, fill, mountRadios, setChecked, toggle } from "./dom.js";

export const SHARES = ["global", "per_group"];

/** Names for both ways, or nothing where there is one grid only. */
export function waysOf(trace) {
  if (!trace) return null;
  const { frames, tokens } = trace;
  if (trace.clip) return frames.length > 1 ? ["whole clip", "each frame"] : null;
  if (tokens.tile) return ["whole picture", "each tile"];
  if (frames.some((f) => f.part)) return ["whole picture", "each grid"];
  return frames.length > 1 ? ["all pictures", "each picture"] : null;
}

export function mountShare(node, store) {
  const buttons = SHARES.map((share) =>
    el("button", { type: "button", role: "radio", "data-share": share, onclick: () => switchTo(store, share) }),
  );
  fill(node, el("span", {}, "Budget:"), ...buttons);
  mountRadios(node, buttons);
  store.on(["trace", "share", "status", "model"], (state) => {
    const ways = waysOf(state.trace);
    toggle(node, Boolean(ways));
    if (!ways) return;
    const why = whyNot(state);
    buttons.forEach((button, i) => {
      const on = state.share === SHARES[i];
      button.textContent = ways[i];
      setChecked(button, on);
      button.disabled = !on && Boolean(why);
      button.title =
        why ||
        (i
          ? `An equal part of the budget for ${ways[1]}, pruned by itself`
          : "All visual tokens compete for the budget");
    });
  });
}

/** Why the other way cannot be had now, or nothing. */
function whyNot(state) {
  if (isRunning(state.status)) return "Wait until the answer is there.";
  return isForeign(state) && !state.held[other(state.share)]
    ? "Only this way is known; it takes the model of these answers to select the other."
    : "";
}

function other(share) {
  return SHARES[1 - SHARES.indexOf(share)];
}

/** Changes the way; plans and answers of each are kept. */
export function switchTo(store, share) {
  const { state } = store;
  if (share === state.share || !state.trace || whyNot(state)) return;
  const { trace, answers, aside, scene } = state;
  const held = { ...state.held, [state.share]: { trace, answers, aside, scene } };
  const scores = { ...trace.scores };
  delete scores.priority; // it is the method's own
  const full = answers.full ? { full: answers.full } : {};
  const clip = trace.clip ? { ...trace.clip, share } : null;
  const empty = { trace: { ...trace, share, clip, methods: {}, scores, recorded: null }, answers: full, aside: {} };
  const next = held[share] ?? empty;
  store.set({ share, held, scene: "", ...next, asked: null, problems: {} });
  if (!planOf(store.state) && state.mode === "one") {
    store.act("plan", { method: state.method, parameters: state.edited[state.method] ?? {} });
  }
}
