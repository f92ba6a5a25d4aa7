/** One model's card: what it answers, the map over the picture, the map's scale, and what the map is worth. */

import {EVEN_SHARES, stops} from "./colours.js";
import {fromTemplate, part, percent, spoken} from "./dom.js";
import {shown} from "./selection.js";
import {save} from "./save.js";
import {Bars} from "./view-bars.js";
import {Stage} from "./view-stage.js";
import {rivals, worth} from "./worth.js";

const KINDS = {
  self: "every patch looks at every other",
  external: "every patch looks into a memory",
  pooling: "a query asks all patches",
};

export class Card {
  // entries: the records that the card can show, of which the first is loaded with the page.
  constructor(root, entries, {state, session, hand}) {
    Object.assign(this, {root: fromTemplate(root, "card"), entries, state, session});
    const [entry] = entries;
    root.querySelector('[data-part="models"]').append(this.root);
    this.root.dataset.model = entry.name;
    this.find = name => part(this.root, name);
    this.find("name").textContent = entry.title;
    this.find("name").addEventListener("click", () => state.set({model: this.entry().name}));
    this.find("about").textContent = KINDS[entry.layers[0].kind];
    this.stage = new Stage(this.find("stage"), entry.layers[0].grid, `${entry.title}: the patches of the picture`, hand);
    // A token's value is drawn where the token looks, which need not be the middle of its patch.
    this.beside = (entry.shift ?? [0, 0]).map(pixels => pixels / entry.image_size);
    ["--down", "--right"].forEach((name, axis) => this.find("stage").style.setProperty(name, this.beside[axis]));
    this.bars = new Bars(this.find("bars"), entry.classes);
    this.root.style.setProperty("--look-magma", stops);
    this.find("choice").textContent =
      `It must choose among these ${entry.classes.length} classes; what you show may be none of them.`;
    this.find("classes").textContent = entry.classes.map(spoken).join(", ");
    this.find("save").setAttribute("aria-label", `Save the picture and ${entry.title}'s map as PNG`);
    this.find("save").addEventListener("click", () => save(this));
  }

  // The record that the card shows: of several the one that the reader chose last.
  entry() {
    const chosen = this.entries.find(entry => entry.name === this.state.now.model);
    this.last = chosen ?? this.last ?? this.entries[0];
    return this.last;
  }

  drawAbout() {
    const entry = this.entry(), images = `${entry.test_images.toLocaleString("en")} test images`;
    const dataset = entry.dataset.toUpperCase().replace("CIFAR", "CIFAR-");
    this.find("record").textContent = `Right on ${percent(entry.top1)} of ${images} of ${dataset}. ${rivals(entry)}`;
  }

  draw() {
    const entry = this.entry(), one = this.session.of(entry.name), {now} = this.state;
    this.root.classList.toggle("look-chosen", this.entries.some(other => other.name === now.model));
    this.find("name").setAttribute("aria-pressed", this.root.classList.contains("look-chosen"));
    this.drawAbout();
    this.drawWait(one);
    if (this.session.now) {
      this.stage.paint({...this.session.now, pixels: this.session.pixelsFor(entry.name)});
    }
    if (!one.result) return;
    this.bars.draw(one.probabilities, one.before);
    this.drawMap(entry, one.result);
  }

  drawWait(one) {
    const wait = this.find("wait");
    wait.hidden = Boolean(one.result);
    wait.textContent = one.why === "loads" ? `Loading, ${percent(one.share)}` : one.why === "waits" ? "Waiting" : one.why;
    if (one.model) wait.textContent = "Thinking";
    this.root.setAttribute("aria-busy", !one.result);
  }

  drawMap(entry, result) {
    const {now} = this.state, patch = this.state.patch();
    const map = shown(entry, result, this.state.view(entry.name), patch);
    const {most} = this.stage.lay(map.values, now.scale, now.opacity, patch, now.pin !== null);
    // What was measured is the map of the model as it was trained.
    const measured = map.measured && !this.session.changed().some(change => change.controls);
    this.map = {...map, most, measured};
    this.find("high").textContent = percent(most);
    const why = now.scale === "fixed" ? `${EVEN_SHARES} times an even share` : "the most in this map";
    this.find("scale").title = `${now.scale} scale: 0 to ${percent(most)}, ${why}`;
    this.find("caption").textContent = map.name;
    this.find("worth").textContent = worth(entry, measured);
  }
}
