// What can be added to a scene: kinds, and the objects of one as small pictures.

import { el, fill, mountRadios, setChecked, setText, toggle } from "../dom.js";
import { iconsAt } from "./preview.js";
import { outlinesOf } from "./outlines.js";
import { SHAPE } from "./scene.js";
import { unknownIn } from "./verdict.js";

const TITLES = { building: "Buildings", weather: "Weather" }; // shorter than in questions
const SVG = "http://www.w3.org/2000/svg";

/**
 * @param {any} at refs: kinds, things, unknown
 * @param {(name: string, pointed: boolean) => void} add pointed: not by keyboard
 */
export function mountPalette(at, config, add) {
  let [kind, words, model, color, full] = [SHAPE, /** @type {Set<string> | null} */ (null), "", "red", false];
  const kinds = Object.keys(config.kinds).map((name) =>
    el(
      "button",
      { type: "button", role: "radio", "data-kind": name, onclick: () => choose(name) },
      titleOf(config, name),
    ),
  );
  fill(at.kinds, ...kinds);
  mountRadios(at.kinds, kinds);

  function choose(name) {
    kind = name;
    show();
  }

  function show() {
    for (const button of kinds) setChecked(button, button.dataset.kind === kind);
    const names = config.kinds[kind];
    const unknown = names.filter((name) => unknownIn(name, words).length);
    fill(at.things, ...names.map((name) => thing(name, unknown.includes(name))));
    setText(at.unknown, sentence(unknown, names));
    toggle(at.unknown, unknown.length > 0);
  }

  function sentence(unknown, names) {
    const which = unknown.length === names.length ? `these ${config.titles[kind]}` : unknown.join(", ");
    return `${model} was not taught the ${unknown.length === 1 ? "name" : "names"} of ${which}: it will see something, and call it otherwise.`;
  }

  function thing(name, unknown) {
    return el(
      "button",
      {
        type: "button",
        class: "fx-compose-thing",
        "data-thing": name,
        "data-unknown": String(unknown),
        title: unknown ? `${name}, which this model has no name for` : name,
        "aria-label": `Add ${name}`,
        disabled: full,
        draggable: "true",
        onclick: (event) => add(name, event.detail > 0),
        ondragstart: (event) => event.dataTransfer.setData("text/fsr-object", name),
      },
      kind === SHAPE ? outline(name, config.colors[color]) : icon(config, name),
    );
  }

  return {
    /** words: of the model, null where it reads any; model: its title. */
    known(now, title) {
      [words, model] = [now, title];
      show();
    },
    colored(now) {
      if (now === color) return;
      color = now;
      if (kind === SHAPE) show();
    },
    full(now) {
      if (now === full) return;
      full = now;
      show();
    },
  };
}

function titleOf(config, kind) {
  const many = TITLES[kind] ?? config.titles[kind];
  return many[0].toUpperCase() + many.slice(1);
}

/** A shape as a small picture. */
export function outline(name, color) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "-1.15 -1.15 2.3 2.3");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  const flat = name === "rectangle" ? 0.52 : 1;
  const along = (points) => `M${points.map(([x, y]) => `${x.toFixed(3)},${(y * flat).toFixed(3)}`).join("L")}Z`;
  path.setAttribute("d", outlinesOf(name).map(along).join(""));
  path.setAttribute("fill", color);
  path.setAttribute("fill-rule", "evenodd");
  svg.append(path);
  return svg;
}

/** An icon of the first artist as a small picture. */
function icon(config, name) {
  const { columns, names } = config.atlas;
  const at = names.indexOf(name);
  const rows = Math.ceil(names.length / columns);
  const share = (i, of) => `${(100 * i) / (of - 1)}%`;
  const node = el("i", { "aria-hidden": "true" });
  Object.assign(node.style, {
    backgroundImage: `url("${iconsAt(config.artists[0])}")`,
    backgroundSize: `${100 * columns}% ${100 * rows}%`,
    backgroundPosition: `${share(at % columns, columns)} ${share(Math.floor(at / columns), rows)}`,
  });
  return node;
}
