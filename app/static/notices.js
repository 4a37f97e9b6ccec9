// What was said of one action goes with the next one: refusals and failures.

export const PASSING = new Set(["refused", "failed"]);
const CONTROLS = "button, a, input, select, textarea, canvas, summary, [role=slider], [role=tab]";

/** @param {import("./store.js").Store} store */
export function mountNotices(store) {
  const clear = () => {
    if (PASSING.has(store.state.status.phase)) store.set({ status: { phase: "idle" } });
  };
  for (const kind of ["click", "input"])
    document.addEventListener(
      kind,
      (event) => event.target instanceof window.Element && acts(event.target) && clear(),
      {
        capture: true,
      },
    );
  store.on(["method", "budget", "layer", "mode"], (_, keys) => keys.has("status") || clear()); // by keys
}

function acts(target) {
  return Boolean(target.closest(CONTROLS));
}
