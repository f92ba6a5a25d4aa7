// One photograph, lit by a map in each panel; the pointer, a finger and the arrow keys choose the patch that asks.
const make = (tag, kind, parent, words = "") => {
  const element = document.createElement(tag);
  element.className = kind;
  element.textContent = words;
  return parent.appendChild(element);
};

const enliven = root => {
  root.dataset.alive = "";
  root.querySelector(".vs-fallback").hidden = true;
  const told = JSON.parse(root.querySelector(".vs-told").textContent), {edge} = told, patches = edge * edge;
  const blocks = kind => [...root.querySelectorAll(kind)].map(block => block.textContent);
  const photographs = blocks(".vs-photograph").map(bytes => `url(data:image/jpeg;base64,${bytes})`), maps = blocks(".vs-map");
  let photograph = 0, patch = told.opens;

  const stage = make("div", "vs-panels", root);
  stage.style.setProperty("--panels", told.panels.length);
  stage.style.setProperty("--patch", `${100 / edge}%`);
  Object.assign(stage, {tabIndex: 0, role: "group", ariaLabel: "A photograph in patches: point at one, or move with the arrow keys"});
  const panels = told.panels.map(({title, said, shares}, i) => {
    const panel = make("div", "vs-panel", stage);
    make("p", "", panel, title);
    const square = make("div", "vs-square", panel), canvas = make("canvas", "", square);
    canvas.ariaHidden = "true";
    canvas.width = canvas.height = edge;
    const bytes = Uint8Array.from(atob(maps[i]), letter => letter.charCodeAt(0));
    const rows = bytes.length / photographs.length / patches;  // one for each patch, or one for all
    const map = () => bytes.subarray((photograph * rows + Math.min(patch, rows - 1)) * patches).subarray(0, patches);
    return {map, said, shares, square, canvas, mark: make("div", "vs-mark", square), words: make("p", "", panel)};
  });
  const status = make("p", "", root);
  status.role = "status";

  const draw = () => {
    for (const {map, said, shares, square, canvas, mark, words} of panels) {
      const image = new ImageData(edge, edge);
      map().forEach((level, i) => { image.data[4 * i + 3] = 255 * (1 - DIM) * (1 - Math.sqrt(level / 255)); });
      canvas.getContext("2d").putImageData(image, 0, 0);
      square.style.backgroundImage = photographs[photograph];
      mark.style.left = `${100 * (patch % edge) / edge}%`;
      mark.style.top = `${100 * Math.floor(patch / edge) / edge}%`;
      words.textContent = said.replace("{share}", `${(100 * shares[photograph][patch]).toFixed(1)}\u00a0%`);
    }
    root.dataset.patch = patch;
  };
  const choose = chosen => {
    if (chosen !== patch) { patch = chosen; draw(); }
  };

  for (const {square} of panels) {
    const point = event => {
      const {left, top, width, height} = square.getBoundingClientRect();
      const place = (at, from, size) => Math.max(0, Math.min(edge - 1, Math.floor(edge * (at - from) / size)));
      choose(place(event.clientY, top, height) * edge + place(event.clientX, left, width));
    };
    square.addEventListener("pointermove", point);
    square.addEventListener("pointerdown", point);
  }
  stage.addEventListener("keydown", event => {
    const row = Math.floor(patch / edge), column = patch % edge;
    const [down, right] = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]}[event.key] ?? [];
    if (down === undefined) return;
    event.preventDefault();
    const within = place => Math.max(0, Math.min(edge - 1, place));
    choose(within(row + down) * edge + within(column + right));
    status.textContent = `Row ${Math.floor(patch / edge) + 1}, column ${patch % edge + 1}. ` +
      panels.map(({words}, i) => `${told.panels[i].title}: ${words.textContent}`).join(" ");
  });

  const choices = make("div", "vs-photographs", root);
  Object.assign(choices, {role: "group", ariaLabel: "Photograph"});
  photographs.forEach((address, i) => {
    const button = make("button", "", choices);
    Object.assign(button, {type: "button", title: told.names[i], ariaLabel: told.names[i], ariaPressed: String(i === photograph)});
    button.style.backgroundImage = address;
    button.addEventListener("click", () => {
      photograph = i;
      [...choices.children].forEach((other, j) => { other.ariaPressed = String(j === i); });
      draw();
    });
  });
  draw();
};

for (const root of document.querySelectorAll(".vattn-side:not([data-alive])")) enliven(root);
