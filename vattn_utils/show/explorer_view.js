// The page of one explorer: its state, how it is drawn, and what changes it.

const begin = async root => {
  const find = name => root.querySelector(`.vx-${name}`);
  const about = described(find("about").textContent);
  const part = await unpack(root.querySelector("[data-fingerprinted]").textContent.trim(), about.arrays);
  const {shares, map, own, highest} = reader(about, part);
  const [rows, columns] = about.grid, [height, width] = about.size;
  const place = patch => `row ${Math.floor(patch / columns) + 1}, column ${patch % columns + 1}`;
  const capital = text => text[0].toUpperCase() + text.slice(1);
  const state = {
    picture: 0, layer: about.opens.layer, head: about.opens.head, query: 0, token: false, slot: null, patch: 0, cell: null, pinned: false,
    fixed: false, touch: matchMedia("(hover: none), (pointer: coarse)").matches,
  };
  const layer = () => about.layers[state.layer];
  const asks = () => ["self", "rollout", "external"].includes(layer().kind) && !state.token;  // who looks is a choice

  // The query whose map a layer and head show, for the patch that is chosen.
  const queryOf = (one, head) => {
    if (one.kind === "pooling") return state.query;
    if (one.kind !== "external") return state.token && one.kind === "self" ? 0 : one.prefix + state.patch;
    const chosen = one === layer() && head === state.head ? state.slot : null;
    return chosen === null ? strongest(shares(one, state.picture, head, state.patch)) : chosen;
  };
  const colouring = (one, values) => {
    const top = (state.fixed ? highest[one.kind] : largest(values)) || 1;
    return {top, index: at => Math.min(255, Math.round(255 * values[at] / top))};
  };

  const draw = () => {
    const query = queryOf(layer(), state.head), values = map(layer(), state.picture, state.head, query);
    const {top, index} = colouring(layer(), values), best = strongest(values);
    paint(find("picture"), width, height, part("images", state.picture), i => i);
    paint(find("map"), columns, rows, part("attention"), index);
    find("caption").textContent = about.images[state.picture].caption;
    [...find("pictures").children].forEach((button, i) => button.setAttribute("aria-pressed", i === state.picture));
    presets.forEach(({button, preset}) => button.setAttribute("aria-pressed", fits(preset)));

    tiles.forEach(({canvas, button, one, head}) => {
      const small = map(one, state.picture, head, queryOf(one, head)), most = strongest(small);
      paint(canvas, columns, rows, part("attention"), colouring(one, small).index);
      button.setAttribute("aria-label", `${called(one, head)}: most in ${place(most)}, ${percent(small[most])}`);
    });
    select(tiles.map(tile => tile.button), chosenTile(), "aria-checked");

    cells.forEach((cell, i) => {
      cell.setAttribute("aria-label", `${place(i)}: ${percent(values[i])}`);
      cell.classList.toggle("vx-from", asks() && i === state.patch);
      cell.classList.toggle("vx-read", i === state.cell);
      cell.classList.toggle("vx-top", i === best);
    });
    select(cells, state.cell ?? (asks() ? state.patch : best), "aria-selected");
    find("page").classList.toggle("vx-pinned", state.pinned);

    const read = layer().kind === "external" ? shares(layer(), state.picture, state.head, state.patch) : [];
    find("memory").hidden = !read.length;
    if (read.length) drawSlots(read, query);
    find("memory").firstElementChild.textContent =
      `What the patch reads from each memory slot, within ${percent(0.5 / about.levels)}`;
    find("token").hidden = layer().kind !== "self" || !layer().class_token;
    find("token").setAttribute("aria-pressed", state.token);
    find("class").hidden = layer().kind !== "pooling" || !about.classes;
    find("class").querySelector("select").value = state.query;

    paint(find("scale").querySelector("canvas"), 256, 1, part("attention"), i => i);
    find("scale").lastElementChild.textContent = percent(top);
    find("scale").firstElementChild.textContent = "0";
    root.querySelectorAll("[data-scale]").forEach(button =>
      button.setAttribute("aria-pressed", (button.dataset.scale === "fixed") === state.fixed));
    find("scale-said").textContent = (state.fixed
      ? `The brightest is ${percent(top)}, the most of all such maps on this page: colours can be compared.`
      : `The brightest is the most of this map, ${percent(top)}; each small map has a scale of its own.`)
      + (layer().kind === "evidence" ? "" : ` Values are within ${percent(largest(values) / 2 / about.levels)}.`);
    find("how").textContent = instruction();
    find("said").textContent = sentence(values, best, query, read);
  };

  const drawSlots = (read, query) => {
    const most = strongest(read);
    slots.forEach((cell, i) => {
      cell.hidden = i >= read.length;
      cell.style.setProperty("--share", `${100 * (read[i] || 0) / (read[most] || 1)}%`);
      cell.classList.toggle("vx-top", i === most);
      cell.setAttribute("aria-label", `slot ${i}: ${percent(read[i] || 0)}`);
    });
    select(slots, query, "aria-selected");
  };

  const instruction = () => {
    const {touch} = state, patches = asks(), point = touch ? "Tap" : "Point at";
    const letGo = !touch ? "Escape, or a second click, lets go" : "a second tap lets go";
    const counted = "Rows and columns count from 1.";
    if (state.pinned && !patches) return `Pinned; ${letGo}. ${counted}`;
    if (state.pinned) return `Pinned: ${touch ? "sliding sideways" : "pointing"} now reads values; ${letGo}. ${counted}`;
    const pin = touch ? `That pins it; ${letGo}.` : "A click pins it, as Enter does after Tab and arrow keys.";
    const what = !patches ? `${point} a patch to read its value.` : layer().kind === "external"
      ? `${point} a patch to see which slots it reads, or a slot to see where it is read from.`
      : `${point} a patch to see where it looks.`;
    return `${what} ${pin} ${counted}`;
  };

  const sentence = (values, best, query, read) => {
    const kind = layer().kind, most = `${place(best)}: ${percent(values[best])}`;
    const here = state.cell === null || state.cell === best ? "" : ` In ${place(state.cell)}: ${percent(values[state.cell])}.`;
    const share = kind === "evidence" ? 0 : own(layer(), state.picture, state.head, query);
    const rest = share ? ` ${layer().class_token ? "Class token" : "Registers"}: ${percent(share)}.` : "";
    if (kind === "evidence") {
      const {evidence} = about.images[state.picture];
      if (!values[best]) return `Nothing attended to speaks for ${evidence}.`;
      return `Most evidence for ${evidence} is in ${most} of the picture's.${here} `
        + "Evidence is attention times the gradient of the class's logit, where that is positive.";
    }
    if (kind === "pooling")
      return `${about.classes ? `For ${about.classes[query]} the` : "The"} answer is read most from ${most}.${here}${rest}`;
    if (kind === "external") {
      const first = strongest(read), other = query === first ? "" : ` From slot ${query}: ${percent(read[query])}.`;
      return `${capital(place(state.patch))} reads most from slot ${first}: ${percent(read[first])}.${other} `
        + `Slot ${query} is read most from ${most}.${here}`;
    }
    const who = state.token ? "The class token" : capital(place(state.patch));
    return `${who} looks most at ${most}${kind === "rollout" ? ", followed through all layers" : ""}.${here}${rest}`;
  };
  const called = (one, head) => one.heads > 1 ? `${one.label}, head ${head}` : one.label;

  // What changes the state. What was chosen, and not only pointed at, stands in the address.
  const set = change => { Object.assign(state, change); draw(); };
  const choose = change => { set(change); where.write(told()); };
  const over = (patch, finger) => {  // a finger that only scrolls the page chooses nothing
    if (state.pinned ? !asks() : finger) return;
    if (state.pinned || !asks()) return set({cell: patch});
    set({patch, slot: null, cell: null});
  };
  const press = patch => {
    const same = state.pinned && state.slot === null && (asks() ? state.patch : state.cell) === patch;
    if (same) return release();
    choose(asks() ? {patch, slot: null, cell: null, pinned: true} : {cell: patch, pinned: true});
  };
  const release = () => choose({pinned: false, slot: null, cell: null});
  const show = picture => choose({picture, cell: null, ...state.pinned ? {} : {patch: part("focus")[picture]}});
  const told = () => {
    const patch = state.pinned ? (asks() ? state.patch : state.cell) : null;
    return {
      image: state.picture + 1, layer: layer().name, ...layer().heads > 1 ? {head: state.head} : {},
      ...patch === null ? {} : {row: Math.floor(patch / columns) + 1, column: patch % columns + 1},
      ...state.slot === null ? {} : {slot: state.slot}, ...state.token ? {token: 1} : {},
      ...state.query ? {class: state.query} : {}, ...state.fixed ? {scale: "fixed"} : {},
    };
  };
  // From an address or a preset, which anybody may have written: what is no choice here is left out.
  const wanted = said => {
    const whole = (name, least, most) => /^\d+$/.test(said[name]) && said[name] >= least && said[name] <= most
      ? Number(said[name]) : null;
    const at = about.layers.findIndex(one => one.name === String(said.layer));
    const change = {layer: at < 0 ? about.opens.layer : at, slot: null, cell: null, pinned: false};
    const one = about.layers[change.layer], picture = (whole("image", 1, about.images.length) ?? state.picture + 1) - 1;
    Object.assign(change, {
      picture, head: whole("head", 0, one.heads - 1) ?? (at < 0 ? about.opens.head : 0), query: about.classes && whole("class", 0, about.classes.length - 1) || 0,
      token: one.class_token === true && one.kind === "self" && said.token !== undefined, fixed: said.scale === "fixed",
      patch: part("focus")[picture],
    });
    const row = whole("row", 1, rows), column = whole("column", 1, columns);
    if (row !== null && column !== null) {
      const patch = (row - 1) * columns + column - 1, askable = one.kind !== "pooling" && one.kind !== "evidence" && !change.token;
      Object.assign(change, askable ? {patch, pinned: true} : {cell: patch, pinned: true});
    }
    if (one.kind === "external" && whole("slot", 0, one.slots - 1) !== null)
      Object.assign(change, {slot: whole("slot", 0, one.slots - 1), pinned: true});
    return change;
  };
  const fits = said => {
    const {cell, fixed, ...chosen} = wanted(said);
    return Object.entries(chosen).every(([name, value]) => state[name] === value);
  };

  const where = address(root, about.title);
  find("page").setAttribute("aria-label", about.title);
  find("title").textContent = about.title;
  about.images.forEach((image, i) => {
    const label = `image ${i + 1} of ${about.images.length}: ${image.caption}`;
    const button = make("button", {type: "button", "aria-label": label, title: image.caption}, find("pictures"));
    button.addEventListener("click", () => show(i));
    paint(make("canvas", {"aria-hidden": "true"}, button), width, height, part("images", i), at => at);
  });
  const presets = Object.entries(about.presets).map(([text, preset]) => {
    const button = make("button", {type: "button"}, find("presets"));
    button.textContent = text;
    button.addEventListener("click", () => choose({...wanted(preset), fixed: state.fixed}));
    return {button, preset};
  });
  find("presets").hidden = !presets.length;

  find("cells").setAttribute("aria-label", "Patches of the picture");
  find("cells").style.gridTemplate = `repeat(${rows}, 1fr) / repeat(${columns}, 1fr)`;
  find("cells").parentElement.style.aspectRatio = `${width} / ${height}`;
  // A token's cell lies where the token looks, which need not be the middle of its patch.
  find("cells").parentElement.style.setProperty("--down", `${100 * about.shift[0] / height}%`);
  find("cells").parentElement.style.setProperty("--right", `${100 * about.shift[1] / width}%`);
  const grid = [...Array(rows).keys()].map(() => {
    const line = make("div", {role: "row"}, find("cells"));
    return [...Array(columns).keys()].map(() => make("div", {role: "gridcell"}, line));
  });
  const cells = grid.flat();
  roving(find("cells"), () => grid, over, press);
  find("cells").addEventListener("pointerleave", () => { if (state.cell !== null && !(state.pinned && !asks())) set({cell: null}); });

  // The overview: layers by heads, and what there is one of.
  const tiles = [], tilesRows = [];
  const tile = (one, head, parent) => {
    const button = make("button", {type: "button", role: "radio"}, parent);
    button.style.aspectRatio = `${width} / ${height}`;
    tiles.push({one, head, button, canvas: make("canvas", {"aria-hidden": "true"}, button)});
    return button;
  };
  const many = about.layers.filter(one => one.heads > 1), most = Math.max(1, ...many.map(one => one.heads));
  find("layers").style.setProperty("--heads", most);
  if (many.length) make("span", {}, find("layers"));
  for (let head = 0; many.length && head < most; head++) make("span", {}, find("layers")).textContent = `head ${head}`;
  for (const one of many) {
    make("span", {}, find("layers")).textContent = one.label;
    tilesRows.push([...Array(one.heads).keys()].map(head => tile(one, head, find("layers"))));
    for (let head = one.heads; head < most; head++) make("span", {}, find("layers"));
  }
  const singles = about.layers.filter(one => one.heads === 1).map(one => {
    const box = make("div", {}, find("single")), button = tile(one, 0, box);
    make("span", {"aria-hidden": "true"}, box).textContent = one.label;
    return button;
  });
  tilesRows.push(singles);
  find("single").classList.toggle("vx-alone", !many.length);
  const chosenTile = () => tiles.findIndex(({one, head}) => one === layer() && head === Math.min(state.head, one.heads - 1));
  const open = at => {
    const {one, head} = tiles[at];
    choose({layer: about.layers.indexOf(one), head, slot: null, cell: null, ...one.kind === "self" ? {} : {token: false}});
  };
  roving(find("overview"), () => tilesRows.filter(row => row.length), () => {}, open);
  find("overview").addEventListener("focusin", event => {  // as in any group of radio buttons, arrows choose
    const at = tiles.findIndex(({button}) => button === event.target);
    if (at >= 0 && at !== chosenTile() && event.target.matches(":focus-visible")) open(at);
  });

  const slots = [...Array(Math.max(...about.layers.map(one => one.slots))).keys()].map(
    () => make("div", {role: "option"}, find("slots")));
  const slotRows = () => {
    const shown = slots.filter(slot => !slot.hidden), lines = [];
    const wide = getComputedStyle(find("slots")).gridTemplateColumns.split(" ").length;
    for (let at = 0; at < shown.length; at += wide) lines.push(shown.slice(at, at + wide));
    return lines;
  };
  roving(find("slots"), slotRows, (slot, finger) => { if (!state.pinned && !finger) set({slot, cell: null}); }, slot => {
    if (state.pinned && state.slot === slot) return release();
    choose({slot, cell: null, pinned: true});
  });

  (about.classes || []).forEach((name, i) => find("class").querySelector("select").add(new Option(name, i)));
  find("class").addEventListener("change", event => choose({query: Number(event.target.value), cell: null, pinned: false}));
  find("token").addEventListener("click", () => choose({token: !state.token, cell: null, pinned: false}));
  root.querySelectorAll("[data-scale]").forEach(button =>
    button.addEventListener("click", () => choose({fixed: button.dataset.scale === "fixed"})));
  const opacity = find("opacity").querySelector("input");
  const cover = () => {
    find("map").style.opacity = opacity.value / 100;
    find("opacity").querySelector("output").textContent = `${opacity.value} %`;
  };
  opacity.addEventListener("input", cover);
  root.addEventListener("pointerdown", event => {  // of a device with both, what is used
    if (state.touch !== (event.pointerType === "touch")) set({touch: event.pointerType === "touch"});
  });
  document.addEventListener("keydown", event => {  // in another explorer, Escape is that one's
    const used = document.activeElement?.closest(".vattn-explorer");
    if (event.key === "Escape" && state.pinned && (!used || used === root)) release();
  });
  const follow = () => { if (where.read()) set(wanted(where.read())); };
  addEventListener("hashchange", follow);

  cover();
  set({patch: part("focus")[0]});
  follow();
  find("fallback").hidden = true;
  find("page").hidden = false;
  if (where.read()) root.scrollIntoView({block: "nearest"});
};

for (const root of document.querySelectorAll(".vattn-explorer:not([data-alive])")) {
  root.dataset.alive = "";
  if (typeof DecompressionStream === "undefined") continue;  // the sentence that stands there says why
  begin(root).catch(error => {
    root.querySelector(".vx-fallback").textContent =
      `This explorer is damaged: ${error.message}. Load the page anew, or execute the cell again.`;
  });
}
