/** A model's top five as bars that move: a class keeps its bar while it stays among them. */

import {topK} from "./numbers.js";
import {make, percent, spoken} from "./dom.js";

const SHOWN = 5;

export class Bars {
  constructor(root, classes) {
    this.root = root;
    this.classes = classes;
    this.rows = Array.from({length: Math.min(SHOWN, classes.length)}, (_, place) => {
      const row = make("li", {"aria-hidden": "true"}, root);
      const parts = {row, index: null, name: make("span", {class: "look-class"}, row)};
      parts.bar = make("span", {class: "look-bar"}, row);
      make("i", {class: "look-before"}, parts.bar);
      parts.share = make("span", {class: "look-share"}, row);
      row.style.setProperty("--place", place);
      return parts;
    });
  }

  // probabilities: now; before: of the untouched picture, marked on each bar.
  draw(probabilities, before) {
    const best = topK(probabilities, this.rows.length);
    const staying = new Map(this.rows.map(row => [row.index, row]));
    const free = this.rows.filter(row => !best.some(({index}) => index === row.index));
    best.forEach(({index, value}, place) => {
      const parts = staying.get(index) ?? free.pop(), {style} = parts.row;
      parts.index = index;
      parts.name.textContent = parts.name.title = spoken(this.classes[index]);
      parts.share.textContent = percent(value);
      style.setProperty("--place", place);
      style.setProperty("--share", value);
      style.setProperty("--was", before[index]);
      parts.row.classList.toggle("look-first", place === 0);
      parts.bar.classList.toggle("look-moved", Math.abs(value - before[index]) > 0.005);
    });
    this.root.setAttribute("aria-label", `Top ${best.length}: ${this.inWords(best)}`);
  }

  inWords(best) {
    return best.map(({index, value}) => `${spoken(this.classes[index])} ${percent(value)}`).join(", ");
  }
}
