/**
 * Change the model instead of the picture: mute a head or a slot, make every softmax hotter, put the matrices out of order
 * from the last layer down. Beside each model stands how much its map still agrees with the one before.
 */

import {fromTemplate, make, number, part, spoken} from "./dom.js";
import {shown} from "./selection.js";

const HEATS = [0.25, 0.5, 1, 2, 4, 8]; // the slider's stops; 1 is the model as it was trained

const ranks = values => {
  const order = [...values.keys()].sort((a, b) => values[a] - values[b]), found = new Float64Array(values.length);
  for (let start = 0, end; start < order.length; start = end) {
    for (end = start; end < order.length && values[order[end]] === values[order[start]];) end++;
    for (let i = start; i < end; i++) found[order[i]] = (start + end - 1) / 2; // equal values share their mean rank
  }
  return found;
};

/** Spearman's rank correlation of two maps, −1 to 1; 0 where one of them is flat. */
export const spearman = (one, other) => {
  const [a, b] = [ranks(one), ranks(other)], middle = (a.length - 1) / 2;
  const sum = (x, y) => x.reduce((total, value, i) => total + (value - middle) * (y[i] - middle), 0);
  return sum(a, b) / Math.sqrt(sum(a, a) * sum(b, b)) || 0;
};

export class Weights {
  constructor(panel, cards, {state, session}) {
    Object.assign(this, {panel, cards, state, session, version: 0, muted: new Map()});
    this.heat = part(panel, "heat");
    this.depth = part(panel, "depth");
    Object.assign(this.heat, {min: 0, max: HEATS.length - 1, step: 1, value: HEATS.indexOf(1)});
    const units = Math.max(...cards.map(card => card.entries[0].units.length));
    Object.assign(this.depth, {min: 0, max: units, step: 1, value: 0});
    for (const slider of [this.heat, this.depth]) slider.addEventListener("input", () => this.changed());
    part(panel, "slot").addEventListener("click", () => this.muteSlot());
    this.rows = cards.map(card => this.row(card));
  }

  row(card) {
    const root = fromTemplate(this.panel, "model"), [entry] = card.entries, buttons = [];
    part(this.panel, "models").append(root);
    part(root, "title").textContent = entry.title;
    root.dataset.model = entry.name;
    if (!entry.mask) part(root, "mute").replaceChildren("Only one head: nothing to mute.");
    else {
      const [layers, heads] = entry.mask, grid = part(root, "buttons");
      grid.style.setProperty("--columns", heads);
      for (let at = 0; at < layers * heads; at++) {
        const name = `${Math.floor(at / heads)}.${at % heads}`;
        const button = make("button", {type: "button", "aria-label": `mute head ${name}`}, grid, name);
        button.addEventListener("click", () => this.mute(entry, at));
        buttons.push(button);
      }
    }
    return {root, card, buttons};
  }

  changed() {
    this.version++;
    this.session.refresh();
  }

  maskOf(entry) {
    const [layers, heads, slots = 1] = entry.mask;
    if (!this.muted.has(entry.name)) this.muted.set(entry.name, new Float32Array(layers * heads * slots).fill(1));
    return {mask: this.muted.get(entry.name), slots};
  }

  mute(entry, head) {
    const {mask, slots} = this.maskOf(entry), part = mask.subarray(head * slots, (head + 1) * slots);
    part.fill(part.some(Boolean) ? 0 : 1);
    this.state.set({model: entry.name});
    this.changed();
  }

  // The slot whose map is on show, in its layer and head, or in all heads where their mean is shown.
  slot() {
    const card = this.cards.find(one => one.entries[0].mask?.length === 3), {map} = card;
    if (!map || map.layer === null || card.entry().layers[map.layer].kind !== "external") return null;
    const heads = card.entry().mask[1];
    const chosen = map.head === null ? [...Array(heads).keys()] : [map.head];
    const {mask, slots} = this.maskOf(card.entry());
    return {places: chosen.map(head => (map.layer * heads + head) * slots + map.query), mask, map};
  }

  muteSlot() {
    const {places, mask} = this.slot(), value = places.some(at => mask[at]) ? 0 : 1;
    for (const at of places) mask[at] = value;
    this.changed();
  }

  reset() {
    this.heat.value = HEATS.indexOf(1);
    this.depth.value = 0;
    this.muted.clear();
    this.version++;
  }

  silent() { return [...this.muted.values()].some(mask => mask.some(value => !value)); }

  label() {
    const heat = HEATS[this.heat.value], depth = Number(this.depth.value);
    const said = [heat === 1 ? "" : `softmax at temperature ${heat}`, depth ? `out of order: the last ${depth}` : ""];
    return [...said, this.silent() ? "muted" : ""].filter(Boolean).join(", ");
  }

  controls(entry) {
    const depth = Math.min(Number(this.depth.value), entry.units.length);
    const randomise = Float32Array.from(entry.units, (_, i) => Number(i >= entry.units.length - depth));
    const headMask = this.muted.has(entry.name) ? {headMask: this.maskOf(entry).mask} : {};
    return {temperature: HEATS[this.heat.value], randomise, ...headMask};
  }

  draw() {
    const depth = Number(this.depth.value), slot = this.slot();
    part(this.panel, "heated").textContent = `temperature ${HEATS[this.heat.value]}`;
    part(this.panel, "deep").textContent = depth ? `the last ${depth}` : "none";
    part(this.panel, "slot").disabled = !slot;
    part(this.panel, "slot").textContent = !slot ? "Mute a slot: choose one of EANet’s first"
      : slot.places.some(at => slot.mask[at]) ? `Mute slot ${slot.map.query}` : `Unmute slot ${slot.map.query}`;
    for (const row of this.rows) this.drawRow(row, depth);
  }

  drawRow({root, card, buttons}, depth) {
    const entry = card.entry(), {result, untouched} = this.session.of(entry.name);
    root.classList.toggle("look-chosen", card.root.classList.contains("look-chosen"));
    if (entry.mask) {
      const {mask, slots} = this.maskOf(entry);
      buttons.forEach((button, at) => {
        button.setAttribute("aria-pressed", !mask.subarray(at * slots, (at + 1) * slots).some(Boolean));
      });
    }
    const gone = entry.units.slice(Math.max(0, entry.units.length - depth)).reverse();
    part(root, "units").textContent = depth ? `out of order: ${gone.map(spoken).join(", ")}` : "";
    if (!result) return;
    const [view, patch] = [this.state.view(entry.name), this.state.now.pin];
    const same = spearman(shown(entry, untouched, view, patch).values, shown(entry, result, view, patch).values);
    part(root, "same").textContent = this.label() ? `map against before: rank correlation ${number(same)}` : "";
  }
}
