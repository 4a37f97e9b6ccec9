// Fidelity: curves of the chosen methods over budgets, and the smallest budget that keeps the answer.

import { LETTERS } from "./comparing.js";
import { tunedOf, tunedText } from "./made.js";
import { drawChart } from "./chart.js";
import { LOWEST_KL } from "./look.js";
import { percent, sig3 } from "./format.js";
import { el, fill, refs, setText, toggle } from "./dom.js";

const RUNNING = new Set(["waiting", "loading", "encoding", "running"]);

export function isLearning(fidelity) {
  return RUNNING.has(fidelity.phase);
}

export function mountFidelity(root, store, config, { curves, halt }) {
  const at = refs(root);
  const about = (name) => config.compare.find((m) => m.name === name);
  let run = 0;
  const send = (methods, task) => {
    const { fidelity, edited, share, about: picture } = store.state;
    const fresh = task === "curves" ? { points: [], problems: {}, methods, found: {}, edited } : {};
    const parameters = task === "curves" ? edited : fidelity.edited; // what is searched for belongs to the curves
    store.set({
      fidelity: { ...fidelity, ...fresh, run: ++run, task, phase: "waiting", text: "Asking.", at: 0, of: 0 },
    });
    const same = task === "smallest" ? { smallest: true, question: fidelity.question } : {}; // as the curves, whatever stands in the box
    curves({ methods, method: "fsr", share, parameters, about: picture, curves: run, ...same });
  };
  at.draw.addEventListener("click", () => send(methodsOf(store.state), "curves"));
  at.halt.addEventListener("click", () => halt({ curves: run }));
  store.on(["fidelity", "chosen", "arrange", "rowMethod", "budget", "mode"], (state) => {
    if (state.mode !== "compare") return;
    const { fidelity } = state;
    const running = isLearning(fidelity);
    toggle(at.draw, !running);
    setText(at.draw, fidelity.points.length ? "Draw again" : "Draw the curves");
    toggle(at.halt, running);
    at.draw.disabled = !methodsOf(state).length;
    at.learnstatus.dataset.phase = fidelity.phase;
    setText(at.learnstatus, statusOf(fidelity));
    toggle(at.charts, fidelity.points.length > 0);
    const namesOf = (method) => ({
      letter: letterOf(state, fidelity, method),
      label: labelOf(config, fidelity, method),
      about: about(method),
    });
    if (fidelity.points.length) drawCharts(at, fidelity, state, namesOf);
    drawTable(at.fidelitytable, fidelity, namesOf, running, (method) => send([method], "smallest"));
  });
}

/** The points of the curves, in the order in which the page colours their methods. */
export function curvesOf({ fidelity }, format) {
  const { points, question, methods } = fidelity;
  return { figure: "curves", format, points, question, order: methods };
}

/** As on the contact sheet: a method's place among those that are compared; of one method alone, none. */
function letterOf({ arrange, chosen }, { methods }, method) {
  if (methods.length < 2) return "";
  return LETTERS[(arrange === "methods" ? chosen : methods).indexOf(method)] ?? "";
}

/** A method with the parameters that its curve was drawn with, where they are not its own. */
function labelOf(config, { edited }, method) {
  const label = config.compare.find((m) => m.name === method)?.label ?? method;
  const tuned = tunedText(tunedOf(config, method, edited[method]));
  return tuned ? `${label} (${tuned})` : label;
}

function methodsOf(state) {
  return state.arrange === "budgets" ? [state.rowMethod] : state.chosen;
}

function statusOf({ phase, text, at, of, points, question, where }) {
  if (text) return of && phase === "running" ? `${at} of ${of}. ${text}` : text;
  if (!points.length) return "";
  return `“${question}” Measured here, on ${where}.`;
}

function drawCharts(at, fidelity, state, namesOf) {
  const xs = [...new Set(fidelity.points.map((p) => p.budget))].sort((a, b) => a - b);
  const seriesOf = (measure, say) =>
    fidelity.methods.map((method) => ({
      letter: namesOf(method).letter,
      points: fidelity.points
        .filter((p) => p.method === method)
        .sort((a, b) => a.tokens - b.tokens)
        .map((p) => ({
          x: Math.min(xs.at(-1), Math.max(xs[0], p.tokens)),
          y: p[measure],
          title: `${namesOf(method).label}, ${p.tokens} tokens: ${say(p[measure])}`,
        })),
    }));
  const common = {
    xs: xs.length > 1 ? xs : [...new Set([1, ...xs, state.trace?.tokens.n ?? 2])],
    mark: state.arrange === "methods" ? state.budget : null,
    xLabel: "visual tokens (logarithmic)",
  };
  fill(
    at.klchart,
    drawChart({
      ...common,
      series: seriesOf("kl", (y) => `KL ${sig3(y)} nats`),
      log: LOWEST_KL,
      label: "KL divergence from the unpruned model against the budget",
    }),
  );
  fill(
    at.probabilitychart,
    drawChart({
      ...common,
      series: seriesOf("probability", (y) => percent(y)),
      log: 0,
      label: "Probability of the unpruned answer against the budget",
    }),
  );
}

/** The numbers behind the curves, and on demand the smallest budget with the same answer. */
function drawTable(node, fidelity, namesOf, running, search) {
  const { methods, points, found, problems } = fidelity;
  if (!points.length) {
    fill(node);
    return;
  }
  const xs = [...new Set(points.map((p) => p.budget))].sort((a, b) => b - a);
  const head = el(
    "tr",
    {},
    el("th", { scope: "col" }, "Probability at"),
    ...xs.map((x) => el("th", { scope: "col" }, x)),
    el(
      "th",
      { scope: "col", title: "found by doubling and halving; the answer is not always the same above it" },
      "Smallest budget with the same answer",
    ),
  );
  const rows = methods.map((method) => {
    const { letter, label, about } = namesOf(method);
    const mine = new Map(points.filter((p) => p.method === method).map((p) => [p.budget, p]));
    return el(
      "tr",
      {},
      el("th", { scope: "row" }, el("i", { class: "fx-letter" }, letter), " ", label),
      ...xs.map((x) =>
        el(
          "td",
          { title: mine.has(x) ? `KL ${sig3(mine.get(x).kl)} nats` : (problems[method] ?? "") },
          mine.has(x) ? percent(mine.get(x).probability) : "–",
        ),
      ),
      el("td", {}, smallestOf(found[method], label, method, about, running, search)),
    );
  });
  fill(
    node,
    el(
      "div",
      { class: "fx-scroll", tabindex: "0", role: "region", "aria-label": "Fidelity in numbers" },
      el("table", { class: "fx-numbers" }, el("thead", {}, head), el("tbody", {}, ...rows)),
    ),
    ...Object.entries(problems).map(([method, text]) =>
      el("p", { class: "fx-fidelity-note", "data-method": method }, text),
    ),
  );
}

function smallestOf(found, label, method, about, running, search) {
  if (found)
    return `${found.budget ? `${found.budget} token${found.budget > 1 ? "s" : ""}` : "none"} (${found.runs} tried)`;
  if (about?.stage !== "inside" && about?.exact_count === false) return "keeps its own number";
  return el(
    "button",
    {
      type: "button",
      class: "fx-plain",
      disabled: running,
      "aria-label": `Find the smallest budget of ${label}`,
      onclick: () => search(method),
    },
    "Find",
  );
}
