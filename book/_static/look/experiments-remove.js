/**
 * Remove by map: the patches that the map calls most important go first, and the probability of the answer is drawn as it
 * falls; beside it the map's least important first, a random order and a blob in the centre. Did the map know?
 */

import {areas, centreMap, fillColour, order, randomMap, removePatches, softmax} from "./numbers.js";
import {part, percent, signed, spoken, strongest} from "./dom.js";
import {shown} from "./selection.js";
import {Chart} from "./view-chart.js";
import {rivals} from "./worth.js";

export const STEPS = 8; // as in the measurement on the test images, so that the two agree
const SHARES = Float64Array.from({length: STEPS + 1}, (_, step) => step / STEPS);
const SEED = 0;
// In this order their points are asked for.
const ORDERS = {
  map: map => order(map), random: (_, grid) => order(randomMap(grid, SEED)),
  centre: (_, grid) => order(centreMap(grid)), least: map => order(map).reverse(),
};

const without = (entry, pixels, places, step) =>
  removePatches(pixels, places, SHARES[step], entry.layers[0].grid, fillColour(entry.mean));

export class Remove {
  constructor(panel, cards, {state, session}) {
    Object.assign(this, {panel, cards, state, session, step: 0, version: 0, found: new Map()});
    this.slider = part(panel, "share");
    Object.assign(this.slider, {min: 0, max: STEPS, step: 1, value: 0});
    this.slider.addEventListener("input", () => {
      this.step = Number(this.slider.value);
      session.refresh();
    });
    // Whatever else is changed, the order of removal follows from it anew.
    session.listen(() => { if (this.step) this.work(); });
    state.listen(() => { if (this.step) this.work(); });
    this.charts = cards.map(card => new Chart(part(panel, "charts"), card, SHARES));
  }

  reset() {
    this.step = this.slider.value = 0;
  }

  label() { return this.step ? `removed ${percent(SHARES[this.step])} by map` : ""; }

  // All that the curves depend on; when it changes they are drawn anew.
  key(entry) {
    const others = this.session.changes.filter(change => change !== this).map(change => change.version);
    return JSON.stringify([others, this.state.view(entry.name), this.state.now.pin]);
  }

  // The curves of a model, with its answer and the orders at the beginning; null while they are not known.
  of(entry) {
    const found = this.found.get(entry.name);
    return found?.key === this.key(entry) && found.picture === this.session.picture ? found : null;
  }

  alterFor(name, pixels) {
    const entry = this.session.of(name).entry, found = this.of(entry);
    if (!this.step || !found) return pixels;
    found.removed[this.step] ??= without(entry, pixels, found.orders.map, this.step);
    return found.removed[this.step];
  }

  async begin(entry) {
    const {picture, now} = this.session, key = this.key(entry), {grid} = entry.layers[0];
    const result = await this.session.ask(entry.name, now.pixels, this.session.controlsFor(entry));
    const {values} = shown(entry, result, this.state.view(entry.name), this.state.now.pin);
    const label = strongest(result.logits), first = softmax(result.logits)[label];
    const orders = Object.fromEntries(Object.entries(ORDERS).map(([name, make]) => [name, make(values, grid)]));
    const curves = Object.fromEntries(Object.keys(ORDERS).map(name => [name, [first]]));
    this.found.set(entry.name, {key, picture, pixels: now.pixels, label, orders, curves, removed: []});
  }

  // Every point up to the slider that is not known yet, the map's first; the page is drawn after each.
  async work() {
    if (this.working || !this.next()) return;
    this.working = true;
    try {
      for (let next = this.next(); next; next = this.next()) {
        await next();
        this.session.tell();
      }
    } finally {
      this.working = false;
      this.session.tell();
    }
  }

  next() {
    const entries = this.cards.map(card => card.entry()).filter(entry => this.session.of(entry.name).result);
    const fresh = entries.find(entry => !this.of(entry));
    if (fresh) {
      return async () => {
        await this.begin(fresh);
        if (this.step) this.session.refresh();
      };
    }
    for (const name of Object.keys(ORDERS)) {
      for (let step = 1; step <= this.step; step++) {
        const entry = entries.find(one => this.of(one).curves[name][step] === undefined);
        if (entry) return () => this.point(entry, name, step);
      }
    }
    return null;
  }

  async point(entry, name, step) {
    const found = this.of(entry), pixels = without(entry, found.pixels, found.orders[name], step);
    const {logits} = await this.session.ask(entry.name, pixels, this.session.controlsFor(entry));
    found.curves[name][step] = softmax(logits)[found.label];
  }

  draw() {
    part(this.panel, "removed").textContent = percent(SHARES[this.step]);
    this.work();
    this.charts.forEach((chart, i) => {
      const entry = this.cards[i].entry(), found = this.of(entry);
      if (found) chart.draw(found.curves, this.step, spoken(entry.classes[found.label]), this.verdict(found, entry));
      else chart.draw({}, this.step, "", "");
    });
  }

  // What the whole curves say, in the measure that the passport is in.
  verdict({curves}, entry) {
    const whole = Object.values(curves).every(curve => curve.filter(value => value !== undefined).length === SHARES.length);
    if (!whole) return "";
    const area = name => areas({shares: SHARES, mostFirst: curves[name], leastFirst: curves.least});
    const {deletion, difference} = area("map");
    const [random, centre] = [area("random").deletion, area("centre").deletion];
    const best = deletion < Math.min(random, centre) ? "the map’s is the lowest, here it knew"
      : "the map’s is not the lowest, here it did not know";
    return `Mean along the curve: map ${percent(deletion)}, random ${percent(random)}, centre ${percent(centre)}; ${best}. `
      + `Least first minus most first: ${signed(difference)}. ${rivals(entry)}`;
  }
}
