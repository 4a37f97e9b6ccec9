// What lies over dropped tokens: bright pictures get a dark veil, dark pictures a light one.

import { BRIGHT, VEIL_ON_BRIGHT, VEIL_ON_DARK } from "./look.js";

export function veilOver(image) {
  return brightness(image) > BRIGHT ? VEIL_ON_BRIGHT : VEIL_ON_DARK;
}

/** Mean luminance of the picture, 0 to 1. */
function brightness(image) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 16;
  const ctx = canvas.getContext("2d", { willReadFrequently: true });
  ctx.drawImage(image, 0, 0, 16, 16);
  const { data } = ctx.getImageData(0, 0, 16, 16);
  let sum = 0;
  for (let i = 0; i < data.length; i += 4) sum += 0.2126 * data[i] + 0.7152 * data[i + 1] + 0.0722 * data[i + 2];
  return sum / 256 / 255;
}
