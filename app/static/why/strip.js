// What one token is at every budget, as a thin strip from 1 to N: roles by colour and by pattern.

import { refineAt, rolesAt, snapBudget } from "../plan.js";
import { el } from "../dom.js";

const MOST = 160; // budgets looked at; a strip is not much wider in pixels
const BATCH = 12; // of them in one go, so that no frame waits for it
const NAMES = ["dropped", "merged", "kept", "scan", "focus"];

const tables = new WeakMap(); // plan -> { budgets, roles: Uint8Array of n each, made }

function tableOf(plan, n) {
  if (!tables.has(plan)) {
    const count = Math.min(n, MOST);
    const wanted = Array.from({ length: count }, (_, i) => Math.round(1 + (i * (n - 1)) / Math.max(1, count - 1)));
    const budgets = plan.budgets ? [...new Set(wanted.map((k) => snapBudget(plan, n, k)))] : wanted;
    tables.set(plan, { budgets, roles: budgets.map(() => null), made: 0 });
  }
  return tables.get(plan);
}

/** Computes some more of a plan's roles; true once all are there. */
export function advance(plan, n, batch = BATCH) {
  const table = tableOf(plan, n);
  for (const end = Math.min(table.budgets.length, table.made + batch); table.made < end; table.made++) {
    const budget = table.budgets[table.made];
    const roles = rolesAt(plan, n, budget);
    refineAt(plan, roles, budget);
    table.roles[table.made] = roles;
  }
  return table.made === table.budgets.length;
}

/** Stretches of budgets with one role: from, to (budgets, both included), role. Call `advance` until it is done before.
 *  @returns {{ from: number, to: number, role: number }[]} */
export function stretches(plan, n, token) {
  const { budgets, roles } = tableOf(plan, n);
  const found = [];
  budgets.forEach((budget, i) => {
    const role = roles[i][token];
    const last = found.at(-1);
    const to = i + 1 < budgets.length ? budgets[i + 1] - 1 : n;
    if (last?.role === role) last.to = to;
    else found.push({ from: i ? budget : 1, to, role });
  });
  return found;
}

const WORDS = ["dropped", "merged", "kept", "kept by Scan", "kept by Focus"];

/** The strip in words: "dropped at 1 to 44 tokens, kept by Scan at 45 to 576". */
export function stripText(parts) {
  return parts.map(({ from, to, role }) => `${WORDS[role]} at ${from === to ? from : `${from} to ${to}`}`).join(", ");
}

/** Draws the strip into `node`, at once where its plan was looked through, else when the page is idle.
 *  @param {HTMLElement} node @param {any} plan @param {number} n @param {number} token @param {number} budget */
export function drawStrip(node, plan, n, token, budget) {
  if (plan.kind === "layers") return void drawLayers(node, plan, token, budget);
  node.dataset.token = String(token);
  node.style.setProperty("--at", String((budget - 0.5) / n));
  const work = () => {
    if (node.dataset.token !== String(token) || !node.isConnected) return;
    if (!advance(plan, n)) return void setTimeout(work, 0);
    drawParts(node, stretches(plan, n, token), n);
  };
  if (tables.get(plan)?.made === tables.get(plan)?.budgets.length && tables.has(plan))
    drawParts(node, stretches(plan, n, token), n);
  else setTimeout(work, 0);
}

function drawParts(node, parts, n) {
  node.setAttribute("aria-label", `At every budget: ${stripText(parts)}.`);
  node.replaceChildren(
    ...parts.map(({ from, to, role }) =>
      el("i", {
        class: `fx-strip-${NAMES[role]}`,
        title: `${WORDS[role]} at ${from === to ? from : `${from} to ${to}`} tokens`,
        style: `flex:${to - from + 1} 0 0`,
      }),
    ),
    el("b", { "aria-hidden": "true" }),
  );
  node.dataset.n = String(n);
}

/** Inside the language model: the layers that read the token, at the budget that was run. */
function drawLayers(node, plan, token, budget) {
  const depth = plan.depth[plan.budgets.indexOf(snapBudget(plan, plan.depth[0].length, budget))][token];
  node.style.setProperty("--at", "-1");
  node.setAttribute("aria-label", `Read by the first ${depth} of ${plan.layers} layers.`);
  node.replaceChildren(
    el("i", { class: "fx-strip-kept", style: `flex:${depth} 0 0` }),
    ...(depth < plan.layers ? [el("i", { class: "fx-strip-dropped", style: `flex:${plan.layers - depth} 0 0` })] : []),
  );
}

/** A strip with its ends named, to be put somewhere. */
export function makeStrip(plan, n) {
  const strip = el("div", { class: "fx-strip", role: "img" });
  const ends = plan.kind === "layers" ? ["layer 1", `${plan.layers}`] : ["1 token", `${n}`];
  const node = el(
    "figure",
    { class: "fx-strip-box" },
    el("figcaption", {}, plan.kind === "layers" ? "In which layers it is read" : "Its role at every budget"),
    strip,
    el("div", { class: "fx-strip-ends", "aria-hidden": "true" }, ...ends.map((end) => el("span", {}, end))),
  );
  return { node, strip };
}
