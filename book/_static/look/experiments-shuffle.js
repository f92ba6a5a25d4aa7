/**
 * Cut the picture into tiles and lay them in another order: what stays of an answer never needed the arrangement.
 */

import {shufflePatches} from "./numbers.js";
import {part} from "./dom.js";

const shuffledCanvas = (source, order, tiles) => {
  const canvas = document.createElement("canvas"), context = canvas.getContext("2d"), edge = source.width;
  canvas.width = canvas.height = edge;
  const at = tile => [(tile % tiles) * (edge / tiles), Math.floor(tile / tiles) * (edge / tiles)];
  order.forEach((from, to) => {
    context.drawImage(source, ...at(from), edge / tiles, edge / tiles, ...at(to), edge / tiles, edge / tiles);
  });
  return canvas;
};

export class Shuffle {
  constructor(panel, session) {
    Object.assign(this, {panel, session, seed: 0, on: false, version: 0});
    this.tiles = () => Number(panel.querySelector('[name="tiles"]:checked').value);
    part(panel, "shuffle").addEventListener("click", () => this.changed({on: true, seed: this.seed + 1}));
    part(panel, "back").addEventListener("click", () => this.changed({on: false}));
    for (const choice of panel.querySelectorAll('[name="tiles"]')) choice.addEventListener("change", () => this.changed({}));
  }

  changed(change) {
    Object.assign(this, change);
    this.version++;
    this.session.refresh();
  }

  reset() { Object.assign(this, {on: false, version: this.version + 1}); }
  label() { return this.on ? `shuffled, ${this.tiles()} × ${this.tiles()} tiles` : ""; }

  alter(shown) {
    if (!this.on) return shown;
    if (this.before !== shown.pixels || this.made !== this.version) {
      const tiles = this.tiles(), {pixels, order} = shufflePatches(shown.pixels, [tiles, tiles], this.seed);
      const canvas = shuffledCanvas(shown.canvas, order, tiles);
      Object.assign(this, {before: shown.pixels, made: this.version, after: {canvas, pixels, under: pixels}});
    }
    return this.after;
  }

  draw() { part(this.panel, "back").disabled = !this.on; }
}
