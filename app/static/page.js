// The page around the panels: one store, keyboard, theme, projector mode, and the doors to the server.

import { LAYERS, NO_CURVES, createStore, flipLayer, isForeign, planOf, repaints } from "./store.js";
import { moveBudget, setBudget } from "./budget.js";
import { snapBudget } from "./plan.js";
import { SCORES } from "./describe.js";
import { answerKey, isBusy, isRunning } from "./answers.js";
import { isOfSetting, isParted, marked, parted, sameSubject } from "./made.js";
import { isLearning } from "./fidelity.js";
import { firstView } from "./address.js";
import { createAddress } from "./addressing.js";
import { entriesOf, runsOf, wantedOf } from "./comparing.js";
import { mountInspection } from "./inspect.js";
import { seen } from "./spread.js";
import { nextView } from "./views.js";
import { NOTHING } from "./why/forced.js";
import { mountForcing } from "./why/forcing.js";
import { LAYERS as MEASURED, measuredOf } from "./why/layer.js";
import { mountNotices } from "./notices.js";
import { savedSetting } from "./save/opened.js";

const FAILED = "The server could not take this. Try again in a moment.";
const LOST = "The recorded answers could not be read from the server. Choose the example again.";

export function createPage(config) {
  const store = createStore({ budget: config.budget, method: config.method, layers: new Set(LAYERS) });
  const page = {
    config,
    store,
    repaints,
    before: {},
    ask: 0,
    look: 0,
    forced: NOTHING,
    keepsQuestion: false,
    setBudget: (k) => setBudget(store, k),
  };
  page.address = createAddress(store, config);

  /** Word about a picture that is no longer on the stage, or about an older question. */
  /** @param {{ about?: number, ask?: number }} word */
  const isOld = ({ about, ask }) =>
    (about !== undefined && about !== store.state.about) || (ask !== undefined && ask !== page.ask);

  let latest = 0; // the run of the record that came last: one that is still on its way behind it is not shown

  /** A new record from the server: a whole trace, a patch of the one on screen, or where to get a recorded trace. */
  page.receive = async (value) => {
    if (!value || isOld(value) || (value.fresh && page.address.waits(value))) return;
    if (!value.patch && value.run === latest) return; // Gradio may tell it twice
    if (!value.patch) latest = value.run;
    if (value.file) {
      const trace = await fetched(value.file.url);
      if (latest !== value.run) return;
      if (trace === null) {
        latest = 0;
        return store.set({ status: { phase: "refused", text: LOST } });
      }
      value = { ...value, trace, file: null };
    }
    if (value.patch) return applyPatch(store, JSON.parse(value.patch), value.setting, page.forced);
    const trace = value.trace && JSON.parse(value.trace);
    if (value.fresh || !sameSubject(store.state.trace, trace)) page.before = {}; // they do not belong to this one
    if (trace && !value.fresh) trace.methods = madeWith(trace.methods, page.forced);
    applyTrace(store, { ...value, trace }, config);
    page.address.arrived({ ...value, trace });
  };

  /** A step of the running answer. */
  page.hear = (value) => {
    if (!value || isOld(value)) return;
    const overtaken = value.look !== page.look || isRunning(store.state.status);
    if (value.look !== undefined && overtaken) return; // a selection that an answer has overtaken
    const patch = { status: value.status ?? { phase: "idle" } };
    const { state } = store;
    if (patch.status.phase === "failed")
      Object.assign(patch, { answers: { ...page.before, ...state.answers }, asked: null });
    if (value.answers) {
      const told = madeWith(value.answers, page.forced);
      const now = Object.values(told).every((answer) => isOfSetting(config, state, answer));
      const answers = { ...state.answers, ...told };
      const others = { ...state, aside: { ...state.aside, ...told } }; // tuned on meanwhile
      Object.assign(patch, now ? { answers } : parted(config, others), {
        question: value.question,
        where: value.where,
      });
    }
    if (value.problems) patch.problems = { ...store.state.problems, ...value.problems };
    if (value.asked) patch.asked = value.asked;
    store.set(patch);
  };

  /** A step of the fidelity curves. */
  page.learn = (value) => {
    const of = store.state.fidelity.run;
    if (!value?.fidelity || isOld({ about: value.about }) || (value.curves ?? of) !== of) return;
    const { smallest, ...told } = JSON.parse(value.fidelity);
    const known = store.state.fidelity;
    const found = smallest ? { ...known.found, [smallest.method]: smallest } : known.found;
    const keep =
      known.task === "smallest" ? { points: known.points, problems: known.problems, question: known.question } : {};
    store.set({ fidelity: { ...known, ...told, ...keep, found } });
  };

  /** A figure that was asked for has arrived behind the hidden download button. */
  page.download = () =>
    setTimeout(() => {
      const place = document.querySelector("#fx-download");
      /** @type {HTMLElement} */ (place?.matches("a, button") ? place : place?.querySelector("a, button"))?.click();
      store.set({ drawing: false });
    }, 60);

  /** Something failed on its way, e.g. because too many wait: no further word will come, Gradio's message says why. */
  page.failed = (what) => {
    const { status, fidelity } = store.state;
    if (what === "answers" && isBusy(status))
      page.hear({ status: { phase: isRunning(status) ? "failed" : "refused", text: FAILED } });
    if (what === "fidelity" && isLearning(fidelity))
      store.set({ fidelity: { ...fidelity, phase: "failed", text: FAILED } });
    if (what === "drawing") store.set({ drawing: false });
    if (what === "why") store.act("unstudied");
    if (what === "words") store.act("unread");
    if (what === "scene") store.act("unscened");
    if (what === "link") page.receive(page.address.failed());
  };

  /** What Python needs to know of the view when it is asked for something. `of`: the tokens that the budget is out of. */
  page.view = () => {
    const { method, budget, edited, trace, scene, share, about, forced } = store.state;
    const n = trace?.tokens.n ?? 0;
    const kept = { budget: n && snapBudget(planOf(store.state), n, budget), of: n };
    return { method, ...kept, share, parameters: edited, forced, shown: scene, about };
  };

  /** The first thing that Ask does, before any word from the server: old answers make room, the page shows it heard. */
  page.asking = (question) => {
    const { state } = store;
    const view = page.view();
    page.forced = view.forced;
    const several = state.mode === "compare";
    const keys = several ? runsOf(state).map(([m, k]) => answerKey(m, k)) : [answerKey(view.method, view.budget)];
    const same = !isForeign(state) && (question === undefined || question.trim() === state.trace?.question);
    const stays = (key) => same && key !== "full" && !keys.includes(key);
    page.before = state.answers;
    store.set({
      answers: Object.fromEntries(Object.entries(state.answers).filter(([key]) => stays(key))),
      ...(same ? {} : { aside: {} }),
      ...(several ? { problems: {} } : {}),
      asked: several ? null : keys[0],
      note: "",
      status: { phase: "waiting", text: "Asking." },
    });
    return { ...view, ...(several ? wantedOf(store.state) : {}), ask: ++page.ask };
  };

  /** The question as it goes with an upload: null where the box stays as it is, whoever wrote it. */
  page.kept = (question) => {
    const keeps = page.keepsQuestion;
    page.keepsQuestion = false;
    return keeps ? null : question;
  };

  /** An uploaded picture is on the stage and the server looks at it. */
  page.analysing = () => {
    page.forced = store.state.forced;
    store.set({ status: { phase: "planning", text: "Looking at the picture." } });
    return { ...page.view(), look: ++page.look };
  };

  store.on(["trace"], (state) => store.set({ focusSeen: seen(state) }));
  store.on(["edited", "trace", "forced"], (state) => isParted(config, state) || store.set(parted(config, state)));
  store.on(["status"], ({ status }) => document.body.classList.toggle("fx-running", isRunning(status)));
  store.on(["status"], ({ status }) => document.body.classList.toggle("fx-looking", status.phase === "planning"));
  mountNotices(store); // first: what follows may refuse the same change
  store.on(["method"], (state) => {
    if (state.mode === "one" && state.trace && !planOf(state) && !isRunning(state.status))
      store.act("plan", { method: state.method, parameters: state.edited[state.method] ?? {} });
  });
  store.on(["projector"], ({ projector }) => {
    document.body.classList.toggle("fx-projector", projector);
    store.act("projector", projector);
  });
  store.on(["theme"], ({ theme }) => {
    if (!theme) return; // as the visitor's own machine has it
    document.body.classList.toggle("dark", theme === "dark");
    store.act("theme");
  });
  planMissing(store, config);
  mountForcing(store, config);
  mountInspection(store);
  mountKeys(store, config);
  return page;
}

/** What lies at an address; null where it cannot be had. */
async function fetched(url) {
  try {
    const answer = await fetch(url);
    return answer.ok ? await answer.text() : null;
  } catch {
    return null; // no network, or it broke off
  }
}

/** In the compare view every chosen method is drawn at once where the model has looked at the picture already. After a
 *  stop nothing begins by itself: not before something else is chosen. */
function planMissing(store, config) {
  let wanted = null;
  let drawn = null; // tokens of a recorded trace, which a patch makes a live one
  store.on(["mode", "chosen", "rowMethod", "arrange", "trace", "status"], (state, keys) => {
    if (keys.has("status") && state.status.phase === "stopped") return;
    if (state.trace?.recorded) drawn = state.trace.tokens;
    const looked = state.setting || (drawn && drawn === state.trace?.tokens);
    if (state.mode !== "compare" || !looked || !state.trace || isForeign(state) || isRunning(state.status)) return;
    if (state.status.phase === "refused" && wanted) {
      store.set({ problems: { ...state.problems, [wanted]: state.status.text }, status: { phase: "idle" } });
      wanted = null;
      return;
    }
    if (state.status.phase === "planning") return;
    const missing = entriesOf(state, config).find((e) => !e.plan && !e.problem && e.about?.stage !== "inside");
    wanted = missing?.method ?? null;
    if (missing) store.act("plan", { method: wanted, parameters: state.edited[wanted] ?? {} });
  });
}

const LET_GO = { pinned: -1, region: null, playing: false, marking: false }; // of the picture before

/** A new picture (`fresh`) starts anew; a live trace of the picture on screen keeps the view and clears old answers. */
function applyTrace(store, value, config) {
  const { trace, fresh } = value;
  const { state } = store;
  const n = trace?.tokens.n ?? 0;
  const share = state.trace && state.budget ? state.budget / state.trace.tokens.n : state.steady || 1 / 9;
  const budget = Math.max(1, Math.round(n * share));
  store.set({
    ...(fresh ? { fidelity: NO_CURVES } : {}),
    share: trace?.share ?? (fresh ? "global" : state.share),
    held: value.setting && value.setting === state.setting ? state.held : {},
    trace,
    scene: value.scene ?? "",
    setting: value.setting ?? "",
    problems: {},
    cursor: -1,
    ...answersWith(config, state, trace, Boolean(fresh)),
    asked: null,
    ...(n ? { budget: Math.min(budget, n) } : {}),
    ...(value.pictures ? { pictures: value.pictures, clip: value.clip ?? trace?.clip ?? null } : {}),
    ...(fresh
      ? {
          about: value.run,
          example: value.example,
          source: value.source ?? null,
          drawn: value.drawn ?? "",
          editable: value.drawn ?? value.editable ?? "",
          sitting: value.sitting ?? 0,
          steady: value.edit ? share : 0, // a scene keeps its budget and parameters while it is edited
          recording: value.recording ?? state.recording,
          question: trace?.question ?? "",
        }
      : {}),
    ...(fresh || !sameGrids(trace, state.trace) ? (trace ? firstView(trace) : { frame: 0, tile: -1 }) : {}),
    ...(fresh
      ? {
          edited: value.edit ? state.edited : {},
          forced: NOTHING,
          where: "",
          status: { phase: "idle" },
          note: value.note ?? "",
          ...LET_GO,
          ...savedSetting(value.opened, trace, config),
        }
      : {}),
  });
}

/** {answers, aside} with a trace: of the ones before those stay that are about the same. */
function answersWith(config, state, trace, fresh) {
  const keeps = !fresh && sameSubject(state.trace, trace);
  const { answers, aside } = keeps ? state : { answers: {}, aside: {} };
  const edited = fresh ? {} : state.edited;
  return parted(config, { ...state, edited, trace, aside, answers: { ...answers, ...marked(config, trace) } });
}

function sameGrids(a, b) {
  return a?.frames.length === b?.frames.length && a?.tokens.n === b?.tokens.n;
}

/** One method of the trace on screen anew; not of an older one. setting: what it is about, see `Request.setting`. */
function applyPatch(store, patch, setting, forced) {
  const { trace } = store.state;
  if (!trace || (patch.share ?? "global") !== store.state.share) return;
  if (store.state.setting && setting !== store.state.setting) return;
  const methods = { ...trace.methods, ...madeWith(patch.methods, forced) };
  const scores = { ...trace.scores, ...patch.scores };
  store.set({ trace: { ...trace, methods, scores, recorded: null }, scene: "" });
}

/** Records of methods, or answers, with the tokens that were forced when they were asked for, unless they tell. */
function madeWith(methods, forced) {
  return Object.fromEntries(Object.entries(methods).map(([name, record]) => [name, { forced, ...record }]));
}

function typing(target) {
  return target.closest("input:not([type=range]), textarea, select, [contenteditable]");
}

function mountKeys(store, config) {
  const actions = {
    "[": () => moveBudget(store, -1),
    "]": () => moveBudget(store, 1),
    "{": () => moveBudget(store, -8),
    "}": () => moveBudget(store, 8),
    m: () => store.act("models"),
    p: () => flipProjector(store),
    c: () => flipMode(store),
    l: () => nextLayer(store),
    v: () => nextView(store),
    t: () => flipLayer(store, "ties"),
    k: () => store.act("force", { tokens: [store.state.cursor], way: "in", flip: true }),
    x: () => store.act("force", { tokens: [store.state.cursor], way: "out", flip: true }),
    "?": () => store.act("help"),
  };
  config.methods.slice(0, 9).forEach((m, i) => (actions[i + 1] = () => store.set({ method: m.name })));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
    const act = actions[event.key] ?? actions[event.key.toLowerCase()];
    if (!act) return;
    event.preventDefault();
    act();
  });
}

export function flipMode(store) {
  store.set({ mode: store.state.mode === "compare" ? "one" : "compare", cursor: -1 });
}

function nextLayer(store) {
  const { trace, layer } = store.state;
  const scores = Object.keys(SCORES).filter((name) => trace?.scores?.[name]);
  const measured = Object.keys(MEASURED).filter((name) => measuredOf({ ...store.state, layer: name }));
  const layers = ["roles", ...scores, ...measured];
  store.set({ layer: layers[(layers.indexOf(layer) + 1) % layers.length] });
}

export function flipProjector(store, on) {
  store.set({ projector: on ?? !store.state.projector });
}

export function flipTheme(store) {
  store.set({ theme: document.body.classList.contains("dark") ? "light" : "dark" });
}
