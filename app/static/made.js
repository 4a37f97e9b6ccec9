// What an answer was made with: a method's parameters, and tokens forced in or out. Answers made otherwise than the
// page is set now step aside, and come back when it is set so again. Pure functions of the store's state.

import { ROLE } from "./plan.js";

/** Parameters that differ from the method's own, in the order of its description. */
export function tunedOf(config, name, parameters = {}) {
  const known = config.compare.find((m) => m.name === name)?.parameters ?? [];
  const changed = known.filter((p) => Object.hasOwn(parameters, p.name) && parameters[p.name] !== p.default);
  return Object.fromEntries(changed.map((p) => [p.name, parameters[p.name]]));
}

/** "alpha 0, rho 0.5"; nothing where every parameter is the method's own. */
export function tunedText(tuned = {}) {
  const value = (v) => (v === null ? "default" : String(v).replace("-", "−").replace("_", " "));
  return Object.entries(tuned)
    .map(([name, v]) => `${name.replaceAll("_", " ")} ${value(v)}`)
    .join(", ");
}

/** One text for all that is the same setting. forced: {in, out}, token numbers, see app/why.py. */
function settingOf(tuned = {}, forced = null) {
  const sorted = (list) => [...(list ?? [])].sort((a, b) => a - b);
  const tokens = [sorted(forced?.in), sorted(forced?.out)];
  const parameters = Object.entries(tuned).sort(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify([parameters, tokens.flat().length ? tokens : []]);
}

/** Whether the answer was made with what the page is set to now. */
export function isOfSetting(config, state, answer) {
  if (answer.method === "full") return true;
  const now = settingOf(tunedOf(config, answer.method, state.edited[answer.method]), state.forced);
  return settingOf(answer.parameters, answer.forced) === now;
}

/**
 * {answers, aside}: the answers on screen by key ("full", "fsr@64"), and the others. Recorded ones wait aside for the
 * plan of their method.
 * @param {{ answers: object, aside: object, edited: object, forced?: object | null, trace: any }} state
 */
export function parted(config, state) {
  const answers = {};
  const aside = {};
  for (const answer of [...Object.values(state.aside), ...Object.values(state.answers)]) {
    const { method, budget, recorded } = answer;
    const key = method === "full" ? "full" : `${method}@${budget}`;
    const drawn = method === "full" || !recorded || Object.hasOwn(state.trace?.methods ?? {}, method);
    if (drawn && isOfSetting(config, state, answer)) answers[key] = answer;
    else aside[`${key} ${settingOf(answer.parameters, answer.forced)}`] = answer;
  }
  return { answers, aside };
}

/** Whether `parted` would leave every answer where it is. */
export function isParted(config, state) {
  const keys = ({ answers }) => Object.keys(answers).sort().join();
  return (
    keys(parted(config, state)) === keys(state) &&
    Object.values(state.answers).every((a) => isOfSetting(config, state, a))
  );
}

/** Answers of a recorded trace, each of which says so. */
export function marked(config, trace) {
  if (!trace?.recorded) return trace?.answers ?? {};
  const parameters = ({ method }) => tunedOf(config, method, trace.methods[method]?.parameters);
  const mark = (answer) => ({ parameters: parameters(answer), ...answer, recorded: answer.recorded ?? trace.recorded });
  return Object.fromEntries(Object.entries(trace.answers).map(([key, answer]) => [key, mark(answer)]));
}

/** Whether two traces are about the same: what was answered about one holds for the other. */
export function sameSubject(a, b) {
  return Boolean(
    a &&
    b &&
    a.question === b.question &&
    a.model.id === b.model.id &&
    (a.share ?? "global") === (b.share ?? "global") &&
    a.tokens.n === b.tokens.n &&
    a.frames.length === b.frames.length &&
    a.clip?.sampled === b.clip?.sampled,
  );
}

/** Whether what is on screen keeps every token as it is: nothing is pruned, and the answer is that of all tokens. */
export function keepsAll(view) {
  return Boolean(view) && view.roles.length > 0 && view.roles.every((role) => role >= ROLE.KEPT);
}

/** Of these answers of a method the one whose budget is nearest. */
export function nearestAnswer(answers, method, budget) {
  const known = Object.values(answers).filter((a) => a.method === method);
  return known.sort((a, b) => Math.abs(a.budget - budget) - Math.abs(b.budget - budget))[0];
}
