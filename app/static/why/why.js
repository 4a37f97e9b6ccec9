// The Why tab: which tokens the answer rests on, what pruning lost, and what if other tokens were kept.

import { answerKey, isRunning } from "../answers.js";
import { isForeign } from "../store.js";
import { el, fill, mountRadios, refs, setChecked, setText, toggle } from "../dom.js";
import { showWith } from "../tabs.js";
import { isApplied, isForced } from "./forced.js";
import { drawInfluence, drawRepair } from "./found.js";
import { aboutOf, isStudying, lastStudy, selectionKey, studyOf } from "./studies.js";
import { whyNodes } from "./token.js";

const FAILED = "The server could not take this. Try again in a moment.";
const WORDS = { influence: "Measure influence", repair: "Find what is missing" };
export const LAYER = { influence: "influence", repair: "gain" };

/**
 * @param {HTMLElement} root @param {any} page @param {any} config
 * @param {{ study: (detail: any) => void, halt: (detail: any) => void }} doors
 */
export function mountWhy(root, page, config, doors) {
  const { store } = page;
  const at = refs(root);
  showWith(store, "why", at.panel);
  const asked = new Map(); // number of a study -> the key that it is kept under
  let number = 0;

  /** @param {"influence" | "repair"} what */
  const ask = (what) => {
    const { state } = store;
    const about = aboutOf(state, config);
    if (!about || !state.trace) return;
    const key = `${what}|${selectionKey(state, about)}`;
    asked.set(++number, key);
    const study = { phase: "asking", text: "Asking.", what, key: answerKey(about.method, about.budget) };
    store.set({
      study: {
        known: { ...state.study.known, [key]: study },
        now: { key, why: number },
        last: { ...state.study.last, [what]: key },
      },
    });
    doors.study({
      ...page.view(),
      method: about.method,
      budget: about.budget,
      question: state.trace.question,
      what,
      why: number,
    });
  };

  const keep = (key, study) => {
    const { known, now, last } = store.state.study;
    const running = isStudying(study);
    const layer = LAYER[study.what];
    const first = !known[key]?.influence && !known[key]?.regain && Boolean(study.influence?.length || study.regain);
    store.set({
      study: { known: { ...known, [key]: study }, now: running ? now : now?.key === key ? null : now, last },
      ...(first && store.state.tab === "why" ? { layer } : {}),
    });
  };

  const receive = (value) => {
    if (!value?.study || (value.about !== undefined && value.about !== store.state.about)) return;
    const study = JSON.parse(value.study);
    const key = asked.get(value.why);
    if (key) keep(key, { ...study, what: study.what ?? store.state.study.known[key]?.what });
  };

  const stop = () => {
    const { now, known } = store.state.study;
    if (!now) return;
    doors.halt({ why: now.why });
    keep(now.key, { ...known[now.key], phase: "stopped", text: "Stopped." });
  };

  store.when("unstudied", () => {
    const { now, known } = store.state.study;
    if (now) keep(now.key, { ...known[now.key], phase: "failed", text: FAILED });
  });

  store.when("study", ask);
  at.influence.addEventListener("click", () => ask("influence"));
  at.repair.addEventListener("click", () => ask("repair"));
  at.influencestop.addEventListener("click", stop);
  at.repairstop.addEventListener("click", stop);
  at.about.addEventListener("change", () => store.set({ whyAt: Number(at.about.value) }));
  mountShow(at, store);
  mountModes(at, store);
  at.putback.addEventListener("click", () => putBack(page, config));

  const shape = ["tab", "trace", "view", "method", "budget", "mode", "answers", "status", "study", "forced", "edited"];
  store.on(
    /** @type {any} */ ([...shape, "layer", "chosen", "arrange", "rowMethod", "layerAt", "whyAt", "model"]),
    (state) => state.tab === "why" && draw(at, state, config, store),
  );
  store.on(
    ["tab", "cursor", "mode", "view", "budget", "whyAt", "trace"],
    (state) => state.tab === "why" && drawToken(at, state, config),
  );
  store.on(["about"], (state) => state.study.now && stop());
  return receive;
}

function draw(at, state, config, store) {
  const about = aboutOf(state, config);
  const comparing = state.mode === "compare";
  toggle(at.aboutbox, comparing && Boolean(about));
  if (comparing && about) drawChoice(at.about, about);
  const problem = problemOf(state, about);
  for (const what of /** @type {const} */ (["influence", "repair"])) {
    const study = studyOf(state, about, what);
    const last = study ?? lastStudy(state, what);
    const running = isStudying(study);
    const elsewhere = !study && Boolean(last) && !isStudying(last);
    at[what].disabled = Boolean(problem) || Boolean(state.study.now);
    toggle(at[what], !running);
    setText(at[what], study?.phase === "done" ? "Measure again" : WORDS[what]);
    at[what].classList.toggle("fx-why-main", what === "influence" && study?.phase !== "done");
    toggle(at[`${what}stop`], running);
    drawProgress(at[`${what}bar`], study);
    drawStatus(at[`${what}status`], study, elsewhere ? last : null, config);
    const parts = { at, state, config, store, about, study: study ?? last, stale: elsewhere, problem };
    if (what === "influence") drawInfluence(parts);
    else drawRepair(parts);
  }
  drawForced(at, state, about);
}

/** Why nothing can be measured now, in a sentence; empty where it can. */
function problemOf(state, about) {
  if (!about) return state.pictures.length ? "Ask first: no tokens are selected yet." : "Choose a picture first.";
  if (isForeign(state))
    return `This was answered with ${state.trace.model.title}. Ask first, and the model in use answers.`;
  if (isRunning(state.status)) return "An answer is being made.";
  return "";
}

/** The methods of the compare view to choose from. */
export function drawChoice(select, { entries, at }) {
  const names = entries.map((e) => `${e.letter} ${e.label}, ${e.budget} tokens`);
  if (select.names !== names.join("\n")) {
    select.names = names.join("\n");
    fill(select, ...names.map((name, i) => el("option", { value: i }, name)));
  }
  if (select.value !== String(at)) select.value = String(at);
}

function drawProgress(bar, study) {
  const running = isStudying(study);
  toggle(bar, running);
  if (!running) return;
  bar.dataset.known = String(Boolean(study.of));
  bar.style.setProperty("--done", String(study.of ? Math.min(1, study.at / study.of) : 0));
}

function drawStatus(node, study, elsewhere, config) {
  let text = "";
  if (isStudying(study)) text = study.of ? `${study.text} ${study.at} of ${study.of}.` : study.text;
  else if (study && (study.phase === "stopped" || study.phase === "failed")) text = study.text;
  else if (elsewhere) {
    const [method, budget] = (elsewhere.key ?? "").split("@");
    const label = config.compare.find((m) => m.name === method)?.label ?? method;
    text = `Measured for ${label} at ${budget} tokens, or with another choice by hand: no longer what is on the picture.`;
  }
  node.dataset.phase = study?.phase ?? "";
  setText(node, text ?? "");
  toggle(node, Boolean(text));
}

/** In the compare view, whose card tells of all methods: why the chosen one kept or dropped the token under the cursor. */
function drawToken(at, state, config) {
  const about = state.mode === "compare" ? aboutOf(state, config) : null;
  toggle(at.token, Boolean(about?.view));
  if (!about?.view) return;
  const pointed = state.cursor >= 0;
  const nodes = pointed ? whyNodes({ ...state, method: about.method, view: about.view }, state.cursor) : [];
  const hint = el("p", { class: "fx-why-note" }, "Point at a token in any picture.");
  fill(
    at.token,
    el("h3", {}, pointed ? `#${state.cursor}, ${about.label}` : `Why, ${about.label}?`),
    ...(pointed ? nodes : [hint]),
  );
}

function mountShow(at, store) {
  for (const what of ["influence", "repair"]) {
    at[`${what}show`].addEventListener("click", () =>
      store.set({ layer: store.state.layer === LAYER[what] ? "roles" : LAYER[what] }),
    );
  }
}

function mountModes(at, store) {
  const buttons = [...at.modes.children];
  for (const button of buttons)
    button.addEventListener("click", () => store.set({ whatIf: { ...store.state.whatIf, mode: button.dataset.mode } }));
  mountRadios(at.modes, buttons);
  at.reset.addEventListener("click", () => store.act("unforce"));
  store.on(["whatIf"], ({ whatIf }) => {
    for (const button of buttons) setChecked(button, button.dataset.mode === whatIf.mode);
  });
}

/** What is forced, whether the picture shows it already, and that an answer waits to be asked for. */
function drawForced(at, state, about) {
  const { forced, whatIf } = state;
  const some = isForced(forced);
  toggle(at.reset, some);
  toggle(at.forced, some || Boolean(whatIf.said));
  if (!some) return void setText(at.forced, whatIf.said);
  const parts = [
    forced.in.length ? `${forced.in.length} kept (pins)` : "",
    forced.out.length ? `${forced.out.length} dropped (crosses)` : "",
  ];
  const counts = `${parts.filter(Boolean).join(" and ")} by hand.`;
  const record = about && state.trace.methods[about.method];
  const planned = !record || isApplied(record, forced);
  const next = planned ? (about?.answer ? "" : "Ask again to see the answer.") : "The method selects the rest again.";
  setText(at.forced, [whatIf.said, counts, next].filter(Boolean).join(" "));
}

/** The tokens that would have saved the answer are kept by hand, with as much more budget: the repair was in addition to
 *  what is kept. */
function putBack({ store, setBudget }, config) {
  const about = aboutOf(store.state, config);
  const tokens = studyOf(store.state, about, "repair")?.repair?.tokens ?? [];
  if (!tokens.length) return;
  setBudget(about.budget + tokens.length);
  store.act("force", { tokens, way: "in" });
  store.set({ layer: "roles" });
}
