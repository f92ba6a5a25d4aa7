/** The step-through of one head, drawn: query, key, scores, softmax, weighted sum, each with its real numbers. */

import {paintMap, paintSigned} from "./colours.js";
import {cellGrid, make, mark, number, part, percent, place, spoken, strongest} from "./dom.js";
import {layerOf} from "./selection.js";
import {stepsOf} from "./steps.js";

const CENTRE = 27; // row 4, column 4: the patch that is asked where the reader has chosen none

// Numbers as bars from a middle line, on one scale with the others that are given.
const paintBars = (canvas, values, most, colour) => {
  const [width, height] = [256, 44], context = canvas.getContext("2d"), wide = width / values.length;
  Object.assign(canvas, {width, height});
  context.fillStyle = colour;
  values.forEach((value, i) => {
    const tall = Math.max(0.5, (Math.abs(value) / most) * (height / 2 - 1));
    context.fillRect(i * wide + 0.15 * wide, value < 0 ? height / 2 : height / 2 - tall, 0.7 * wide, tall);
  });
};

const range = values => `${values.length} numbers from ${number(Math.min(...values))} to ${number(Math.max(...values))}`;

export class Steps {
  constructor(panel, {state, session}) {
    Object.assign(this, {panel, state, session, key: null});
    this.find = name => part(panel, name);
    const choose = cell => {
      this.key = cell;
      this.draw();
    };
    for (const name of ["scores", "softmax"]) {
      const box = this.find(name);
      const canvas = make("canvas", {"aria-hidden": "true"}, box);
      this[name] = {canvas, ...cellGrid(box, [8, 8], `${name === "scores" ? "Scores" : "Attention"}; choose one`, choose)};
      this[name].box.addEventListener("click", event => {
        const cell = event.target.closest("[data-cell]");
        if (cell) choose(Number(cell.dataset.cell));
      });
    }
  }

  // Of the model that the reader chose: the layer, head and query that its map means, or the nearest that has steps.
  asked() {
    const {entry, result} = this.session.of(this.state.now.model);
    if (!result) return null;
    const view = this.state.view(entry.name), patch = this.state.patch() ?? CENTRE;
    const mixing = entry.layers.findLastIndex(layer => layer.kind !== "pooling");
    const whole = mixing < 0 || entry.map.method === "pooling" ? entry.layers.length - 1 : mixing;
    const map = result.maps[layerOf(entry, view, this.state.patch()) ?? whole], head = map.heads === 1 ? 0 : view.head ?? 0;
    const ofClass = map.queries > 1 ? view.query ?? strongest(result.logits) : 0;
    return {entry, map, head, query: map.kind === "pooling" ? ofClass : map.prefixTokens + patch, patch};
  }

  draw() {
    const asked = this.asked();
    this.find("flow").hidden = !asked;
    if (!asked) return;
    const {entry, map, head, query} = asked;
    const found = stepsOf(map, head, query, this.session.controlsFor(entry).temperature);
    const key = this.key ?? strongest(found.weights.slice(found.own));
    const columns = map.kind === "external" ? Math.sqrt(map.keys) : map.grid[1];
    this.drawGrids(found, key, columns, map.kind);
    this.drawVectors(found, key + found.own);
    this.drawWords(asked, found, key, columns);
  }

  name(kind, key, columns) { return kind === "external" ? `slot ${key}` : place(key, columns); }

  drawGrids(found, key, columns, kind) {
    const [scores, weights] = [found.scores, found.weights].map(values => values.slice(found.own));
    paintSigned(this.scores.canvas, scores, columns);
    paintMap(this.softmax.canvas, weights, columns, Math.max(...weights));
    for (const [name, values, write] of [["scores", scores, number], ["softmax", weights, percent]]) {
      mark(this[name].cells, "look-from", i => i === key);
      this[name].cells.forEach((cell, i) => {
        cell.setAttribute("aria-selected", i === key);
        cell.setAttribute("aria-label", `${this.name(kind, i, columns)}: ${write(values[i])}`);
      });
    }
  }

  drawVectors(found, key) {
    const style = getComputedStyle(this.panel);
    const [bar, soft] = ["--look-bar", "--look-curve-random"].map(name => style.getPropertyValue(name));
    const draw = (name, values, colour) => {
      const canvas = this.find(name);
      canvas.hidden = !values;
      if (!values) return;
      const most = values.reduce((top, value) => Math.max(top, Math.abs(value)), 1e-9);
      paintBars(canvas, values, most, colour);
      canvas.setAttribute("aria-label", range(values));
    };
    draw("query", found.query, bar);
    draw("key", found.keys?.[key], bar);
    draw("products", found.keys?.[key].map((value, i) => value * found.query[i]), soft);
    draw("value", found.values?.[key], soft);
    draw("out", found.out, bar);
  }

  drawWords({entry, map, head, query, patch}, found, key, columns) {
    const said = (name, text) => { this.find(name).textContent = text; };
    const at = key + found.own, score = found.scores[at], weight = percent(found.weights[at]);
    const named = this.name(map.kind, key, columns), width = found.query?.length;
    const ofClass = map.queries > 1 ? `the query of “${spoken(entry.classes[query])}”` : "one learned query";
    const asks = map.kind === "pooling" ? ofClass : place(patch, columns);
    said("head", `${entry.title}, layer ${map.layer}${map.heads > 1 ? `, head ${head}` : ""}: ${asks} asks; ${named} answers.`);
    said("query-said", width ? range(found.query) : "A learned vector, the same for every picture.");
    if (found.keys) {
      const hot = found.scale / Math.sqrt(width), by = hot === 1 ? `√${width}` : `(√${width} · ${hot})`;
      said("key-said", `key of ${named}; below it, each number times the query’s`);
      said("scores-said", `sum of the products ${number(score * found.scale)} ÷ ${by} = ${number(score)}`);
    } else {
      said("key-said", map.kind === "external" ? `The key of ${named} is a weight: learned, the same for every picture.`
        : "Each patch is scored by one linear layer.");
      said("scores-said", `${named}: ${number(score)}`);
    }
    said("softmax-said", map.kind === "external"
      ? `over the patches ${percent(found.powers[at])}; ÷ ${number(found.sum)}, the sum over slots, = ${weight}`
      : `exp(${number(score)} − ${number(found.most)}) ÷ ${number(found.sum)} = ${weight}`);
    said("sum-said", found.values ? `${weight} of the value of ${named} (above); all values together (below)`
      : found.out ? `what the patch read from all ${map.keys} slots` : `${weight} of ${named}’s vector goes into the sum`);
  }
}
