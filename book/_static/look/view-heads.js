/**
 * All layers and heads of a model at a glance, one click to one of them; memory slots, and queries of classes.
 */

import {paintMap, top} from "./colours.js";
import {fromTemplate, make, part, percent, roving, spoken} from "./dom.js";
import {layerOf, shown, slotShares} from "./selection.js";

export class Heads {
  constructor(panel, cards, {state, session, wanted}) {
    Object.assign(this, {panel, cards, state, session});
    this.strips = cards.map(card => this.strip(card, wanted));
  }

  strip(card, wanted) {
    const root = fromTemplate(this.panel, "strip"), strip = {root, card, tiles: [], slots: null};
    part(this.panel, "strips").append(root);
    root.dataset.model = card.entries[0].name;
    part(root, "title").textContent = card.entries[0].title;
    const one = card.entries.find(entry => entry.layers.at(-1).queries === 1), {layers} = one;
    const grid = part(root, "tiles");
    const heads = Math.max(...layers.map(layer => layer.heads));
    grid.style.setProperty("--columns", heads);
    layers.forEach((layer, at) => {
      if (layer.kind === "pooling") return;
      for (let head = 0; head < layer.heads; head++) {
        strip.tiles.push(this.tile(grid, one, {layer: at, head, query: null}, `layer ${at}, head ${head}`));
      }
    });
    const others = part(root, "others");
    const wholes = [[one.map.method, null], ["pooling", layers.length - 1]]; // the model's one map may be the pooling
    for (const [name, layer] of one.map.method === "pooling" ? wholes.slice(0, 1) : wholes) {
      strip.tiles.push(this.tile(others, one, {layer, head: null, query: null}, name));
    }
    if (layers.some(layer => layer.kind === "external")) strip.slots = this.slots(root, one);
    const perClass = card.entries.find(entry => entry.layers.at(-1).queries > 1);
    if (perClass) this.classes(strip, perClass, wanted);
    return strip;
  }

  tile(box, entry, view, name) {
    const button = make("button", {type: "button", class: "look-tile"}, box);
    const canvas = make("canvas", {"aria-hidden": "true"}, button);
    make("span", {}, button, name.replace("layer ", "").replace(", head ", "."));
    button.addEventListener("click", () => this.state.look(entry.name, view));
    return {button, canvas, entry, view, name};
  }

  // One query a class: another record on the same trunk, fetched when it is asked for.
  classes(strip, entry, wanted) {
    const box = part(strip.root, "classes");
    box.hidden = false;
    const fetch = part(strip.root, "ask");
    fetch.hidden = false;
    fetch.addEventListener("click", async () => {
      fetch.disabled = true;
      await wanted(entry.name);
      fetch.disabled = false;
      this.state.look(entry.name, {layer: null, head: null, query: null});
    });
    strip.fetch = fetch;
    entry.classes.forEach((name, query) => {
      strip.tiles.push(this.tile(box, entry, {layer: null, head: null, query}, spoken(name)));
    });
  }

  slots(root, entry) {
    const layer = entry.layers.find(one => one.kind === "external"), list = part(root, "slots");
    list.hidden = false;
    const choose = slot => {
      const {layer: at, head} = this.now(entry), chosen = this.state.view(entry.name).query === slot;
      this.state.look(entry.name, {layer: at, head, query: chosen ? null : slot});
    };
    const cells = Array.from({length: layer.keys}, (_, slot) => {
      const cell = make("div", {role: "option", "data-cell": slot, "aria-label": `slot ${slot}`}, list);
      cell.addEventListener("click", () => choose(slot));
      return cell;
    });
    roving(list, cells, () => getComputedStyle(list).gridTemplateColumns.split(" ").length, choose);
    return {cells, entry, title: part(root, "said")};
  }

  // The layer and head whose slots are on show: those of the map, or the last that has slots.
  now(entry) {
    const view = this.state.view(entry.name), at = layerOf(entry, view, this.state.patch());
    const last = entry.layers.findLastIndex(layer => layer.kind === "external");
    return at !== null && entry.layers[at].kind === "external" ? {layer: at, head: view.head} : {layer: last, head: null};
  }

  draw() {
    const {scale} = this.state.now, patch = this.state.patch();
    for (const strip of this.strips) {
      strip.root.classList.toggle("look-chosen", strip.card.entries.some(entry => entry.name === this.state.now.model));
      const entry = strip.card.entry(), {result} = this.session.of(entry.name);
      const now = result && shown(entry, result, this.state.view(entry.name), patch);
      for (const tile of strip.tiles) this.drawTile(tile, tile.entry === entry ? now : null, scale, patch);
      if (strip.slots) this.drawSlots(strip.slots, patch);
      if (strip.fetch) strip.fetch.hidden = Boolean(this.session.of(strip.tiles.at(-1).entry.name).result);
    }
  }

  // now: the map on show, null where the card shows another record.
  drawTile(tile, now, scale, patch) {
    const {result} = this.session.of(tile.entry.name), {layer, head, query} = tile.view;
    tile.button.hidden = !result;
    if (!result) return;
    const map = shown(tile.entry, result, tile.view, layer === null ? null : patch);
    paintMap(tile.canvas, map.values, tile.entry.layers[0].grid[1], top(map.values, scale));
    const same = now !== null && now.layer === layer && (query === null || now.query === query);
    tile.button.setAttribute("aria-pressed", same && (head === null || now.head === head));
    tile.button.setAttribute("aria-label", `${tile.name}: the most is ${percent(Math.max(...map.values))}`);
  }

  drawSlots({cells, entry, title}, patch) {
    const {result} = this.session.of(entry.name);
    if (!result) return;
    const {layer, head} = this.now(entry), shares = slotShares(result.maps[layer], head, patch);
    const most = Math.max(...shares), view = this.state.view(entry.name);
    const now = shown(entry, result, view, patch);
    title.textContent = `${patch === null ? "Slots, as all patches read them" : "Slots, as the patch reads them"}: `
      + `layer ${layer}${head === null ? "" : `, head ${head}`}; the tallest bar is ${percent(most)}`;
    cells.forEach((cell, slot) => {
      cell.style.setProperty("--share", shares[slot] / most);
      cell.setAttribute("aria-label", `slot ${slot}: ${percent(shares[slot])}`);
      cell.setAttribute("aria-selected", now.layer === layer && now.query === slot);
    });
  }
}
