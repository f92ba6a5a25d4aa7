// What a page is made of, whatever it shows: elements, painted arrays, cells to walk over, numbers in words.

const make = (tag, attributes, parent) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return parent.appendChild(element);
};
const paint = (canvas, width, height, colours, index) => {  // the i-th pixel has colour index(i) of the table
  canvas.width = width;
  canvas.height = height;
  const pixels = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    const at = 3 * index(i);
    pixels.data[4 * i] = colours[at];
    pixels.data[4 * i + 1] = colours[at + 1];
    pixels.data[4 * i + 2] = colours[at + 2];
    pixels.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(pixels, 0, 0);
};

const percent = share => {
  const value = 100 * share;
  return `${value === 0 ? "0" : value >= 10 ? value.toFixed(0) : String(Number(value.toPrecision(2)))}\u00a0%`;
};

// Many cells, one tab stop: arrows, Home and End move among the rows. `over(i, finger)` is called for the cell that is
// pointed at or moved to, `press(i)` for the one that is clicked, tapped, or chosen by Enter or the space bar.
const roving = (box, rows, over, press) => {
  const cells = () => rows().flat();
  const at = (event, act) => {
    const cell = event.target.closest("[role=gridcell], [role=option], [role=radio]");
    if (cells().includes(cell)) act(cells().indexOf(cell));
  };
  box.addEventListener("pointerdown", event => event.target.releasePointerCapture(event.pointerId));
  box.addEventListener("pointerover", event => at(event, i => over(i, event.pointerType === "touch")));
  box.addEventListener("click", event => at(event, press));
  box.addEventListener("keydown", event => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const all = rows(), row = all.findIndex(one => one.includes(event.target));
    if (row < 0) return;
    const column = all[row].indexOf(event.target);
    const near = (line, place) => line && line[Math.max(0, Math.min(place, line.length - 1))];
    const to = {
      ArrowLeft: () => near(all[row], column - 1), ArrowRight: () => near(all[row], column + 1),
      ArrowUp: () => near(all[row - 1], column), ArrowDown: () => near(all[row + 1], column),
      Home: () => all[row][0], End: () => all[row].at(-1), Enter: () => event.target, " ": () => event.target,
    }[event.key];
    if (!to) return;
    event.preventDefault();
    event.stopPropagation();
    const cell = to();
    if (!cell) return;
    if (cell === event.target) {
      if (event.key === "Enter" || event.key === " ") press(cells().indexOf(cell));
      return;
    }
    over(cells().indexOf(cell));
    cell.focus();
  });
};
const select = (cells, at, attribute) => cells.forEach((cell, i) => {
  cell.tabIndex = i === at ? 0 : -1;
  cell.setAttribute(attribute, i === at);
});

// The address says what is on show, one entry for each explorer that was used: #explorer-title:image=3,layer=2;...
const address = (root, title) => {
  const name = `explorer-${title.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "").slice(0, 40)}`;
  const before = [...document.querySelectorAll(".vattn-explorer")].filter(one => one.dataset.address?.split("~")[0] === name);
  root.dataset.address = before.length ? `${name}~${before.length + 1}` : name;  // two may have one title
  const entries = () => new Map(location.hash.slice(1).split(";").filter(one => one.startsWith("explorer-"))
    .map(one => one.split(":")));
  return {
    read: () => {
      const found = entries().get(root.dataset.address);
      return found === undefined ? null : Object.fromEntries(found.split(",").map(one => one.split("=")));
    },
    write: told => {
      const all = entries();
      all.set(root.dataset.address, Object.entries(told).map(pair => pair.join("=")).join(","));
      try {
        history.replaceState(history.state, "", `#${[...all].map(pair => pair.join(":")).join(";")}`);
      } catch {}  // a frame without an address of its own
    },
  };
};
