// A visitor's own file: dropped, pasted or drawn, it goes the way of the upload button, with its limits.

import { addNote, dropNote } from "../notes.js";

const ENDINGS = { "image/png": "png", "image/jpeg": "jpg", "image/webp": "webp" };
const NONE = "There is no picture on the clipboard: copy one first (JPEG, PNG or WebP).";
const REFUSED = "The browser did not let the page read the clipboard. Press Ctrl+V (on a Mac Cmd+V) instead.";

/**
 * The picture on a clipboard, null where there is none, or where its text is pasted into a field.
 * @param {{ files: Iterable<File>, types: readonly string[] }} data
 * @param {boolean} intoField
 */
export function pastedFile(data, intoField) {
  if (intoField && data.types.includes("text/plain")) return null;
  return [...data.files].find((file) => /^(image|video)\//.test(file.type)) ?? null;
}

/** A name that the upload button takes: of a pasted picture there is none, or one without an ending. */
export function namedFile(blob, name) {
  const ending = ENDINGS[blob.type];
  return new File([blob], ending ? `${name}.${ending}` : name, { type: blob.type });
}

/** Give a file to the upload button, which may not be there yet in the page's first moments. */
export function hand(file, tries = 100) {
  /** @type {HTMLInputElement | null} */
  const input = document.querySelector("#fx-choose input[type=file]");
  if (!input) {
    if (tries > 0) setTimeout(() => hand(file, tries - 1), 100);
    return;
  }
  const carried = new DataTransfer();
  carried.items.add(file);
  input.files = carried.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
}

/** A file dropped on the stage. */
export function mountDrop(at) {
  const isFile = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  at.frame.addEventListener("dragover", (event) => {
    if (!isFile(event)) return;
    event.preventDefault();
    at.drop.hidden = false;
  });
  at.frame.addEventListener("dragleave", (event) => !at.frame.contains(event.relatedTarget) && (at.drop.hidden = true));
  at.frame.addEventListener("drop", (event) => {
    event.preventDefault();
    at.drop.hidden = true;
    const file = event.dataTransfer.files[0];
    if (file) hand(file);
  });
}

/** A picture pasted anywhere on the page, or with the button where the browser lets a page read the clipboard. */
export function mountPaste(button, store) {
  store.on(["about"], () => dropNote(store, "paste")); // another picture has come
  document.addEventListener("paste", (event) => {
    const target = /** @type {Element} */ (event.target);
    const field = Boolean(target?.closest?.("input, textarea, [contenteditable]"));
    const file = event.clipboardData && pastedFile(event.clipboardData, field);
    if (!file || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    hand(ENDINGS[file.type] ? namedFile(file, "pasted") : file);
  });
  button.hidden = !navigator.clipboard?.read;
  button.addEventListener("click", async () => {
    try {
      for (const item of await navigator.clipboard.read()) {
        const type = item.types.find((one) => ENDINGS[one]);
        if (type) return hand(namedFile(await item.getType(type), "pasted"));
      }
      addNote(store, { kind: "paste", text: NONE });
    } catch {
      addNote(store, { kind: "paste", text: REFUSED });
    }
  });
}
