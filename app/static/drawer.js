// The drawer with the parameters of a method, built from the method's own description. A change re-selects on the
// server from what is already encoded; the picture is never encoded again. It lies beside picture and answers.

import { sig3 } from "./format.js";
import { isBusy } from "./answers.js";
import { isForeign } from "./store.js";
import { isApplied } from "./why/forced.js";
import { el, fill, refs, setText, toggle } from "./dom.js";

const SETTLE_MS = 180;
const NARROW = window.matchMedia?.("(max-width: 760px)") ?? { matches: false }; // it covers the lower half there

export function mountDrawer(root, store, config, ask, nextLook) {
  const at = refs(root);
  let timer = 0;
  let tuned = store.state.method; // whose parameters are shown
  let opener = null;
  const waiting = new Map(); // by method: one selection at a time, so that the last change has the last word
  const replan = (detail) => {
    const { trace, status, share, about, forced } = store.state;
    if (!trace || aboutOf(config, detail.method)?.stage === "inside") return; // that one is known after an answer only
    if (isForeign(store.state)) {
      store.set({
        status: {
          phase: "refused",
          text: `These tokens were selected with ${trace.model.title}. Ask, to select and answer with the model in use.`,
        },
      });
      return;
    }
    if (isBusy(status)) return void waiting.set(detail.method, detail);
    if (isKnown(trace.methods[detail.method], detail.parameters, forced)) return;
    store.set({ status: { phase: "planning", text: "Selecting again." } });
    ask({ ...detail, question: trace.question, share, about, forced, look: nextLook() });
  };
  const edit = (method, values) => {
    const edited = { ...store.state.edited };
    delete edited[method];
    const own = Object.entries(store.state.problems).filter(([key]) => key.split("@")[0] !== method);
    store.set({ edited: values ? { ...edited, [method]: values } : edited, problems: Object.fromEntries(own) });
    clearTimeout(timer);
  };
  const change = (name, value) => {
    const method = tuned;
    const values = { ...valuesOf(store.state, config, method), [name]: value };
    edit(method, values);
    timer = setTimeout(() => replan({ method, parameters: values }), SETTLE_MS);
  };
  at.reset.addEventListener("click", () => {
    edit(tuned, null);
    replan({ method: tuned, parameters: {} });
    build();
  });
  const open = (shown) => {
    if (shown) opener = document.activeElement;
    toggle(at.panel, shown);
    document.body.classList.toggle("fx-tuning", shown);
    (shown ? at.close : opener)?.focus({ preventScroll: NARROW.matches });
    if (shown && NARROW.matches) (opener?.closest(".fx-cell") ?? document.querySelector(".fx-stage"))?.scrollIntoView();
  };
  const build = () => buildForm(at, store.state, config, tuned, change);
  const tune = (method = store.state.method) => {
    const other = method !== tuned;
    tuned = method;
    build();
    open(at.panel.hidden || other);
  };
  at.close.addEventListener("click", () => open(false));
  at.panel.addEventListener("keydown", (event) => event.key === "Escape" && open(false));
  store.when("plan", (detail) => replan(detail));
  store.when("drawer", tune);
  store.on(["method", "about", "mode"], (state, keys) => {
    if (keys.has("mode") && !at.panel.hidden) open(false);
    tuned = state.method;
    build();
  });
  store.on(["about"], () => (clearTimeout(timer), waiting.clear()));
  store.on(["status"], ({ status }) => {
    setText(at.problem, status.phase === "refused" ? status.text : "");
    toggle(at.problem, status.phase === "refused");
    if (status.phase === "stopped") waiting.clear();
    const [next] = isBusy(status) ? [] : waiting.values();
    if (next) (waiting.delete(next.method), replan(next));
  });
}

/** Whether the plan on screen was made with these parameters; none stand for the defaults, which only Python knows. */
function isKnown(record, parameters, forced) {
  const wanted = Object.entries(parameters);
  return (
    Boolean(record && wanted.length) &&
    isApplied(record, forced) &&
    wanted.every(([name, value]) => record.parameters[name] === value)
  );
}

function aboutOf(config, name) {
  return config.compare.find((m) => m.name === name);
}

/** The parameter values of a method: edited ones, else the defaults. */
export function valuesOf(state, config, name) {
  const defaults = Object.fromEntries((aboutOf(config, name)?.parameters ?? []).map((p) => [p.name, p.default]));
  return { ...defaults, ...state.edited[name] };
}

function buildForm(at, state, config, name, change) {
  const method = aboutOf(config, name);
  const values = valuesOf(state, config, name);
  setText(at.title, `${method?.label ?? "Method"}: parameters`);
  const again = "A change selects again from the same encoded picture. Answers wait until you ask.";
  setText(
    at.hint,
    method?.stage === "inside" ? "It prunes inside the language model: ask, to see what a change does." : again,
  );
  fill(at.form, ...(method?.parameters ?? []).map((p) => field(p, values[p.name], (value) => change(p.name, value))));
}

function field(p, value, change) {
  const id = `fx-parameter-${p.name}`;
  const control = p.choices ? choice(p, value, id, change) : number(p, value, id, change);
  return el(
    "div",
    { class: "fx-parameter" },
    el("label", { for: id }, p.name.replaceAll("_", " ")),
    control,
    el("p", {}, p.doc),
  );
}

function choice(p, value, id, change) {
  const text = (c) =>
    c === null ? "the model's own" : typeof c === "number" && c > 0 ? `+${c}` : String(c).replace("-", "−");
  const options = p.choices.map((c, i) => el("option", { value: i, selected: c === value }, text(c)));
  return el("select", { id, onchange: (event) => change(p.choices[Number(event.target.value)]) }, ...options);
}

/** A range with a number beside it; an optional number has a switch for "by default". */
function number(p, value, id, change) {
  const top = p.high ?? Math.max(5, 2 * (p.default ?? 0));
  const step = p.whole ? 1 : top <= 1 ? 0.01 : 0.1;
  const low = p.above ? p.low + step : p.low;
  const shown = value ?? top;
  const range = el("input", { type: "range", id, min: low, max: top, step, value: shown });
  const box = el("output", { for: id }, value === null ? "default" : sig3(shown));
  const say = () => {
    setText(box, range.disabled ? "default" : sig3(Number(range.value)));
    change(range.disabled ? null : Number(range.value));
  };
  range.addEventListener("input", say);
  if (!p.optional) return el("span", { class: "fx-number" }, range, box);
  range.disabled = value === null;
  const auto = el("input", {
    type: "checkbox",
    checked: value === null,
    "aria-label": "by default",
    onchange: () => {
      range.disabled = auto.checked;
      say();
    },
  });
  return el("span", { class: "fx-number" }, range, box, el("label", { class: "fx-auto" }, auto, "default"));
}
