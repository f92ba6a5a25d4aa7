/** A stage: a picture with a map over it, and its patches to point at, by pointer or by keyboard. */

import {paintMap, top} from "./colours.js";
import {cellGrid, make, mark, percent, place, strongest} from "./dom.js";

const SIZE = 384; // of the picture's canvas, in its own pixels

/** The picture as it is shown; where its small version was altered, those pixels lie over it. */
export const paintPicture = (canvas, {canvas: source, pixels, under}) => {
  canvas.width = canvas.height = SIZE;
  const context = canvas.getContext("2d"), edge = Math.sqrt(pixels.length / 3), one = SIZE / edge;
  context.drawImage(source, 0, 0, SIZE, SIZE);
  if (pixels === under) return;
  for (let i = 0; i < edge * edge; i++) {
    const [red, green, blue] = pixels.subarray(3 * i, 3 * i + 3);
    if (red === under[3 * i] && green === under[3 * i + 1] && blue === under[3 * i + 2]) continue;
    context.fillStyle = `rgb(${red} ${green} ${blue})`;
    context.fillRect((i % edge) * one, Math.floor(i / edge) * one, one, one);
  }
};

/** Where on a square element a pointer is, as shares of its width and height. */
export const within = (element, event) => {
  const box = element.getBoundingClientRect();
  return {x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height};
};

/** Strokes on an element, while there is a brush: brush() is a function (x, y, first) or null. */
export const followStrokes = (element, brush) => {
  const stroke = (event, first) => {
    const {x, y} = within(element, event);
    brush()(x, y, first);
  };
  element.addEventListener("pointerdown", event => {
    if (!brush() || event.button) return;
    event.preventDefault();
    element.setPointerCapture(event.pointerId);
    stroke(event, true);
  });
  element.addEventListener("pointermove", event => {
    if (brush() && element.hasPointerCapture(event.pointerId)) stroke(event, false);
  });
};

export class Stage {
  // `hand` answers the pointer and the keyboard: {press(patch), hover(patch or null), brush() as in followStrokes}.
  constructor(root, grid, label, hand) {
    this.picture = make("canvas", {class: "look-picture", "aria-hidden": "true"}, root);
    this.map = make("canvas", {class: "look-map", "aria-hidden": "true"}, root);
    Object.assign(this, {root, hand, columns: grid[1], ...cellGrid(root, grid, label, patch => hand.press(patch))});
    this.followPointer();
  }

  followPointer() {
    const {box, hand} = this;
    const at = event => {
      const cell = document.elementFromPoint(event.clientX, event.clientY)?.closest("[data-cell]");
      return cell && box.contains(cell) ? Number(cell.dataset.cell) : null;
    };
    followStrokes(box, hand.brush);
    box.addEventListener("pointermove", event => {
      if (!hand.brush() && event.pointerType === "mouse") hand.hover(at(event));
    });
    box.addEventListener("pointerleave", () => { if (!hand.brush()) hand.hover(null); });
    box.addEventListener("click", event => {
      const patch = at(event);
      if (patch !== null && !hand.brush()) hand.press(patch);
    });
  }

  paint(picture) {
    const same = this.painted && this.painted.canvas === picture.canvas && this.painted.pixels === picture.pixels;
    if (!same) paintPicture(this.picture, picture);
    this.painted = picture;
  }

  // values: one a patch; opacity, 0 to 1, of the map; from: the patch that asks, or null.
  lay(values, scale, opacity, from, pinned) {
    const most = top(values, scale), best = strongest(values);
    paintMap(this.map, values, this.columns, most);
    this.root.style.setProperty("--opacity", opacity);
    mark(this.cells, "look-top", i => i === best);
    mark(this.cells, "look-from", i => i === from);
    this.cells.forEach((cell, i) => {
      cell.setAttribute("aria-selected", pinned && i === from);
      cell.setAttribute("aria-label", `${place(i, this.columns)}: ${percent(values[i])}`);
    });
    return {most, best};
  }
}
