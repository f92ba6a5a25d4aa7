/**
 * How the map lies on the picture, for all models at once: its opacity, its scale, and which model is on show on a phone.
 */

import {EVEN_SHARES} from "./colours.js";
import {make, part, percent, spoken, strongest} from "./dom.js";

export class Scale {
  constructor(root, cards, {state, session}) {
    Object.assign(this, {root, cards, state, session, find: name => part(root, name)});
    const slider = this.find("opacity"), places = cards[0].entries[0].layers[0].grid.reduce((a, b) => a * b);
    this.top = percent(EVEN_SHARES / places);
    slider.addEventListener("input", () => state.set({opacity: Number(slider.value) / 100}));
    for (const choice of root.querySelectorAll('[name="scale"]')) {
      choice.addEventListener("change", () => state.set({scale: choice.value}));
    }
    this.buttons = cards.map(card => {
      const button = make("button", {type: "button"}, this.find("switch"));
      make("b", {}, button, card.entries[0].title);
      const answer = make("span", {}, button);
      button.addEventListener("click", () => state.set({model: card.entry().name}));
      return {button, answer, card};
    });
  }

  draw() {
    const {opacity, scale} = this.state.now;
    this.find("opacity").value = Math.round(100 * opacity);
    this.find("opaque").textContent = `${Math.round(100 * opacity)} %`;
    for (const choice of this.root.querySelectorAll('[name="scale"]')) choice.checked = choice.value === scale;
    this.find("scaled").textContent = scale === "fixed"
      ? `0 to ${this.top} in every map, ${EVEN_SHARES} times an even share`
      : "0 to the most in each map";
    for (const {button, answer, card} of this.buttons) {
      const entry = card.entry(), {probabilities} = this.session.of(entry.name);
      button.setAttribute("aria-pressed", card.entries.some(one => one.name === this.state.now.model));
      answer.textContent = probabilities ? spoken(entry.classes[strongest(probabilities)]) : "…";
    }
  }
}
