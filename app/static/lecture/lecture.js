// The Lecture tab: play, step and scrub through the pipeline. Everything is computed here; nothing is asked of the server.

import { el, fill, refs, setText, toggle } from "../dom.js";
import { showWith } from "../tabs.js";
import { planOf } from "../store.js";
import { percent, sig3 } from "../format.js";
import { endsOf, heatOf, SCORES } from "../describe.js";
import { VIRIDIS_GRADIENT } from "../color.js";
import { offerTours } from "../guide/guide.js";
import { endOf, reachOf, shareAt, STAGES, stepsOf, textOf } from "./steps.js";

const SPEEDS = [0.5, 1, 2, 4];
const LOOK_MS = 1600; // at a stage of a single step
const ENTER_MS = 260; // at a token that enters

export function mountLecture(root, store, config) {
  const at = refs(root);
  store.set({ needs: Object.fromEntries((config.compare ?? []).map((m) => [m.name, m.requires ?? []])) });
  showWith(store, "lecture", at.panel);
  const motion = window.matchMedia?.("(prefers-reduced-motion: reduce)");
  const player = { timer: 0, speed: 1, playing: false };
  const show = () => draw(at, store.state, player);

  function go(wanted) {
    const steps = stepsOf(store.state);
    if (!steps.length) return;
    const to = Math.min(steps.length - 1, Math.max(0, wanted));
    store.set({ playback: to, cursor: -1, ...frameOf(store.state, steps[to]) });
  }
  function pause() {
    clearTimeout(player.timer);
    if (!player.playing) return;
    player.playing = false;
    show();
  }
  function tick() {
    const steps = stepsOf(store.state);
    const now = store.state.playback ?? 0;
    if (now >= steps.length - 1) return pause();
    const single = steps[now].newest.length === 0;
    player.timer = window.setTimeout(() => (go(now + 1), tick()), (single ? LOOK_MS : ENTER_MS) / player.speed);
  }
  function play() {
    if (player.playing) return pause();
    if (motion?.matches || !stepsOf(store.state).length) return;
    const { playback } = store.state;
    player.playing = true;
    if (playback === null || playback >= stepsOf(store.state).length - 1) go(0);
    store.set({ playing: false }); // the clip's own
    tick();
    show();
  }
  const by = (count) => (pause(), go((store.state.playback ?? -1) + count));
  const leave = () => (pause(), store.set({ playback: null }));

  at.first.addEventListener("click", () => (pause(), go(0)));
  at.back.addEventListener("click", () => by(-1));
  at.next.addEventListener("click", () => by(1));
  at.stepplay.addEventListener("click", play);
  at.leave.addEventListener("click", leave);
  at.stages.addEventListener("click", ({ target }) => {
    const { stage } = target.dataset;
    if (stage) (pause(), go(stepsOf(store.state).findIndex((s) => s.stage === stage)));
  });
  at.scrub.addEventListener("input", () => (pause(), go(Number(at.scrub.value))));
  fill(
    at.stepspeed,
    ...SPEEDS.map((s) => el("option", { value: s, ...(s === 1 ? { selected: true } : {}) }, `${s} ×`)),
  );
  at.stepspeed.addEventListener("change", () => (player.speed = Number(at.stepspeed.value)));
  mountKeys(at.player, { by, play, leave, first: () => (pause(), go(0)), last: () => (pause(), go(Infinity)) });
  const still = () => (toggle(at.still, Boolean(motion?.matches)), toggle(at.stepplay, !motion?.matches));
  motion?.addEventListener?.("change", () => (pause(), still()));
  still();
  offerTours(at.tours, store, config.tours ?? []);
  at.heat.style.background = VIRIDIS_GRADIENT;

  let about = 0;
  store.on(["about"], (state) => {
    if (about && state.about !== about) leave(); // another picture
    about = state.about;
  });
  store.on(["tab", "mode"], ({ tab, mode, playback }, keys) => {
    if (playback !== null && ((keys.has("tab") && tab !== "lecture") || mode === "compare")) leave();
  });
  store.on(["composing"], ({ composing }) => composing && leave());
  store.on(["tab", "playback", "view", "answers", "trace"], show);
}

/** Of a clip the frame of the token that enters, so that it is seen. */
function frameOf({ trace, frame }, { newest }) {
  const wanted = trace.clip && newest.length ? trace.tokens.frame[newest[0]] : frame;
  return wanted === frame ? {} : { frame: wanted };
}

function mountKeys(player, { by, play, leave, first, last }) {
  player.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("select")) return;
    const act = { ArrowLeft: () => by(-1), ArrowRight: () => by(1), Home: first, End: last, Escape: leave }[event.key];
    const space = event.key === " " && !event.target.closest("button");
    if (!act && !space) return;
    event.preventDefault();
    event.stopPropagation(); // a clip's own keys are the same
    (act ?? play)();
  });
}

function draw(at, state, player) {
  if (state.tab !== "lecture" && state.playback === null) return;
  const steps = stepsOf(state);
  const here = state.playback === null ? -1 : Math.min(state.playback, steps.length - 1);
  drawStages(at.stages, steps, here);
  at.scrub.max = String(Math.max(0, steps.length - 1));
  at.scrub.value = String(Math.max(0, here));
  at.scrub.setAttribute("aria-valuetext", here < 0 ? "not begun" : `${here + 1} of ${steps.length}`);
  for (const name of ["scrub", "first", "back", "stepplay", "next"]) at[name].disabled = !steps.length;
  setText(at.stepplay, player.playing ? "❚❚ Pause" : "▶ Play");
  at.stepplay.setAttribute("aria-label", player.playing ? "Pause" : "Play");
  setText(at.stepcount, here < 0 ? `${steps.length} steps` : `Step ${here + 1} of ${steps.length}`);
  toggle(at.leave, here >= 0);
  at.text.setAttribute("aria-live", player.playing ? "off" : "polite");
  setText(at.text, here < 0 ? introduction(state, steps) : textOf(state, here));
  drawShare(at, state, steps[here]);
  drawReach(at, state, steps[here]);
  const heat = Object.hasOwn(SCORES, steps[here]?.stage ?? "") ? heatOf(state.trace, steps[here].stage) : null;
  toggle(at.heatbox, Boolean(heat));
  const [low, high] = heat ? endsOf(heat) : ["", ""];
  setText(at.heatlow, low);
  setText(at.heathigh, high);
}

function introduction(state, steps) {
  if (steps.length) return "See how these tokens came to be chosen: press Play, or step with the arrow keys.";
  return state.trace ? "This method has not looked at the picture yet." : "Choose an example, or press Ask.";
}

function drawStages(list, steps, here) {
  const stages = [...new Set(steps.map((s) => s.stage))];
  if (list.dataset.key !== stages.join()) {
    list.dataset.key = stages.join();
    fill(
      list,
      ...stages.map((stage) => el("li", {}, el("button", { type: "button", "data-stage": stage }, STAGES[stage]))),
    );
  }
  for (const { firstChild: button } of list.children) {
    if (button.dataset.stage === steps[here]?.stage) button.setAttribute("aria-current", "step");
    else button.removeAttribute("aria-current");
    button.dataset.done = String(here >= 0 && endOf(steps, button.dataset.stage) <= here);
  }
}

function drawShare(at, state, now) {
  const plan = planOf(state);
  const share = now?.stage === "focus" ? shareAt(plan, now.kept) : null;
  toggle(at.sharebox, share !== null);
  if (share === null) return;
  const { rho = 0.9 } = state.trace.methods[state.method].parameters;
  at.sharefill.style.width = `${100 * share}%`;
  at.sharemark.style.left = `${100 * rho}%`;
  setText(at.sharevalue, `${percent(share)}, ends at ρ = ${rho}`);
}

function drawReach(at, state, now) {
  const plan = planOf(state);
  const bounds = now?.stage === "scan" ? reachOf(plan) : [];
  toggle(at.reachbox, bounds.length > 2);
  if (bounds.length <= 2) return;
  const all = Math.min(bounds.length - 1, Math.max(2, state.view.budget - plan.k_focus));
  const m = Math.min(all, now.kept - plan.k_focus);
  const top = bounds[1] || 1;
  const line = (to) =>
    bounds
      .slice(1, to + 1)
      .map(
        (b, i) =>
          `${i ? "L" : "M"}${((300 * i) / Math.max(1, all - 1)).toFixed(1)} ${(62 - (60 * b) / top).toFixed(1)}`,
      )
      .join(" ");
  at.reachall.setAttribute("d", line(all));
  at.reachnow.setAttribute("d", line(m));
  setText(at.reachvalue, sig3(bounds[m] ?? NaN));
}
