// One query walks over the picture: it meets all keys, the scores become shares, the values are mixed in these shares.
const idea = ({told, arrays, colour, scale, picture, stage, show, now}) => {
  const {query, key, value} = arrays, [rows, columns] = told.grid;
  const width = query[0].length, count = rows * columns;
  const ASKED = 1.2, MET = 4.6, SHARED = 6.4, MIXED = 10, STEP = 0.6;  // seconds
  const middle = Math.floor(rows / 2), centre = Math.floor(columns / 2);
  const walk = [...Array(columns).keys()].map(column => middle * columns + column)
    .concat([...Array(rows).keys()].map(row => row * columns + centre));
  const place = patch => `row ${Math.floor(patch / columns) + 1}, column ${patch % columns + 1}`;
  const mix = (weights, patches) => value[0].map((_, i) => patches.reduce((sum, patch) => sum + weights[patch] * value[patch][i], 0));

  const known = [];
  const attend = patch => known[patch] ??= (() => {
    const scores = key.map(one => dot(query[patch], one) / Math.sqrt(width)), weights = softmax(scores);
    const order = [...weights.keys()].sort((one, other) => weights[other] - weights[one]);
    return {patch, scores, weights, order, answer: mix(weights, order)};
  })();
  const peak = vector => Math.max(...vector.map(Math.abs));

  let pinned = null;
  const who = at => at > MIXED + 0.005 ? walk[Math.min(walk.length - 1, Math.floor((at - MIXED) / STEP))] : pinned ?? walk[0];
  const trace = (cells, at) => at <= MIXED + 0.005 ? "" : `<path class="trace" d="M${walk.slice(0, walk.indexOf(who(at)) + 1)
    .map(patch => cells[patch].map((from, i) => from + cells[0][2] / 2).slice(0, 2)).join("L")}"/>`;
  const part = (at, from, to) => Math.max(0, Math.min(1, (at - from) / (to - from)));
  const state = at => {
    const found = attend(who(at));
    const met = Math.round(count * part(at, ASKED, MET)), heat = part(at, MET, SHARED);
    const collected = Math.round(count * part(at, SHARED, MIXED) ** 2);  // the heavy ones slowly
    const patches = found.order.slice(0, collected);
    const weights = heat < 1 ? softmax(found.scores.map(score => heat * score)) : found.weights;
    return {...found, met, heat, weights, patches, sum: mix(found.weights, patches),
      held: patches.reduce((sum, patch) => sum + found.weights[patch], 0)};
  };

  const pick = make("div", {class: "vm-over", role: "slider", tabindex: 0, "aria-label": "The patch that asks",
    "aria-valuemin": 1, "aria-valuemax": count}, stage);
  const ask = patch => { pinned = patch; show(MIXED); };
  const point = event => {
    const {left, top, width: wide, height} = pick.getBoundingClientRect();
    const within = (share, size) => Math.max(0, Math.min(size - 1, Math.floor(share * size)));
    ask(within((event.clientY - top) / height, rows) * columns + within((event.clientX - left) / wide, columns));
  };
  pick.addEventListener("pointerdown", event => { pick.setPointerCapture(event.pointerId); point(event); });
  pick.addEventListener("pointermove", event => { if (event.buttons) point(event); });
  pick.addEventListener("keydown", event => {
    const at = who(now()), column = at % columns;
    const to = {ArrowLeft: at - (column > 0), ArrowRight: at + (column < columns - 1), ArrowUp: at - columns,
      ArrowDown: at + columns, Home: 0, End: count - 1}[event.key];
    if (to === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    if (to >= 0 && to < count) ask(to);
  });

  const draw = (at, wide) => {
    const four = wide >= 560, gap = four ? 26 : 14, side = (wide - gap * (four ? 3 : 1)) / (four ? 4 : 2), high = side + 86;
    const {patch, scores, weights, answer, met, heat, patches, sum, held} = state(at);
    const corner = panel => four ? [panel * (side + gap), 0] : [panel % 2 * (side + gap), Math.floor(panel / 2) * (high + 8)];
    const panel = (number, name, kind, begun, drawing, below) => {
      const [x, y] = corner(number), cells = places(x, y + 22, side, told.grid);
      const arrow = number && (four || number % 2) ? text(x - gap / 2, y + 26 + side / 2, "→", "soft middle") : "";
      return text(x, y + 13, name, `head ${kind}`) + arrow + box(x, y + 22, side, side, 'class="fill" rx="3"')
        + (begun ? drawing(cells, x, y + 22) + below(x, y + side + 30) : "");
    };
    const [x, y] = corner(0);
    Object.assign(pick.style, {left: `${x}px`, top: `${y + 22}px`, width: `${side}px`, height: `${side}px`});
    pick.setAttribute("aria-valuenow", patch + 1);
    pick.setAttribute("aria-valuetext", place(patch));
    const top = Math.max(...scores.map(Math.abs)), most = Math.max(...weights);
    const meets = met < count ? Math.max(0, met - 1) : largest(scores), last = patches.at(-1);
    return [four ? high : 2 * high + 8, [
      panel(0, "A patch asks", "query", true, (cells, x, y) => picture(x, y, side) + trace(cells, at) + ring(cells[patch], "query"),
        (x, y) => bars(x, y, side, 32, query[patch].map(one => one * part(at, 0, ASKED * 0.8)), peak(query[patch]), "query")
          + text(x, y + 49, `its query, ${width} numbers`, "soft")),
      panel(1, "All keys: scores", "key", met, (cells, x, y) => picture(x, y, side, 0, 'opacity=".3"')
          + cells.slice(0, met).map(([x, y, size], i) => `<circle cx="${x + size / 2}" cy="${y + size / 2}" `
            + `r="${(size * 0.46 * Math.sqrt(Math.abs(scores[i]) / top)).toFixed(2)}" class="${scores[i] < 0 ? "hollow" : "key"}"/>`).join("")
          + ring(cells[patch], "query") + ring(cells[meets], "key"),
        (x, y) => bars(x, y, side, 32, key[meets], peak(key[meets]), "key")
          + text(x, y + 49, `${met < count ? "" : "best: "}q·k/√${width} = ${fixed(scores[meets], 2)}`, "key")),
      panel(2, "Softmax: shares", "", heat, (cells) => cells.map((cell, i) =>
          tile(cell, `fill="${colour(weights[i] / most)}"`)).join("") + ring(cells[patch], "query")
          + (last === undefined || patches.length === count ? "" : ring(cells[last], "value")),
        (x, y) => scale(x, y + 8, side)
          + text(x, y + 32, "0") + text(x + side, y + 32, percent(most), "end") + text(x, y + 49, `${count} shares, sum 100 %`, "soft")),
      panel(3, "Values, so mixed", "value", patches.length, (cells, x, y) => picture(x, y, side)
          + cells.map((cell, i) => tile(cell,
            `class="fill" opacity="${patches.includes(i) ? (1 - weights[i] / most).toFixed(3) : 1}"`)).join("")
          + ring(cells[patch], "query") + (patches.length === count ? "" : ring(cells[last], "value")),
        (x, y) => bars(x, y, side, 32, sum, peak(answer), "value")
          + text(x, y + 49, patches.length === count ? `the answer, ${width} numbers` : `${percent(held)} collected`, "soft")),
    ].join("")];
  };

  const say = at => {
    const {patch, scores, weights, met, heat, patches, held, order} = state(at), best = order[0];
    if (!met) return `The patch in ${place(patch)} asks. Its query is ${width} numbers.`;
    if (met < count) return `The query of ${place(patch)} meets the key of ${place(met - 1)}: the score is ${fixed(scores[met - 1], 2)}.`;
    if (heat < 1) return `Softmax turns the ${count} scores of ${place(patch)} into positive shares. They always add up to 100 %.`;
    if (patches.length < count) return `The values are added up in these shares, the largest first: ${patches.length} of ${count} patches, ${percent(held)} of the answer.`;
    return `The patch in ${place(patch)} asks. Best match: ${place(best)}, with a score of ${fixed(scores[best], 2)} and ${percent(weights[best])} of the attention. `
      + "The answer is the mean of all values in these shares.";
  };

  return {
    draw, say,
    numbers: at => { const {patch, scores, weights, sum, held} = state(at); return {patch, scores, weights, sum, held}; },
    anew: () => pinned !== null && Math.abs(now() - MIXED) < 0.01,  // play begins with the patch that was chosen
    first: MIXED,
    stops: [ASKED, MET, SHARED, MIXED, ...walk.map((_, i) => MIXED + (i + 0.5) * STEP)],
    beats: [
      {name: "ask", from: 0, to: ASKED, still: ASKED}, {name: "score", from: ASKED, to: MET, still: MET},
      {name: "share", from: MET, to: SHARED, still: SHARED}, {name: "mix", from: SHARED, to: MIXED, still: MIXED},
      {name: "walk", from: MIXED + 0.01, to: MIXED + walk.length * STEP, still: MIXED + walk.length * STEP},
    ],
  };
};
