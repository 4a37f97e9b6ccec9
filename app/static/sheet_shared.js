// Two more cells of the contact sheet: how many methods keep each token, and where two of them differ.

import { shared } from "./comparing.js";
import { viridis } from "./color.js";
import { el, fill, setText, toggle } from "./dom.js";

/** The map of how many methods keep each token, with its scale. */
export function drawCount(cell, entries) {
  const most = entries.filter((e) => e.view).length;
  setText(cell.title, "Kept by how many");
  setText(cell.count, `of ${most}`);
  label(cell, `For every token, how many of ${most} keep it. Arrow keys move from token to token.`);
  if (cell.most === most) return;
  cell.most = most;
  toggle(cell.more, true);
  const steps = Array.from({ length: most + 1 }, (_, i) =>
    el("span", {}, el("i", { style: `background:${viridis(i / most)}` }), i),
  );
  fill(cell.more, el("div", { class: "fx-steps" }, ...steps));
}

/** Two of them apart: tokens that only one keeps, and those that both keep. */
export function drawPair(cell, entries, [one, other], store) {
  setText(cell.title, "Where two differ");
  label(cell, `Tokens that only ${one.label}, only ${other.label}, or both keep.`);
  if (!cell.selects) {
    cell.selects = [0, 1].map((side) =>
      el("select", {
        "aria-label": side ? "second of the pair" : "first of the pair",
        onchange: (event) => {
          const pair = [...cell.now];
          pair[side] = Number(event.target.value);
          if (pair[0] === pair[1]) pair[1 - side] = cell.now[side];
          store.set({ pair });
        },
      }),
    );
    cell.keys = ["one", "both", "other"].map((name) =>
      el("span", {}, el("i", { class: `fx-pair-${name}`, "aria-hidden": "true" }), el("b")),
    );
    fill(
      cell.more,
      el("div", { class: "fx-pair-names" }, ...cell.selects),
      el("div", { class: "fx-pair-keys" }, ...cell.keys),
    );
  }
  toggle(cell.more, true);
  cell.now = [entries.indexOf(one), entries.indexOf(other)];
  const names = entries.map((e) => `${e.letter} ${e.label}`);
  if (cell.names !== names.join()) {
    cell.names = names.join();
    for (const select of cell.selects) fill(select, ...names.map((name, i) => el("option", { value: i }, name)));
  }
  cell.selects.forEach((select, side) => (select.value = String(cell.now[side])));
  const counts = shared(one.view, other.view);
  const words = {
    one: `only ${one.letter}: ${counts.one}`,
    both: `both: ${counts.both}`,
    other: `only ${other.letter}: ${counts.other}`,
  };
  cell.keys.forEach((key, i) => setText(key.lastChild, words[["one", "both", "other"][i]]));
}

/** What a canvas is called by screen readers. */
export function label(cell, text) {
  if (cell.canvas.getAttribute("aria-label") !== text) cell.canvas.setAttribute("aria-label", text);
}
