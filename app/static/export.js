// Taking the view away: a link to it, the record behind it. All made in the browser.

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

export function save(name, blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 5000);
}

export function nameOf(state, ending) {
  return `fsr-${state.example ?? "picture"}-${state.method}-${state.view?.budget ?? state.budget}.${ending}`;
}

export function saveJson(state) {
  if (!state.trace) return;
  const trace = { ...state.trace, answers: state.answers };
  save(nameOf(state, "json"), new Blob([JSON.stringify(trace)], { type: "application/json" }));
}
