/**
 * The curves of one model while patches are removed: probability of its answer against the share that is gone.
 */

import {fromTemplate, part, percent} from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT] = [320, 136, 34, 20, 8, 8];
const NAMES = {least: "least first", random: "random", centre: "centre", map: "map"}; // the last lies on top

const draw = (parent, tag, attributes, text) => {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text) element.textContent = text;
  return parent.appendChild(element);
};

export class Chart {
  constructor(box, card, shares) {
    this.root = fromTemplate(box.closest("[data-part=page]"), "chart");
    this.card = card;
    this.shares = shares;
    box.append(this.root);
    this.root.dataset.model = card.entries[0].name;
    part(this.root, "title").textContent = card.entries[0].title;
    this.svg = part(this.root, "plot");
    this.svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    for (const share of [0, 0.5, 1]) {
      draw(this.svg, "line", {class: "look-rule", x1: LEFT, x2: WIDTH - RIGHT, y1: this.y(share), y2: this.y(share)});
      draw(this.svg, "text", {x: LEFT - 5, y: this.y(share) + 4, "text-anchor": "end"}, percent(share));
      const anchor = share === 0 ? "start" : share === 1 ? "end" : "middle";
      draw(this.svg, "text", {x: this.x(share), y: HEIGHT - 6, "text-anchor": anchor}, percent(share));
    }
    this.cursor = draw(this.svg, "line", {class: "look-cursor", y1: this.y(0), y2: this.y(1)});
    this.lines = Object.fromEntries(Object.keys(NAMES).map(name => {
      const line = draw(this.svg, "polyline", {class: `look-curve look-${name}`});
      return [name, {line, dot: draw(this.svg, "circle", {class: `look-dot look-${name}`, r: 3.5})}];
    }));
  }

  x(share) { return LEFT + share * (WIDTH - LEFT - RIGHT); }
  y(value) { return TOP + (1 - value) * (HEIGHT - TOP - BOTTOM); }

  // curves: by name, values by step; step: where the slider stands; answer: the class whose probability it is.
  draw(curves, step, answer, verdict) {
    this.root.classList.toggle("look-chosen", this.card.root.classList.contains("look-chosen"));
    const said = [];
    this.cursor.setAttribute("x1", this.x(this.shares[step]));
    this.cursor.setAttribute("x2", this.x(this.shares[step]));
    for (const [name, {line, dot}] of Object.entries(this.lines)) {
      const points = (curves[name] ?? []).map((value, i) => [this.x(this.shares[i]), this.y(value)]).filter(Boolean);
      line.setAttribute("points", points.map(point => point.map(at => at.toFixed(1)).join()).join(" "));
      const value = curves[name]?.[step];
      dot.setAttribute("visibility", value === undefined ? "hidden" : "visible");
      if (value === undefined) continue;
      dot.setAttribute("cx", this.x(this.shares[step]));
      dot.setAttribute("cy", this.y(value));
      said.unshift(`${NAMES[name]} ${percent(value)}`);
    }
    part(this.root, "answer").textContent = answer && `probability of “${answer}”`;
    part(this.root, "values").textContent = said.join(" · ");
    part(this.root, "verdict").textContent = verdict;
    const removed = `${percent(this.shares[step])} of the patches removed`;
    this.svg.setAttribute("aria-label", `Probability of ${answer} with ${removed}: ${said.join(", ")}`);
  }
}
