// Building and filling elements. Text goes in as textContent only, so nothing typed is ever read as HTML.

export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((c) => c !== null && c !== undefined).map((c) => (c instanceof Node ? c : String(c))));
  return node;
}

/** The elements marked data-ref inside `root`, by name. */
export function refs(root) {
  return Object.fromEntries([...root.querySelectorAll("[data-ref]")].map((node) => [node.dataset.ref, node]));
}

/** Sets text only where it changed: fewer layouts, and no repeated announcements. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function toggle(node, shown) {
  if (node.hidden === shown) node.hidden = !shown;
}

export function fill(node, ...children) {
  node.replaceChildren(...children.filter(Boolean));
}

/** Buttons with the role of radios as a keyboard expects them: arrows choose the next one that can be had. */
export function mountRadios(group, buttons) {
  group.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    const possible = buttons.filter((button) => !button.hidden && !button.disabled);
    if (!way || !possible.length) return;
    event.preventDefault();
    const next = possible[(possible.indexOf(event.target) + way + possible.length) % possible.length];
    next.focus();
    next.click();
  });
}

/** The chosen one of a group is its only tab stop. */
export function setChecked(radio, on) {
  radio.setAttribute("aria-checked", String(on));
  radio.tabIndex = on ? 0 : -1;
}
