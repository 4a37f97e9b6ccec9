// A small popover with what a thing means, beside whatever carries data-tip: on hover and on focus, gone with Escape.

import { el, setText, toggle } from "./dom.js";

/** @param {HTMLElement} root */
export function mountTips(root) {
  const id = "fx-tip";
  const tip = document.getElementById(id) ?? el("div", { id, class: "fx-tip", role: "tooltip", hidden: true });
  if (!tip.isConnected) document.body.append(tip);
  let of = null;
  const hide = () => {
    of?.removeAttribute("aria-describedby");
    of = null;
    toggle(tip, false);
  };
  const show = ({ target }) => {
    const node = target.closest?.("[data-tip]");
    if (!node || node === of) return;
    hide();
    of = node;
    node.setAttribute("aria-describedby", id);
    setText(tip, node.dataset.tip);
    toggle(tip, true);
    const [box, size] = [node.getBoundingClientRect(), tip.getBoundingClientRect()];
    const left = Math.max(8, Math.min(box.left, window.innerWidth - size.width - 8));
    const below = box.bottom + 6 + size.height < window.innerHeight;
    tip.style.left = `${left}px`;
    tip.style.top = `${below ? box.bottom + 6 : box.top - size.height - 6}px`;
  };
  root.addEventListener("pointerover", show);
  root.addEventListener(
    "focusin",
    (event) => /** @type {HTMLElement} */ (event.target).matches(":focus-visible") && show(event),
  );
  root.addEventListener("pointerleave", hide);
  root.addEventListener("focusout", hide);
  root.addEventListener("keydown", (event) => event.key === "Escape" && hide());
  window.addEventListener("scroll", hide, { passive: true });
}
