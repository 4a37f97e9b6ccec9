// Taking the view away: a link to it, the record behind it. All made in the browser.

/** The link to the view on screen, see `addressing.js`. */
export function linkTo(state) {
  return state.linkOf?.() ?? window.location.href;
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
