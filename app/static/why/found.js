// What studies found, drawn in the Why tab: scale, ranked tokens, the tokens that are missing.

import { sig3 } from "../format.js";
import { el, fill, setText, toggle } from "../dom.js";
import { DIVERGING_GRADIENT, diverging } from "./diverging.js";
import { layerOf } from "./layer.js";
import { differs, effortText, isStudying, ranked, repairText, roleText } from "./studies.js";

const FIRST = 12; // tokens of the list before all are asked for
const LESS = new WeakSet(); // studies of which all are shown

const signed = (x) => (x > 0 ? `+${sig3(x)}` : sig3(x));

/** What holds for both studies: the switch of the layer and its scale. */
function drawLayer(parts, name, layerName, [less, more]) {
  const { at, state, study, stale } = parts;
  const layer = state.trace && !stale ? layerOf(study, state.trace.tokens.n) : null;
  const show = at[`${name}show`];
  toggle(show, Boolean(layer));
  show.setAttribute("aria-pressed", String(state.layer === layerName));
  const scale = at[`${name}scale`];
  toggle(scale, Boolean(layer));
  if (!layer || scale.of === layer) return;
  scale.of = layer;
  fill(
    scale,
    el("i", { style: `background:${DIVERGING_GRADIENT}`, "aria-hidden": "true" }),
    el(
      "div",
      {},
      el("span", {}, `−${sig3(layer.reach)}`),
      el("span", {}, "0"),
      el("span", {}, `+${sig3(layer.reach)} nats`),
    ),
    el("div", {}, el("span", {}, less), el("span", {}, more)),
  );
}

export function drawInfluence(parts) {
  const { at, study, stale, problem, about } = parts;
  const answer = study?.answer?.text ?? about?.answer?.text;
  const of = answer ? ` “${answer.length > 80 ? `${answer.slice(0, 80)}…` : answer}”` : "";
  setText(
    at.influencenote,
    problem ||
      `Every kept token is left out once, and the probability of the answer${of} is measured again. Measured by leaving out, not attention.`,
  );
  drawLayer(parts, "influence", "influence", ["speaks against the answer", "speaks for it"]);
  const items = study?.influence?.length ? ranked(study.influence) : [];
  toggle(at.ranked, items.length > 0);
  const all = study && LESS.has(study);
  const shown = all ? items : items.slice(0, FIRST);
  at.ranked.classList.toggle("fx-stale-list", stale);
  drawList(parts, shown);
  toggle(at.more, items.length > FIRST && !isStudying(study));
  setText(at.more, all ? "Show fewer" : `Show all ${items.length}`);
  at.more.onclick = () => {
    if (!LESS.delete(study)) LESS.add(study);
    drawInfluence(parts);
  };
}

function drawList({ at, state, store, study, about }, items) {
  const on = [study, items.length, about?.view];
  if (at.ranked.on && on.every((x, i) => x === at.ranked.on[i])) return;
  at.ranked.on = on;
  const focused = at.ranked.contains(document.activeElement)
    ? /** @type {HTMLElement} */ (document.activeElement).dataset.token
    : null;
  const most = Math.max(0.01, ...items.map((item) => Math.abs(item.delta)));
  fill(at.ranked, ...items.map((item, i) => el("li", {}, rowOf(item, i, most, state, about, store))));
  if (focused) at.ranked.querySelector(`[data-token="${focused}"]`)?.focus();
}

function rowOf({ token, delta, absorbed }, i, most, state, about, store) {
  const { row, col, frame } = state.trace.tokens;
  const where = row[token] < 0 ? "outside the grid" : `row ${row[token] + 1}, col ${col[token] + 1}`;
  const time = frame && state.trace.clip ? `frame ${frame[token] + 1}, ` : "";
  const bar = el("i", { class: "fx-why-bar", "aria-hidden": "true" });
  const share = Math.abs(delta) / most;
  Object.assign(bar.style, {
    width: `${(50 * share).toFixed(1)}%`,
    background: diverging((delta < 0 ? -1 : 1) * Math.max(0.45, share)),
  });
  bar.style.setProperty(delta < 0 ? "right" : "left", "50%");
  const button = el(
    "button",
    { type: "button", "data-token": token, title: "Point: marked on the picture. Press: stays marked." },
    el("span", { class: "fx-why-place" }, `${i + 1}`),
    el("b", {}, `#${token}`),
    el("span", { class: "fx-why-where" }, `${time}${where}, ${roleText(about?.view, token, absorbed)}`),
    el("span", { class: "fx-why-bars" }, bar),
    el("span", { class: "fx-why-delta" }, signed(delta)),
  );
  return pointing(button, token, store);
}

/** Pointing at a button, or focusing it, marks its token on the picture; pressing it lets it stay marked. */
export function pointing(button, token, store) {
  let before = -1;
  const show = () => {
    const { trace, cursor, frame } = store.state;
    before = cursor;
    const at = trace.tokens.frame ? trace.tokens.frame[token] : 0;
    store.set({ cursor: token, ...(trace.clip && at !== frame ? { frame: at, playing: false } : {}) });
  };
  const leave = () => {
    if (store.state.cursor === token && button.getAttribute("aria-pressed") !== "true")
      store.set({ cursor: before === token ? -1 : before });
  };
  button.addEventListener("pointerenter", show);
  button.addEventListener("pointerleave", leave);
  button.addEventListener("focus", show);
  button.addEventListener("click", () => {
    for (const other of button.closest("ol, div")?.querySelectorAll("[aria-pressed=true]") ?? [])
      if (other !== button) other.removeAttribute("aria-pressed");
    button.setAttribute("aria-pressed", "true");
    store.set({ cursor: token });
  });
  return button;
}

export function drawRepair(parts) {
  const { at, state, config, store, study, stale, problem, about } = parts;
  const changed = differs(about, stale ? null : study);
  const offer =
    changed === true
      ? "Pruning changed the answer. Dropped tokens are put back, first by regions, then one by one, until the unpruned answer returns."
      : changed === false
        ? "Both answers are the same here. What dropped tokens would add to it can be measured all the same."
        : "Dropped tokens are put back, first by regions, then one by one: what would have brought the unpruned answer back?";
  setText(at.repairnote, problem || offer);
  at.repair.classList.toggle("fx-why-main", changed === true && study?.phase !== "done");
  drawLayer(parts, "repair", "gain", ["makes it less likely", "brings the unpruned answer back"]);
  const repair = stale ? null : study?.repair;
  setText(at.found, repairText(repair, config, about?.method));
  toggle(at.found, Boolean(repair));
  setText(at.effort, effortText(repair));
  toggle(at.effort, Boolean(at.effort.textContent));
  const tokens = repair?.tokens ?? [];
  toggle(at.missing, tokens.length > 0);
  if (at.missing.on !== repair) {
    at.missing.on = repair;
    fill(
      at.missing,
      ...tokens.map((token) =>
        pointing(el("button", { type: "button", "data-token": token }, `#${token}`), token, store),
      ),
    );
  }
  const back = tokens.length > 0 && tokens.every((i) => state.forced.in.includes(i));
  toggle(at.putback, tokens.length > 0 && !back);
  const words = tokens.length === 1 ? "Put it back" : "Put them back";
  setText(at.putback, `${words}: ${(about?.budget ?? 0) + tokens.length} tokens`);
}
