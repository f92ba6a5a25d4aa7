/** The picture and the map over it as one PNG, with a line that says what it shows and what the map is worth. */

import {make, spoken, strongest} from "./dom.js";
import {worth} from "./worth.js";

const EDGE = 512, MARGIN = 24, LINE = 22;

const wrapped = (context, text, width) => {
  const lines = [""];
  for (const word of text.split(" ")) {
    const longer = `${lines.at(-1)} ${word}`.trim();
    if (context.measureText(longer).width > width) lines.push(word);
    else lines[lines.length - 1] = longer;
  }
  return lines;
};

const drawing = card => {
  const entry = card.entry(), {probabilities} = card.session.of(entry.name), best = strongest(probabilities);
  const canvas = document.createElement("canvas"), context = canvas.getContext("2d");
  const said = [
    `${entry.title}: ${spoken(entry.classes[best])}, ${(100 * probabilities[best]).toFixed(0)} %`,
    `Map: ${card.map.name}; ${card.find("scale").title}.`,
    `Faithfulness: ${worth(entry, card.map.measured)}.`,
  ];
  const font = "15px system-ui, sans-serif", width = 2 * EDGE + 3 * MARGIN;
  context.font = font;
  const lines = said.flatMap(sentence => wrapped(context, sentence, width - 2 * MARGIN));
  Object.assign(canvas, {width, height: EDGE + (lines.length + 1) * LINE + 2 * MARGIN});
  Object.assign(context, {font, fillStyle: "#fff"});
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(card.stage.picture, MARGIN, MARGIN, EDGE, EDGE);
  context.filter = `grayscale(${card.state.now.opacity})`;
  context.drawImage(card.stage.picture, EDGE + 2 * MARGIN, MARGIN, EDGE, EDGE);
  Object.assign(context, {filter: "none", imageSmoothingEnabled: false, globalAlpha: card.state.now.opacity});
  const [down, right] = card.beside, {width: columns, height: rows} = card.stage.map;
  context.drawImage(card.stage.map, 0, 0, columns * (1 - right), rows * (1 - down),
    EDGE * (1 + right) + 2 * MARGIN, EDGE * down + MARGIN, EDGE * (1 - right), EDGE * (1 - down));
  Object.assign(context, {globalAlpha: 1, fillStyle: "#1f2328"});
  lines.forEach((line, i) => context.fillText(line, MARGIN, EDGE + 2 * MARGIN + (i + 0.5) * LINE));
  return canvas;
};

export const save = card => {
  if (!card.map) return;
  drawing(card).toBlob(blob => {
    const address = URL.createObjectURL(blob);
    make("a", {href: address, download: `look-${card.entry().name}.png`}).click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000); // by then it is on the disk
  });
};
