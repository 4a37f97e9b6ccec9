// What is proven for each family of models, in the picker: one table, and under it the tests of the chosen family.

import { el, fill } from "./dom.js";

/** @param {Record<string, HTMLElement>} at the picker's parts */
export function mountProven(at) {
  let shown = null;
  return (proven) => {
    if (!proven || proven === shown) return;
    shown = proven;
    fill(at.families, head(proven), body(proven, at));
    fill(at.tests);
  };
}

function head({ columns }) {
  const named = Object.entries(columns).map(([name, meaning]) => el("th", { scope: "col", title: meaning }, name));
  return el(
    "thead",
    {},
    el("tr", {}, el("th", { scope: "col" }, "family"), ...named, el("th", { scope: "col" }, "real weights")),
  );
}

function body({ columns, families }, at) {
  const rows = families.map((family) => {
    const show = (event) => {
      for (const other of at.families.querySelectorAll("button")) other.setAttribute("aria-pressed", "false");
      event.currentTarget.setAttribute("aria-pressed", "true");
      fill(at.tests, ...testsOf(family, columns));
    };
    const button = el("button", { type: "button", "aria-pressed": "false", onclick: show }, family.title);
    const cells = Object.values(family.cells).map((cell) =>
      el("td", { class: cell.tests.length ? null : "fx-unproven" }, mark(cell)),
    );
    const real = el("td", { class: family.real === "not run" ? "fx-unproven" : null }, family.real);
    return el("tr", {}, el("th", { scope: "row" }, button), ...cells, real);
  });
  return el("tbody", {}, ...rows);
}

/** A word says more than a mark where there is one. */
function mark({ text, tests }) {
  return tests.length && text === "yes" ? "\u2713" : text;
}

function testsOf(family, columns) {
  const proven = Object.entries(family.cells).filter(([, cell]) => cell.tests.length);
  return [
    el("h3", {}, `${family.title}, ${family.loads}`),
    el(
      "dl",
      {},
      ...proven.flatMap(([name, cell]) => [
        el("dt", {}, columns[name]),
        ...cell.tests.map((test) => el("dd", {}, el("code", {}, test))),
      ]),
    ),
  ];
}
