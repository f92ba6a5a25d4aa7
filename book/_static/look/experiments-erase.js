/** An eraser: what it touches is filled with the mean colour or with a blur, and every model is asked again. */

import {fillBlur, fillColour, pixelsOf} from "./numbers.js";
import {part, percent} from "./dom.js";

const EDGE = 32; // pixels of the small picture, each way

export class Erase {
  // colour: the mean colour of a model's training images, red, green, blue.
  constructor(panel, session, colour) {
    this.fills = {mean: fillColour(colour), blur: fillBlur};
    Object.assign(this, {panel, session, removed: new Uint8Array(EDGE * EDGE), version: 0, fill: "mean", at: null});
    this.size = part(panel, "size");
    this.size.addEventListener("input", () => this.draw());
    for (const choice of panel.querySelectorAll('[name="fill"]')) {
      choice.addEventListener("change", () => this.changed(() => { this.fill = choice.value; }));
    }
    part(panel, "clear").addEventListener("click", () => this.changed(() => this.removed.fill(0)));
  }

  changed(change) {
    change();
    this.version++;
    this.session.refresh();
  }

  reset() {
    this.removed.fill(0);
    this.version++;
  }

  share() { return this.removed.reduce((sum, value) => sum + value, 0) / this.removed.length; }
  label() { return this.share() ? `erased ${percent(this.share())}` : ""; }

  alter(shown) {
    if (!this.share()) return shown;
    if (this.before !== shown.pixels || this.made !== this.version) {
      const after = this.fills[this.fill](shown.pixels, this.removed);
      Object.assign(this, {before: shown.pixels, made: this.version, after});
    }
    return {...shown, pixels: this.after};
  }

  // From where the last stroke ended to (x, y), shares of the picture's width and height.
  brush() {
    return (x, y, first) => this.changed(() => {
      const to = {x: x * EDGE, y: y * EDGE}, from = first ? to : this.at;
      const steps = Math.ceil(Math.hypot(to.x - from.x, to.y - from.y)) || 1;
      for (let i = 1; i <= steps; i++) {
        this.dab(from.x + ((to.x - from.x) * i) / steps, from.y + ((to.y - from.y) * i) / steps);
      }
      this.at = to;
    });
  }

  dab(x, y) {
    const radius = Number(this.size.value) / 2;
    for (let i = 0; i < this.removed.length; i++) {
      if (Math.hypot((i % EDGE) + 0.5 - x, Math.floor(i / EDGE) + 0.5 - y) <= radius) this.removed[i] = 1;
    }
  }

  // By keyboard a whole patch: erased, or put back if it is.
  press(patch, grid) {
    const inside = pixelsOf([patch], grid, EDGE), erased = inside.every((one, i) => !one || this.removed[i]);
    this.changed(() => inside.forEach((one, i) => { if (one) this.removed[i] = erased ? 0 : 1; }));
  }

  draw() {
    part(this.panel, "sized").textContent = `${this.size.value} of ${EDGE} pixels`;
    part(this.panel, "clear").disabled = !this.share();
  }
}
