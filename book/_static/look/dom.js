/** Elements and numbers as every view writes them. Nothing here knows a model or the page's state. */

export const part = (root, name) => root.querySelector(`[data-part="${name}"]`);

export const make = (tag, attributes, parent, text) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  parent?.append(element);
  return element;
};

export const fromTemplate = (root, name) => part(root, name).content.firstElementChild.cloneNode(true);

/** A share as per cent, two digits of it; what is nothing says so. */
export const percent = share => {
  const value = 100 * share;
  return value === 0 ? "0 %" : value < 0.05 ? "< 0.1 %" : `${value.toFixed(value < 9.95 ? 1 : 0)} %`;
};
export const number = value => value.toFixed(2).replace("-", "−");
export const signed = (value, places = 2) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(places)}`;
export const spoken = name => name.replaceAll("_", " ");

export const strongest = values => values.reduce((best, value, i) => (value > values[best] ? i : best), 0);

/** A patch as readers call it: rows and columns count from 1. */
export const place = (patch, columns) => `row ${Math.floor(patch / columns) + 1}, column ${(patch % columns) + 1}`;

/** The next frame has been drawn: between two long computations the page must be seen and touched. */
export const drawn = () => new Promise(resolve => requestAnimationFrame(() => setTimeout(resolve)));

/** Many calls in a row, one run after the last of them has rested for `rest` milliseconds. */
export const later = (action, rest) => {
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(action, rest);
  };
};

/**
 * Many cells, one tab stop: arrows, Home and End move the focus among them, Enter and Space press.
 * `columns` is a function, as a row of cells wraps where the window is narrow.
 */
export const roving = (box, cells, columns, press) => {
  const focus = at => {
    cells.forEach((cell, i) => { cell.tabIndex = i === at ? 0 : -1; });
    cells[at].focus();
  };
  cells.forEach((cell, i) => { cell.tabIndex = i ? -1 : 0; });
  box.addEventListener("keydown", event => {
    const at = cells.indexOf(event.target.closest("[data-cell]"));
    if (at < 0) return;
    const wide = columns(), column = at % wide, shown = cells.filter(cell => !cell.hidden).length;
    const to = {
      ArrowLeft: at - (column > 0), ArrowRight: at + (column < wide - 1), ArrowUp: at - wide, ArrowDown: at + wide,
      Home: at - column, End: at - column + wide - 1,
    }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      if (to >= 0 && to < shown) focus(to);
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      press(at);
    }
  });
};

/** A square of cells, one for each place on a grid; press(cell) by pointer or by keyboard. */
export const cellGrid = (parent, [rows, columns], label, press) => {
  const box = make("div", {class: "look-cells", role: "grid", "aria-label": label}, parent), cells = [];
  for (let row = 0; row < rows; row++) {
    const line = make("div", {role: "row"}, box);
    for (let column = 0; column < columns; column++) {
      cells.push(make("div", {role: "gridcell", "data-cell": cells.length}, line));
    }
  }
  box.style.gridTemplate = `repeat(${rows}, 1fr) / repeat(${columns}, 1fr)`;
  roving(box, cells, () => columns, press);
  return {box, cells};
};

/** Of many cells those that a test holds for get the class. */
export const mark = (cells, name, holds) => cells.forEach((cell, i) => cell.classList.toggle(name, holds(i)));
