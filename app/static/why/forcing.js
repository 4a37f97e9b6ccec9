// What if: forcing tokens on the page. Marks them at once, asks for a plan that knows of them, keeps plans that were
// known. Answers step aside by themselves, see made.js.

import { entriesOf } from "../comparing.js";
import { isBusy } from "../answers.js";
import { isForeign, planOf } from "../store.js";
import { NOTHING, changed, forcedKey, isApplied, wayOf } from "./forced.js";

/** @param {import("../store.js").Store} store @param {any} config */
export function mountForcing(store, config) {
  let known = new Map(); // forcedKey -> methods of the trace on screen
  let of = "";
  let tried = new Set();
  const fresh = () => {
    const now = `${store.state.about}/${store.state.setting}`;
    if (now !== of) [of, known, tried] = [now, new Map(), new Set()];
  };

  /** Force tokens and show what is known under it. */
  const force = (forced) => {
    const { state } = store;
    if (!state.trace || forcedKey(forced) === forcedKey(state.forced)) return;
    fresh();
    known.set(forcedKey(state.forced), state.trace.methods);
    const before = known.get(forcedKey(forced));
    store.set({
      forced,
      scene: "",
      asked: null,
      ...(before ? { trace: { ...state.trace, methods: { ...state.trace.methods, ...before } } } : {}),
    });
  };

  store.when("force", ({ tokens, way, flip = false }) => {
    const { trace, forced } = store.state;
    const real = trace ? tokens.filter((i) => i >= 0 && i < trace.tokens.n) : [];
    if (!real.length) return;
    const to = flip && real.every((i) => wayOf(forced, i) === way) ? "" : way;
    const next = changed(forced, real, to, trace.tokens.n);
    force(next.forced);
    store.set({ whatIf: { ...store.state.whatIf, said: next.said } });
  });
  store.when("unforce", () => (force(NOTHING), store.set({ whatIf: { ...store.state.whatIf, said: "" } })));

  store.on(["forced", "method", "trace", "status", "mode", "chosen"], (state) => {
    if (!state.trace || isForeign(state) || isBusy(state.status) || state.status.phase === "failed") return;
    fresh();
    const method = missing(state, config, tried);
    if (!method) return;
    tried.add(`${method}|${forcedKey(state.forced)}`);
    store.act("plan", { method, parameters: state.edited[method] ?? {} });
  });
}

/** A method on screen whose plan does not know what is forced, and that was not asked for in vain. */
function missing(state, config, tried) {
  const shown =
    state.mode === "compare"
      ? entriesOf(state, config)
          .filter((e) => e.plan && e.about?.stage !== "inside")
          .map((e) => e.method)
      : planOf(state)
        ? [state.method]
        : [];
  const left = (method) => !tried.has(`${method}|${forcedKey(state.forced)}`);
  return shown.find((method) => !isApplied(state.trace.methods[method], state.forced) && left(method));
}
