// The compare view's controls: which methods, how arranged, one budget for all, progress.

import { mountTips } from "./tips.js";
import { LETTERS, MOST, entriesOf, firstChoice, madeOf, problemOf } from "./comparing.js";
import { isRunning, sourceText, unknownText } from "./answers.js";
import { mountBudget } from "./budget.js";
import { mountSheet } from "./sheet.js";
import { mountShare } from "./share.js";
import { mountViews } from "./views.js";
import { neverEncoded } from "./describe.js";
import { el, fill, mountRadios, refs, setChecked, setText, toggle } from "./dom.js";

export function mountCompare(root, store, config, stageOf) {
  const at = refs(root);
  mountTips(at.rolekeys);
  mountArrange(at, store);
  mountChips(at, store, config);
  mountSharedBudget(at, store);
  mountSheet(at, store, config, stageOf);
  store.on(["mode"], ({ mode }) => document.body.classList.toggle("fx-comparing", mode === "compare"));
  store.on(["trace"], (state) => {
    if (!state.chosen.length && state.trace) store.set({ chosen: firstChoice(state.trace, config) });
  });
  mountViews(at.sheetframes, store, false);
  mountShare(at.ways, store);
  store.on(
    ["status", "mode", "where", "trace", "question", "answers", "aside", "chosen", "budget", "model", "note"],
    (state) => drawProgress(at, state, config),
  );
  store.on(["chosen", "arrange", "rowMethod", "trace"], (state) => {
    drawMade(at.made, state, config);
    toggle(
      at.crossedkey,
      entriesOf(state, config).some((e) => neverEncoded(state.trace, e.method)),
    );
  });
}

function mountArrange(at, store) {
  const buttons = [...at.arrange.children];
  for (const button of buttons) button.addEventListener("click", () => store.set({ arrange: button.dataset.arrange }));
  mountRadios(at.arrange, buttons);
  store.on(["arrange"], ({ arrange }) => {
    for (const button of buttons) setChecked(button, button.dataset.arrange === arrange);
    toggle(at.chips, arrange === "methods");
    toggle(at.row, arrange === "budgets");
    toggle(at.sharedbox, arrange === "methods");
  });
}

function mountChips(at, store, config) {
  const chips = config.compare.map((method) =>
    el(
      "button",
      {
        type: "button",
        class: "fx-chip",
        "data-method": method.name,
        title: hintOf(method),
        onclick: () => flip(store, method.name),
      },
      el("i", { "aria-hidden": "true" }),
      el("span", {}, method.label),
    ),
  );
  fill(at.chips, ...chips);
  fill(at.row, ...config.compare.map((m) => el("option", { value: m.name }, m.label)));
  at.row.addEventListener("change", () => store.set({ rowMethod: at.row.value }));
  store.on(["rowMethod"], ({ rowMethod }) => (at.row.value = rowMethod));
  store.on(["chosen", "arrange"], (state) => {
    const full = state.chosen.length >= MOST;
    for (const chip of chips) {
      const place = state.chosen.indexOf(chip.dataset.method);
      chip.setAttribute("aria-pressed", String(place >= 0));
      chip.disabled = full && place < 0;
      setText(chip.firstChild, place >= 0 ? LETTERS[place] : "");
    }
    const note =
      problemOf(state) ||
      (full && state.arrange === "methods" ? `${MOST} methods at most; switch one off to choose another.` : "");
    setText(at.choosenote, note);
    toggle(at.choosenote, Boolean(note));
  });
}

function hintOf(method) {
  const where = method.stage === "inside" ? "prunes inside the language model" : "prunes before the language model";
  return [where, method.exact_count ? "" : "decides itself how many tokens it keeps", method.paper]
    .filter(Boolean)
    .join("; ");
}

function flip(store, name) {
  const { chosen } = store.state;
  if (chosen.includes(name)) store.set({ chosen: chosen.filter((m) => m !== name) });
  else if (chosen.length < MOST) store.set({ chosen: [...chosen, name] });
}

function mountSharedBudget(at, store) {
  const unused = el("span");
  mountBudget(
    {
      range: at.sharedrange,
      total: at.sharedtotal,
      ticks: at.sharedticks,
      track: at.sharedtrack,
      count: at.sharedcount,
      share: at.sharedshare,
      marks: at.sharedmarks,
      split: unused,
      notice: unused,
    },
    store,
    { shared: true },
  );
}

function drawProgress(at, state, config) {
  const { status } = state;
  const running = isRunning(status);
  const share = status.of ? Math.max(0, (status.at || 0) - (status.phase === "done" ? 0 : 0.5)) / status.of : 0;
  at.progress.dataset.phase = status.phase;
  at.bar.style.width = `${running ? 100 * share : 0}%`;
  const count = running && status.of ? `${Math.max(1, status.at || 1)} of ${status.of}. ` : "";
  setText(at.progresstext, status.text ? count + status.text : sourceOf(state, config));
  setText(at.unknown, unknownText(state));
  toggle(at.unknown, Boolean(at.unknown.textContent));
}

function sourceOf(state, config) {
  const { answers, note, question, pictures } = state;
  if (!pictures.length) return "Choose an example, or upload a picture.";
  if (!Object.keys(answers).length) return `${note} Press Ask to get every method's answer.`.trim();
  const asked = question ? `“${question}” ` : "";
  const shown = [answers.full, ...entriesOf(state, config).map((e) => e.answer)].filter(Boolean);
  return [note, asked + sourceText(state, shown)].filter(Boolean).join(" ");
}

/** What stands for the scores that the methods read, in this model. */
function drawMade(node, state, config) {
  const made = madeOf(state, entriesOf(state, config));
  fill(
    node,
    ...made.map(([name, words]) => {
      const none = words.startsWith("none");
      const label = name.replaceAll("_", " ");
      const text = none ? `not in this model${words.slice(4)}. Methods that can do without it do.` : `${words}.`;
      return el("p", {}, el("b", {}, `${label[0].toUpperCase()}${label.slice(1)} here: `), text);
    }),
  );
}
