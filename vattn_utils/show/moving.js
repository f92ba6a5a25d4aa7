// What the moving figures share: the arrays, a few shapes to draw with, and the player.
const safe = words => String(words).replace(/[&<>"]/g, letter => `&#${letter.charCodeAt(0)};`);
const text = (x, y, words, kind = "") => `<text x="${x}" y="${y}" class="${kind}">${safe(words)}</text>`;
const box = (x, y, width, height, rest) => `<rect x="${x}" y="${y}" width="${width}" height="${height}" ${rest}/>`;
const fixed = (value, digits) => value.toFixed(digits).replace(/^-(0\.0+)$/, "$1").replace("-", "−");
const short = (words, most) => words.length > most ? `${words.slice(0, most - 1)}…` : words;
const percent = share => `${(100 * share).toFixed(1)} %`;
const largest = values => values.reduce((best, value, i) => value > values[best] ? i : best, 0);
const dot = (one, other) => one.reduce((sum, value, i) => sum + value * other[i], 0);
const softmax = scores => {
  const top = Math.max(...scores), powers = scores.map(score => Math.exp(score - top));
  const sum = powers.reduce((one, other) => one + other, 0);
  return powers.map(power => power / sum);
};

const make = (tag, attributes, parent) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return parent.appendChild(element);
};

// A vector as bars up and down from a line; the highest of them would be `top`.
const bars = (x, y, width, height, values, top, kind) => {
  const wide = width / values.length, middle = y + height / 2;
  const path = values.map((value, i) => {
    const high = Math.max(-1, Math.min(1, value / top)) * height / 2;
    return `M${(x + i * wide).toFixed(2)} ${middle}v${(-high).toFixed(2)}h${(0.8 * wide).toFixed(2)}v${high.toFixed(2)}z`;
  });
  return `<path class="rule" d="M${x} ${middle}h${width}"/><path class="${kind}" d="${path.join("")}"/>`;
};

// A picture cut into patches: [x, y, side] of each; one of them filled, without seams between neighbours; a ring around one.
const places = (x, y, side, [rows, columns]) => [...Array(rows * columns).keys()].map(patch =>
  [x + patch % columns * side / columns, y + Math.floor(patch / columns) * side / rows, side / columns]);
const tile = ([x, y, side], rest) => box(x, y, side, side, `${rest} shape-rendering="crispEdges"`);
const ring = ([x, y, side], kind) => ["halo", `ring ${kind}`].map(name =>
  box(x + 1, y + 1, side - 2, side - 2, `rx="1.5" class="${name}"`)).join("");

// An idea says for each time, in seconds, what is drawn, said and counted; its beats have names, at its stops it makes
// sense to stand still; `anew` forgets what the reader set, and says whether play begins at the beginning.
const enliven = (root, idea) => {
  root.dataset.alive = "";
  const told = JSON.parse(root.querySelector(".vm-told").textContent), arrays = {};
  for (const [name, {shape, numbers}] of Object.entries(told.arrays)) {
    const flat = numbers.split(" ").map(Number), size = shape.at(-1);
    arrays[name] = shape.length < 2 ? flat
      : [...Array(flat.length / size).keys()].map(row => flat.slice(row * size, (row + 1) * size));
  }
  const addresses = (told.pictures || []).map(packed => {
    const bytes = Uint8Array.from(atob(packed), letter => letter.charCodeAt(0));
    const canvas = document.createElement("canvas"), [height, width] = told.size;
    [canvas.width, canvas.height] = [width, height];
    const pixels = new ImageData(width, height);
    for (let i = 0; i < width * height; i++) pixels.data.set([...bytes.subarray(3 * i, 3 * i + 3), 255], 4 * i);
    canvas.getContext("2d").putImageData(pixels, 0, 0);
    return canvas.toDataURL();
  });
  const colour = share => `#${told.colours.substr(6 * Math.round(255 * Math.max(0, Math.min(1, share))), 6)}`;
  const scale = (x, y, width) => [...Array(32).keys()].map(i => box(x + i * width / 32, y, width / 32, 10,
    `fill="${colour(i / 31)}" shape-rendering="crispEdges"`)).join("");
  const picture = (x, y, side, which = 0, rest = "") =>
    `<image x="${x}" y="${y}" width="${side}" height="${side}" href="${addresses[which]}" ${rest}/>`;

  root.querySelector(".vm-fallback").hidden = true;
  const page = make("div", {role: "group", "aria-label": told.title}, root);
  make("p", {class: "vm-title"}, page).textContent = told.title;
  const choices = make("div", {class: "vm-pictures", role: "group", "aria-label": "Image"}, page);
  const stage = make("div", {class: "vm-stage"}, page);
  const bar = make("div", {class: "vm-bar"}, page);
  const button = make("button", {type: "button"}, bar);
  const time = make("input", {type: "range", min: 0, step: 0.01, "aria-label": "Time"}, bar);
  const steps = make("div", {class: "vm-beats", role: "group", "aria-label": "Steps"}, page);
  const said = make("p", {class: "vm-said", role: "status"}, page);
  stage.innerHTML = '<svg aria-hidden="true"></svg>';

  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  let playing = 0, until = 0;  // what plays has a number, so that what was stopped does not go on
  const now = () => Number(time.value);
  const show = at => {  // pause, and draw how it is at that time
    playing = 0;
    time.value = at;
    draw();
  };
  const figure = idea({told, arrays, colour, scale, picture, stage, choices, show, now});
  const end = figure.beats.at(-1).to;
  time.max = end;

  const draw = () => {
    const width = stage.clientWidth, at = now();
    if (!width) return;
    const svg = stage.firstChild, [height, drawing] = figure.draw(at, width);
    for (const [name, value] of Object.entries({width, height, viewBox: `0 0 ${width} ${height}`})) svg.setAttribute(name, value);
    svg.innerHTML = drawing;
    const sentence = figure.say(at);
    said.setAttribute("aria-live", playing ? "off" : "polite");
    if (said.textContent !== sentence) said.textContent = sentence;
    time.setAttribute("aria-valuetext", sentence);
    button.textContent = playing ? "❚❚" : "▶";
    button.setAttribute("aria-label", playing ? "Pause" : "Play");
    const present = figure.beats.findLastIndex(beat => at >= beat.from);
    [...steps.children].forEach((step, i) => step.setAttribute("aria-pressed", i === present));
    root.drawn = figure.numbers(at);  // what the drawing shows, for whoever checks it
  };

  // Without motion, play goes from one state that says something to the next.
  const play = (from, to) => {
    const own = playing = performance.now() + Math.random();
    until = to;
    time.value = from;
    let last = performance.now();
    const go = instant => {
      if (playing !== own) return;
      const at = now(), passed = Math.min(instant - last, 100) / 1000;
      time.value = calm.matches ? figure.stops.find(stop => stop > at + 0.01) ?? end : at + passed;
      last = instant;
      if (now() >= until - 0.01) show(until);
      else {
        draw();
        if (calm.matches) setTimeout(() => go(performance.now()), 1500);
        else requestAnimationFrame(go);
      }
    };
    go(last);
  };

  button.addEventListener("click", () => {
    const at = now();
    if (playing) show(at);
    else play(at >= end - 0.01 || figure.anew() ? 0 : at, end);
  });
  time.addEventListener("input", () => show(time.value));
  time.addEventListener("keydown", event => {
    const at = now(), forward = ["ArrowRight", "ArrowUp"].includes(event.key);
    if (!forward && !["ArrowLeft", "ArrowDown"].includes(event.key)) return;
    event.preventDefault();
    show(forward ? figure.stops.find(stop => stop > at + 0.01) ?? end : figure.stops.findLast(stop => stop < at - 0.01) ?? 0);
  });
  for (const {name, from, to, still} of figure.beats) {
    const step = make("button", {type: "button"}, steps);
    step.textContent = name;
    step.addEventListener("click", () => {
      figure.anew();
      if (calm.matches || from === to) show(still);
      else play(from, to);
    });
  }
  choices.hidden = !choices.children.length;

  show(figure.first);
  calm.addEventListener("change", () => { if (calm.matches && playing) show(now()); });
  new ResizeObserver(draw).observe(stage);
  const watch = new IntersectionObserver(([seen]) => {  // it begins by itself once, where the reader sees it
    if (!seen.isIntersecting && playing) show(now());
    if (!seen.isIntersecting || calm.matches || root.dataset.begun !== undefined) return;
    root.dataset.begun = "";
    play(0, end);
  }, {threshold: 0.6});
  watch.observe(stage);
  root.addEventListener("pointerdown", () => { root.dataset.begun = ""; });
};
