// Taking the view away: a link to it, a picture of it, the record behind it. All made in the browser.

import { makeGeometry } from "./geometry.js";
import { paint } from "./paint.js";
import { sceneOf } from "./stage.js";
import { sides } from "./answers.js";
import { clock } from "./film_time.js";
import { ROLE } from "./plan.js";
import { viewsOf, windowOf } from "./views.js";

const EXPORT_WIDTH = 1344; // pixels of the exported picture

export function linkTo(state) {
  const url = new URL(window.location.href);
  url.search = "";
  if (state.example) url.searchParams.set("example", state.example);
  if (state.example && state.recording) url.searchParams.set("recording", state.recording);
  if (state.mode === "compare") {
    url.searchParams.set("view", "compare");
    url.searchParams.set("methods", state.chosen.join(","));
  }
  url.searchParams.set("method", state.method);
  url.searchParams.set(
    "budget",
    String(state.mode === "compare" ? state.budget : (state.view?.budget ?? state.budget)),
  );
  if (state.layer !== "roles") url.searchParams.set("layer", state.layer);
  if (state.trace?.clip && state.frame > 0) url.searchParams.set("frame", String(state.frame + 1));
  return url.toString();
}

export async function copyLink(state, button) {
  const link = linkTo(state);
  try {
    await navigator.clipboard.writeText(link);
    button.dataset.label ??= button.textContent; // pressed again it says "Copied" already
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = button.dataset.label), 1200);
  } catch {
    window.prompt("Copy this link", link); // no clipboard without https or permission
  }
}

function save(name, blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 5000);
}

function nameOf(state, ending) {
  return `fsr-${state.example ?? "picture"}-${state.method}-${state.view?.budget ?? state.budget}.${ending}`;
}

export function saveJson(state) {
  if (!state.trace) return;
  const trace = { ...state.trace, answers: state.answers };
  save(nameOf(state, "json"), new Blob([JSON.stringify(trace)], { type: "application/json" }));
}

/** The picture with its tokens, and below it the question, the counts and both answers. */
export function savePng(state, stage) {
  const canvas = drawExport(state, stage);
  canvas?.toBlob((blob) => blob && save(nameOf(state, "png"), blob), "image/png");
}

export function drawExport(state, stage) {
  if (!state.trace) return null;
  const geometry = makeGeometry(state.trace, state.frame, EXPORT_WIDTH, state.tile);
  const lines = caption(state);
  const canvas = document.createElement("canvas");
  canvas.width = geometry.width;
  canvas.height = geometry.height + 40 + 38 * lines.length;
  const overlay = document.createElement("canvas");
  overlay.width = geometry.width;
  overlay.height = geometry.height;
  paint(overlay.getContext("2d"), geometry, { ...sceneOf(state, stage, 2), cursor: -1 });
  const ctx = canvas.getContext("2d");
  ctx.fillStyle = "#fff";
  ctx.fillRect(0, 0, canvas.width, canvas.height);
  ctx.imageSmoothingQuality = "high";
  const [x0, y0, x1, y1] = windowOf(state.trace, state.frame, state.tile);
  const { naturalWidth } = stage.at.image;
  const file = naturalWidth / state.trace.frames[state.frame].width; // pixels of the file for one of the picture
  ctx.drawImage(
    stage.at.image,
    x0 * file,
    y0 * file,
    (x1 - x0) * file,
    (y1 - y0) * file,
    0,
    0,
    geometry.width,
    geometry.height,
  );
  ctx.drawImage(overlay, 0, 0);
  ctx.font = "26px 'IBM Plex Sans', sans-serif";
  lines.forEach(([text, color], i) => {
    ctx.fillStyle = color;
    ctx.fillText(text, 24, geometry.height + 50 + 38 * i, geometry.width - 48);
  });
  return canvas;
}

function caption(state) {
  const { view, trace, method } = state;
  const lines = [[`“${trace.question}”`, "#111"]];
  if (trace.clip)
    lines.push([
      `Frame ${state.frame + 1} of ${trace.frames.length}, ${clock(trace.frames[state.frame].time)}`,
      "#111",
    ]);
  if (view) {
    const { counts } = view;
    const split = counts[ROLE.KEPT]
      ? ""
      : `: ${counts[ROLE.FOCUS]} focus, ${counts[ROLE.SCAN]} scan, ${counts[ROLE.MERGED]} merged`;
    const views = viewsOf(trace);
    const name =
      views.length > 1
        ? ` (drawn: ${views.find((v) => v.frame === state.frame && v.tile === state.tile)?.name.toLowerCase()})`
        : "";
    lines.push([
      `${trace.methods[method]?.label ?? method}, ${view.budget} of ${trace.tokens.n} visual tokens${split}${name}`,
      "#111",
    ]);
  }
  const { full, ours } = sides(state);
  if (full) lines.push([`All ${trace.tokens.n}: ${full.text}`, "#444"]);
  if (ours) lines.push([`${ours.budget} tokens: ${ours.text}`, "#444"]);
  return lines;
}
