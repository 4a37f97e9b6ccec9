// How much Focus takes for this question, and for the others that this model was asked: K_F of N tokens.

import { percent } from "./format.js";
import { el, fill, toggle } from "./dom.js";

const MANY = 20; // questions

/** Linear between the two nearest of ascending values, as numpy's default. */
export function quantile(sorted, q) {
  const at = (sorted.length - 1) * q;
  const low = Math.floor(at);
  const high = Math.min(sorted.length - 1, low + 1);
  return sorted[low] + (at - low) * (sorted[high] - sorted[low]);
}

/** {n, kFocus, cap, share, shares: ascending, recorded} of the method on screen, null where it has no Focus. */
export function spreadOf(state) {
  const facts = state.trace?.methods?.[state.method]?.facts;
  if (!Number.isFinite(facts?.k_focus)) return null;
  const { trace, focusSeen, method } = state;
  const n = trace.tokens.n;
  const recorded = Boolean(trace.recorded);
  const others =
    method !== "fsr" || trace.share === "per_group"
      ? []
      : recorded
        ? (trace.focus ?? [])
        : Object.values(focusSeen[trace.model.id] ?? {});
  return {
    n,
    kFocus: facts.k_focus,
    cap: facts.focus_cap ?? 1,
    share: facts.k_focus / n,
    shares: [...others].sort((a, b) => a - b),
    recorded,
  };
}

/** The middle 90 %; of few, all: their quantiles would say more than is known. */
function middle(shares) {
  return shares.length < MANY ? [shares[0], shares.at(-1)] : [quantile(shares, 0.05), quantile(shares, 0.95)];
}

export function sentence({ n, kFocus, cap, shares, recorded }) {
  const capped = cap < 1 ? `, at most ${percent(cap)} of the budget` : "";
  const own = `Focus asks for ${kFocus} of ${n} tokens${capped}`;
  if (shares.length < 2) return `${own}.`;
  const tokens = (share) => Math.round(share * n);
  const which = recorded ? "recorded questions" : "questions of this session";
  const [low, high] = middle(shares).map(tokens);
  const range = shares.length < MANY ? `${low} to ${high}` : `5–95 %: ${low}–${high}`;
  return `${own}; over the ${shares.length} ${which}: median ${tokens(quantile(shares, 0.5))}, ${range}.`;
}

export function mountSpread(node, store) {
  const text = el("span");
  const plot = el("span", { class: "fx-spread-plot", "aria-hidden": "true" });
  fill(node, text, plot);
  store.on(["trace", "method", "focusSeen"], (state) => {
    const spread = spreadOf(state);
    toggle(node, Boolean(spread));
    if (!spread) return;
    text.textContent = sentence(spread);
    node.title = "K_F (Eq. 4): the fewest tokens of highest priority that hold the share rho of it all";
    draw(plot, spread);
  });
}

/** A dot a question from 0 to the highest, `middle` as a band, this question as a tall mark. */
function draw(plot, { share, shares }) {
  toggle(plot, shares.length > 1);
  if (plot.hidden) return;
  const top = Math.max(share, shares.at(-1)) || 1;
  const at = (v) => `--at:${v / top}`;
  const [low, high] = middle(shares);
  fill(
    plot,
    el("i", { class: "fx-spread-band", style: `${at(low)};--to:${high / top}` }),
    ...shares.map((v) => el("i", { class: "fx-spread-dot", style: at(v) })),
    el("i", { class: "fx-spread-now", style: at(share) }),
  );
}

/** Notes K_F / N of a live trace under its question, for the session's spread; as the paper has it, over all tokens. */
export function seen({ trace, focusSeen, edited, about }) {
  const k = trace?.methods?.fsr?.facts?.k_focus;
  if (!trace || trace.recorded || trace.share === "per_group" || edited.fsr || !Number.isFinite(k)) return focusSeen;
  const model = focusSeen[trace.model.id] ?? {};
  return { ...focusSeen, [trace.model.id]: { ...model, [`${about} ${trace.question}`]: k / trace.tokens.n } };
}
