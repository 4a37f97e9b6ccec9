// Questions that fit the scene on the stage, and whether the answers to them are true.

import { el, fill, setText, toggle } from "../dom.js";
import { OFFERED, asked, offer, truthOf, verdict } from "./verdict.js";

const MARKS = { right: ["✓", "right"], holds: ["✓", "names it"], wrong: ["✗", "wrong"] };
const LONGEST = 60; // characters of an answer that are shown here
const MOST_TOLD = 8;
const QUIET_MS = 500; // while a scene is edited nobody asks yet

const NONE =
  "No questions are offered: an object is covered, cut off or of the ground's colour, and people would differ about it.";

/** @param {any} at refs: offered, offers, truth @param {(state: any) => Set<string> | null} wordsOf */
export function mountOffered(at, store, wordsOf) {
  let [questions, of, round, asking] = [/** @type {string[][]} */ ([]), "", 0, false];

  async function fetchFor(text) {
    [questions, of, round] = [[], text, 0];
    asking = text.split("~").length > 2; // there is an object
    show();
    if (!asking) return;
    await new Promise((rested) => setTimeout(rested, store.state.composing ? QUIET_MS : 0));
    if (of !== text) return;
    const found = await told(`./scene/questions?scene=${encodeURIComponent(text)}`);
    if (of !== text) return; // another scene by now
    [questions, asking] = [found, false];
    show();
    judge(store.state);
  }

  function show() {
    for (const node of at.offers.children) node.disabled = asking;
    if (asking) return; // those of the scene before stay for a moment
    const words = wordsOf(store.state);
    const some = offer(questions, words, round);
    const more = questions.length > OFFERED && some.length === OFFERED;
    fill(
      at.offers,
      ...some.map(([, text]) => chip(asked(text))),
      more && el("button", { type: "button", class: "fx-plain", onclick: others }, "Others"),
    );
    const none = of.split("~").length > 2 && !questions.length;
    setText(at.none, none ? NONE : "");
    toggle(at.none, none);
    toggle(at.offered, some.length > 0 || none);
  }

  function others() {
    round++;
    show();
    at.offers.lastElementChild?.focus();
  }

  /** The question of a chip is put into the box, and asked. */
  function chip(text) {
    return el("button", { type: "button", class: "fx-offer", onclick: () => put(text, true) }, text);
  }

  function judge({ question, answers, chosen }) {
    const truth = questions.length ? truthOf(questions, question ?? "") : null;
    const place = ({ method }) =>
      method === "full" ? -1 : chosen.includes(method) ? chosen.indexOf(method) : chosen.length;
    const ended = Object.values(answers)
      .filter((answer) => answer.end && typeof answer.text === "string")
      .sort((a, b) => place(a) - place(b) || b.budget - a.budget);
    toggle(at.truth, Boolean(truth) && ended.length > 0);
    if (!truth || !ended.length) return;
    fill(
      at.truth,
      el("span", {}, "In this scene: ", el("b", {}, truth[2])),
      ...ended.slice(0, MOST_TOLD).map((answer) => {
        const said = verdict(answer.text, truth);
        const [mark, words] = MARKS[said];
        const who = answer.method === "full" ? "all tokens" : `${labelOf(answer.method)} ${answer.budget}`;
        const text = answer.text.length > LONGEST ? `${answer.text.slice(0, LONGEST)}…` : answer.text;
        return el("span", { "data-verdict": said }, `${mark} ${who}, ${words}: ${text}`);
      }),
    );
  }

  const labels = new Map();
  const labelOf = (method) => labels.get(method) ?? method;

  store.on(["drawn"], ({ drawn }) => drawn !== of && void fetchFor(drawn));
  store.on(["model"], show);
  store.on(["answers", "question", "drawn", "chosen"], judge);
  return { labels };
}

/** Put a question into the box, and ask it. */
export function put(text, ask = false) {
  const box = /** @type {HTMLTextAreaElement | null} */ (document.querySelector("#fx-question textarea"));
  if (!box) return;
  box.value = text;
  box.dispatchEvent(new Event("input", { bubbles: true }));
  const button = /** @type {HTMLElement | null} */ (document.querySelector("#fx-askbutton"));
  if (ask) setTimeout(() => button?.click(), 0); // Gradio reads the box first
}

/** Questions of a scene; none where they cannot be had. @returns {Promise<string[][]>} */
async function told(url) {
  try {
    const answer = await fetch(url);
    return answer.ok ? await answer.json() : [];
  } catch {
    return []; // no network, or it broke off
  }
}
