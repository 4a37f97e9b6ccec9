// One row of the list: a question, both answers, and what pruning did. All of it is a link to the explorer.

import { el, fill } from "../dom.js";
import { firstDifference, isNumber } from "../format.js";
import { explorerAddress, pictureAddress } from "./asking.js";
import { said } from "./filter.js";
import { budgetText, flipBadge } from "./marks.js";
import { labelOf } from "./view.js";

const SIDE = 120; // pixels of a thumbnail, twice what it measures on screen
const TYPES = ["type", "question_type", "category", "kind", "task", "subject"]; // what data sets call it
const FIXED = new Set(["item", "question", "unpruned", "answer", "flip", "kl", "k_focus"]); // have a place of their own

/** The columns of the data that have room in the list: the type of question, and by what it is sorted.
 *  @param {import("./filter.js").Column[]} columns @param {import("./view.js").View} view */
export function columnsShown(columns, view) {
  const type = TYPES.map((name) => columns.find((c) => c.own && c.label.toLowerCase() === name)).find(Boolean);
  const first = type ?? columns.find((c) => c.own && c.kind === "text");
  const sorted = FIXED.has(view.sort) ? null : columns.find((c) => c.name === view.sort);
  return [...new Set([first, sorted])].filter(Boolean);
}

const HEADS = [
  ["question", "Question"],
  ["answer", "All tokens → pruned"],
  ["flip", "Flip"],
  ["kl", "KL", "nats a token: how far the pruned model's answer is from the unpruned one's"],
  ["k_focus", "K_F", "how many tokens Focus takes (Eq. 4)"],
];

/** The cells of the head: buttons that sort. */
export function headOf(shown, view, besideName) {
  const heads = [...HEADS, ...shown.map((c) => [c.name, c.label])];
  const cells = heads.map(([name, label, help]) => {
    const sorted = view.sort === name;
    const arrow = sorted ? (view.down ? " ↓" : " ↑") : "";
    const button = el(
      "button",
      { type: "button", "data-sort": name, title: help ?? "Sort by this" },
      label,
      el("span", { "aria-hidden": "true" }, arrow),
    );
    const order = sorted ? (view.down ? "descending" : "ascending") : "none";
    return el("span", { role: "columnheader", "aria-sort": order, class: `fx-col-${name}` }, button);
  });
  const picture = el(
    "span",
    { role: "columnheader", class: "fx-col-thumb" },
    el("span", { class: "fx-sr" }, "Picture"),
  );
  const beside = view.beside
    ? el("span", { role: "columnheader", class: "fx-col-beside", title: besideName }, besideName)
    : null;
  return [picture, ...cells.slice(0, 3), beside, ...cells.slice(3)].filter(Boolean);
}

export function emptyRow(index) {
  const waiting = el("a", { href: "#", "aria-busy": "true", onclick: (event) => event.preventDefault() }, "…");
  const cell = el("span", { role: "cell", class: "fx-col-question" }, waiting);
  return el("div", { class: "fx-row", role: "row", "data-index": index, "aria-rowindex": index + 2 }, cell);
}

/** context: {view, columns: those shown, sweep, besideName}. */
export function fillRow(node, row, { view, columns, sweep, besideName }) {
  const held = node.contains(document.activeElement);
  node.dataset.item = String(row.item);
  const cell = (name, ...children) => el("span", { role: "cell", class: `fx-col-${name}` }, ...children);
  const number = (name, label, value) =>
    cell(name, el("span", { class: "fx-unit" }, `${label} `), isNumber(value) ? said(value) : "–");
  const link = el(
    "a",
    { href: explorerAddress(view, row.item), title: `Open at its tokens: ${row.question}` },
    row.question || "no question",
  );
  fill(
    node,
    cell("thumb", pictureIn(node, row, view, sweep)),
    cell("question", link, knownOf(row)),
    row.problem ? cell("answer", el("span", { class: "fx-problem" }, row.problem)) : cell("answer", ...answersOf(row)),
    cell("flip", row.problem ? "–" : flipBadge(row.flip)),
    view.beside ? cell("beside", ...besideOf(row, besideName)) : null,
    number("kl", "KL", row.kl),
    number("k_focus", "K_F", row.k_focus),
    ...columns.map((column) => ownCell(column, row)),
  );
  if (held) node.querySelector("a")?.focus({ preventScroll: true });
}

/** The row's picture; the same element where it shows that already. */
function pictureIn(node, row, view, sweep) {
  const address = pictureAddress(view, row.item, SIDE);
  const before = node.querySelector("img");
  if (before?.dataset.of === address) return before;
  const whose = `${labelOf(sweep, view.method)} at ${budgetText(view.budget)}`;
  const alt = `The picture with the tokens of ${whose}`;
  const image = el("img", { alt, width: 52, height: 52, decoding: "async", "data-of": address });
  image.dataset.src = address; // asked for once scrolling rests
  return image;
}

function knownOf({ answers, item }) {
  const known = (Array.isArray(answers) ? answers : []).slice(0, 3).join(", ");
  return el("small", {}, known ? `right: ${known}` : `question ${item}`);
}

function answersOf({ unpruned, answer, flip }) {
  const [was, is] = contrasted(unpruned, answer).map(said);
  return [
    el("span", { class: "fx-was", title: said(unpruned) }, el("span", { class: "fx-sr" }, "with all tokens "), was),
    el("span", { class: "fx-to", "aria-hidden": "true" }, "→"),
    el(
      "span",
      { class: "fx-is", "data-flip": flip, title: said(answer) },
      el("span", { class: "fx-sr" }, "pruned "),
      is,
    ),
  ];
}

const SHORT = 24; // characters that have room

/** Two answers; long ones that begin alike from the word on where they differ. */
export function contrasted(one, other) {
  const texts = [one ?? "", other ?? ""];
  const differ = firstDifference(...texts);
  if (!differ?.left || !differ.right || texts.every((text) => text.length <= SHORT)) return texts;
  return [differ.left, differ.right].map(([from], i) => (from ? `… ${texts[i].slice(from)}` : texts[i]));
}

/** Beside this sweep: its name, or where it is the same one the method, and the budget where that is another. */
export function besideNameOf(sweeps, view) {
  const other = sweeps.find(({ name }) => name === view.beside);
  if (!other) return "";
  const method = view.besideMethod || view.method;
  const what = view.beside === view.sweep ? [] : [other.name];
  if (view.beside === view.sweep || view.besideMethod) what.push(labelOf(other, method));
  if (view.besideBudget !== null) what.push(`at ${view.besideBudget}`);
  return what.join(" ");
}

function besideOf({ unpruned, beside }, besideName) {
  const unit = el("span", { class: "fx-unit" }, `${besideName} `);
  if (!beside) return [unit, "–"];
  const [, answer] = contrasted(unpruned, beside.answer).map(said);
  const kl = isNumber(beside.kl) ? el("small", {}, `KL ${said(beside.kl)}`) : null;
  const is = el("span", { class: "fx-is", "data-flip": beside.flip, title: said(beside.answer) }, answer);
  return [unit, is, flipBadge(beside.flip), kl].filter(Boolean);
}

function ownCell(column, row) {
  const value = column.own ? row.columns?.[column.name] : row[column.name];
  const label = el("span", { class: "fx-unit" }, `${column.label} `);
  return el(
    "span",
    { role: "cell", class: "fx-col-own", title: `${column.label}: ${said(value)}` },
    label,
    said(value ?? "–"),
  );
}
