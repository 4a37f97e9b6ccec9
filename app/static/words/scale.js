// What a word's map on the main picture is called, and the ends of its scale.

import { percent, sig3 } from "../format.js";
import { wordLayer } from "./influence.js";
import { pinnedHeat } from "./maps.js";

/** Null where no word's map lies on the picture. signed: on the scale around 0, not from 0.
 *  @param {any} state @returns {{ text: string, low: string, high: string, signed: boolean } | null} */
export function wordScale(state) {
  const heat = pinnedHeat(state);
  if (heat) {
    const side = heat.side === "full" ? "all tokens" : "pruned";
    return { text: `Attention of “${heat.word}”, ${side}`, low: "0", high: percent(heat.max), signed: false };
  }
  const layer = wordLayer(state);
  if (!layer) return null;
  const text = `Influence on “${layer.text}”, measured by leaving out`;
  return { text, low: `−${sig3(layer.reach)}`, high: `+${sig3(layer.reach)} nats`, signed: true };
}
