// Of one token: why it was kept or dropped, its role at every budget, and which kept token is most like it.

import { el } from "../dom.js";
import { aboutCosine, because } from "./sentences.js";
import { nearestKept } from "./sketch.js";
import { drawStrip, makeStrip } from "./strip.js";

/** @param {{ trace: any, view: any }} about @param {number} token */
export function nearestText({ trace, view }, token) {
  const found = nearestKept(trace, view, token);
  return found && found.token !== view.refine.anchor[token]
    ? `Most like it of all that is kept: #${found.token}, cosine ${aboutCosine(found)}.`
    : "";
}

/** Nodes for a card; nothing where the method has no plan. The strip is drawn once the nodes are in the page.
 *  @param {import("./sentences.js").About} about @param {number} token */
export function whyNodes(about, token) {
  const { trace, method, view } = about;
  const text = because(about, token);
  if (!text) return [];
  const { plan } = trace.methods[method];
  const { node, strip } = makeStrip(plan, trace.tokens.n);
  queueMicrotask(() => drawStrip(strip, plan, trace.tokens.n, token, view.budget));
  const close = nearestText(about, token);
  return [el("p", { class: "fx-because" }, text), close ? el("p", { class: "fx-nearest" }, close) : null, node];
}
