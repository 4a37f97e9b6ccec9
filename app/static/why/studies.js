// Studies of an answer: which selection they are about, what they found, and in which words. Pure functions.

import { ROLE } from "../plan.js";
import { entriesOf } from "../comparing.js";
import { sameText, sides } from "../answers.js";
import { planOf } from "../store.js";
import { NOTHING, forcedKey } from "./forced.js";

const RUNNING = new Set(["asking", "waiting", "loading", "encoding", "answering", "influence", "regain", "repair"]);

/** @param {any} study */
export const isStudying = (study) => Boolean(study && RUNNING.has(study.phase));

/**
 * The selection that the Why tab is about: the one on screen, or the one chosen in the compare view.
 * @returns {{ method: string, label: string, budget: number, view: any, plan: any, answer: any, full: any, entries: any[], at: number } | null}
 */
export function aboutOf(state, config) {
  if (!state.trace) return null;
  const full = state.answers.full ?? null;
  if (state.mode !== "compare") {
    const label = config.methods.find((m) => m.name === state.method)?.label ?? state.method;
    const { ours, stale } = sides(state);
    const budget = state.view?.budget ?? state.budget;
    const plan = planOf(state);
    return {
      method: state.method,
      label,
      budget,
      view: state.view,
      plan,
      answer: stale ? null : ours,
      full,
      entries: [],
      at: 0,
    };
  }
  const entries = entriesOf(state, config);
  const at = Math.min(state.whyAt, entries.length - 1);
  const entry = entries[at];
  if (!entry) return null;
  const budget = entry.view?.budget ?? entry.budget;
  const answer = entry.stale ? null : entry.answer;
  return {
    method: entry.method,
    label: entry.label,
    budget,
    view: entry.view,
    plan: entry.plan,
    answer,
    full,
    entries,
    at,
  };
}

/** What stands for a selection: everything that its answer depends on. */
export function selectionKey(state, { method, budget }) {
  const { about, share, edited, forced, trace, model } = state;
  const asked = [about, trace.question, model?.answering ?? "", method, budget, share];
  return JSON.stringify([...asked, edited[method] ?? {}, forcedKey(forced ?? NOTHING)]);
}

/** @param {any} state @param {any} about @param {"influence" | "repair"} what */
export function studyOf(state, about, what) {
  return about ? (state.study.known[`${what}|${selectionKey(state, about)}`] ?? null) : null;
}

/** What was measured last, of whatever selection of this picture and question; null where it was of others.
 *  @param {any} state @param {"influence" | "repair"} what */
export function lastStudy(state, what) {
  const key = state.study.last[what];
  if (!key || !state.trace) return null;
  const [about, question] = JSON.parse(key.slice(what.length + 1));
  const here = about === state.about && question === state.trace.question;
  return here ? (state.study.known[key] ?? null) : null;
}

/** Whether pruning changed the answer; null where one of them is not known. */
export function differs(about, study) {
  const [full, ours] = [
    study?.unpruned ?? (about?.full?.done ? about.full : null),
    study?.answer ?? (about?.answer?.done ? about.answer : null),
  ];
  return full && ours ? !sameText(full, ours) : null;
}

/** Ranked, the strongest first: by size, whichever way. */
export const ranked = (influence) =>
  [...influence].sort((a, b) => Math.abs(b.delta) - Math.abs(a.delta) || a.token - b.token);

/** For every token its influence, NaN where none was measured; a merged group's on all that it absorbed. */
export function influenceByToken(study, n) {
  const values = new Float32Array(n).fill(NaN);
  for (const { token, delta, absorbed } of study.influence ?? [])
    for (const i of [token, ...(absorbed ?? [])]) if (i < n) values[i] = delta;
  return values;
}

/** For every token the gain of putting it back; of its region where it was not tried by itself. */
export function gainByToken(study, n) {
  const values = new Float32Array(n).fill(NaN);
  for (const { tokens, gain } of study.regain?.regions ?? []) for (const i of tokens) if (i < n) values[i] = gain;
  for (const { token, gain } of study.regain?.tokens ?? []) if (token < n) values[token] = gain;
  return values;
}

/** The end of a diverging scale around 0; at least a hundredth of a nat, so that noise is not painted as a finding. */
export function reach(values) {
  let most = 0.01;
  for (const v of values) if (Math.abs(v) > most) most = Math.abs(v);
  return most;
}

const listed = (tokens) => tokens.map((i) => `#${i}`).join(", ");

/** "3 tokens would have saved it: #12, #40, #41; CDPruner keeps 2 of them at this budget." */
export function repairText(repair, config, method) {
  if (!repair) return "";
  const { found, tokens, kept_by } = repair;
  if (!found) return repair.note || "No small set of dropped tokens was found that brings the unpruned answer back.";
  if (!tokens.length) return repair.note || "Nothing was lost: the answer is the unpruned one.";
  const those = tokens.length === 1 ? "1 token would have saved it" : `${tokens.length} tokens would have saved it`;
  return `${those}: ${listed(tokens)}${othersText(kept_by ?? {}, tokens.length, config, method)}.`;
}

/** Which other methods keep how many of them, the three that keep most. */
function othersText(keptBy, all, config, method) {
  const others = Object.entries(keptBy).filter(([name]) => name !== method);
  const some = others.filter(([, kept]) => kept.length).sort(([, a], [, b]) => b.length - a.length);
  if (!others.length) return "";
  if (!some.length) return `; at this budget no other method keeps ${all === 1 ? "it" : "one of them"}`;
  const label = (name) => config.compare.find((m) => m.name === name)?.label ?? name;
  const told = some.slice(0, 3).map(([name, kept]) => `${label(name)} keeps ${countText(kept.length, all)}`);
  return `; at this budget ${told.join(", ")}`;
}

const countText = (kept, all) =>
  kept < all ? `${kept} of them` : all === 1 ? "it" : all === 2 ? "both" : "all of them";

/** How far the repair may be from the smallest, and what it took. */
export function effortText(repair) {
  if (!repair) return "";
  const forwards = repair.forwards ? `${repair.forwards} prompts were read for it.` : "";
  const note = repair.found && repair.note ? `${repair.note} ` : "";
  return `${note}${forwards}`.trim();
}

const WORD = ["dropped", "merged", "kept", "scan", "focus"];

/** What a token is in a list: its role, and how many it speaks for. */
export function roleText(view, token, absorbed = []) {
  const word = view ? WORD[view.roles[token]] : "";
  const more = absorbed.length;
  return more && view?.roles[token] >= ROLE.KEPT ? `${word}, with ${more} merged` : word;
}
