// Which token is under inspection. Hovering points at one for a moment; a click, a tap or the keyboard holds it until
// another is held, Escape lets it go, or the view no longer shows it.

import { isIn } from "./views.js";

/** Hold a token, -1 for none. */
export function hold(store, token) {
  store.set({ cursor: token, pinned: token });
}

/** The pointer or the focus went away: what is held is shown again. */
export function leave(store) {
  store.set({ cursor: store.state.pinned });
}

/** What is held goes with the view that shows it, and comes back after a look at another view of the page. */
export function mountInspection(store) {
  store.on(["frame", "tile", "trace"], ({ trace, pinned, frame, tile, cursor }) => {
    if (pinned < 0) return;
    const there = trace && pinned < trace.tokens.n && (isIn(trace.tokens, pinned, frame, tile) || cursor === pinned);
    if (!there) store.set({ pinned: -1 });
    else if (cursor < 0) store.set({ cursor: pinned });
  });
  store.on(["mode"], ({ cursor, pinned }) => cursor < 0 && pinned >= 0 && store.set({ cursor: pinned }));
}
