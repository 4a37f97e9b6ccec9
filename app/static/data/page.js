// The page around the panels: light and dark, the link to this view, keys, and what a phone shows of it.

import { setText } from "../dom.js";

export function mountWindow(at, store) {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const look = () => {
    const { theme } = store.state.view;
    document.documentElement.classList.toggle("dark", theme ? theme === "dark" : dark.matches);
  };
  dark.addEventListener("change", look);
  store.on(["view"], look);
  at.theme.addEventListener("click", () => {
    store.look({ theme: document.documentElement.classList.contains("dark") ? "light" : "dark" });
  });
  at.link.addEventListener("click", () => copyLink(at.link));
  at.help.addEventListener("click", () => at.keys.showModal());
  at.keys.addEventListener("click", (event) => event.target === at.keys && at.keys.close());
  for (const button of at.parts.querySelectorAll("button"))
    button.addEventListener("click", () => store.look({ part: button.dataset.part }));
  store.on(["view"], ({ view }) => {
    at.main.dataset.part = view.part;
    for (const button of at.parts.querySelectorAll("button"))
      button.setAttribute("aria-pressed", String(button.dataset.part === view.part));
  });
  mountKeys(at);
}

function mountKeys(at) {
  document.addEventListener("keydown", (event) => {
    const target = /** @type {HTMLElement} */ (event.target);
    if (event.altKey || event.ctrlKey || event.metaKey || target.closest("input, select, textarea, dialog[open]"))
      return;
    if (event.key === "/") at.search.focus();
    else if (event.key === "?") at.keys.showModal();
    else if (event.key === "ArrowDown" && target === document.body) at.layer.querySelector("a[tabindex='0']")?.focus();
    else return;
    event.preventDefault();
  });
}

async function copyLink(button) {
  try {
    await navigator.clipboard.writeText(location.href);
    button.dataset.label ??= button.textContent;
    setText(button, "Copied");
    setTimeout(() => setText(button, button.dataset.label), 1200);
  } catch {
    window.prompt("Copy this link", location.href); // no clipboard without https or permission
  }
}
