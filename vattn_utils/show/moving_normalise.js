// Double normalisation beside a softmax over the slots: move a score, and see whose rows change.
const idea = ({told, arrays, colour, stage, show, now}) => {
  const given = arrays.scores, rows = given.length, columns = given[0].length;
  const ONE = 1, REST = 6, ALL = 7, END = 12;  // seconds
  const [token, slot, BY] = told.raised;  // which score moves by itself, and how far
  const column = (matrix, at) => matrix.map(row => row[at]);
  const double = scores => {
    const columnwise = scores[0].map((_, at) => softmax(column(scores, at)));
    const maps = scores.map((row, at) => row.map((_, slot) => columnwise[slot][at]));
    return [maps, maps.map(row => row.map(share => share / row.reduce((one, other) => one + other, 0)))];
  };
  const [, before] = double(given), plain = given.map(softmax);
  const changed = (matrix, old) => matrix.map((row, at) => row.some((share, slot) => Math.abs(share - old[at][slot]) > 0.005));

  let set = given.map(row => [...row]), touched = false;
  const swing = (at, from, to) => at <= from || at >= to ? 0 : BY * Math.sin(Math.PI * (at - from) / (to - from)) ** 2;
  const state = at => {
    const one = swing(at, ONE, REST), all = swing(at, ALL, END);
    const scores = set.map((row, i) => row.map((score, j) => score + (i === token && j === slot ? one : 0) + (j === slot ? all : 0)));
    const [maps, shares] = double(scores), alone = scores.map(softmax);
    return {scores, maps, shares, alone, moved: scores.map((row, i) => row.map((score, j) => Math.abs(score - given[i][j]) > 0.005)),
      here: changed(shares, before), there: changed(alone, plain)};
  };

  const inputs = given.map((row, i) => row.map((score, j) => {
    const input = make("input", {type: "range", class: "vm-over", min: -told.most, max: told.most, step: 0.1,
      "aria-label": `score of token ${i + 1} with slot ${j + 1}`}, stage);
    input.addEventListener("input", () => {
      if (now() > 0) set = state(now()).scores.map(row => row.map(value => Math.round(10 * value) / 10));
      set[i][j] = Number(input.value);
      touched = true;
      show(0);
    });
    return input;
  }));

  const draw = (at, wide) => {
    const {scores, maps, shares, alone, moved, here, there} = state(at), four = wide >= 640;
    const name = four ? 50 : 22, third = four ? 58 : (wide - name) / columns, from = name + columns * third + 20;
    const abreast = !four && wide >= 480, part = abreast ? wide / 3 : wide / 2 + 4;  // three matrices below the scores in a row, or two
    const cell = Math.min(46, Math.floor((four ? (wide - from - 96) / 3 : part - 40) / columns)), high = four ? 52 : 28;
    const drawing = [text(0, 18, "Scores: move them", "head key")];
    scores.forEach((row, i) => {
      drawing.push(text(0, 44 + 52 * i + 30, four ? `token ${i + 1}` : `t${i + 1}`, "soft"));
      row.forEach((score, j) => {
        const x = name + j * third, y = 44 + 52 * i;
        drawing.push(box(x + 1, y + 1, third - 2, 50, 'class="fill" rx="4"'), text(x + third / 2, y + 16, fixed(score, 1), "middle"));
        if (moved[i][j]) drawing.push(box(x + 1, y + 1, third - 2, 50, 'class="ring ink" rx="4"'));
        Object.assign(inputs[i][j].style, {left: `${x}px`, top: `${y + 8}px`, width: `${third}px`});
        inputs[i][j].value = score;
      });
    });
    const slots = (x, y, size) => [...Array(columns).keys()].map(j => text(x + (j + 0.5) * size, y, four ? `slot ${j + 1}` : `s${j + 1}`, "soft middle"));
    drawing.push(...slots(name, 38, third));
    const matrix = (x, y, title, sub, values, kind, rowsChanged) => {
      const sums = kind === "columns" ? [...Array(columns).keys()].map(j => column(values, j)) : values;
      const total = list => list.reduce((one, other) => one + other, 0).toFixed(2);
      drawing.push(text(x, y, title, "head"), text(x, y + 16, sub, "soft"));
      values.forEach((row, i) => {
        row.forEach((share, j) => drawing.push(
          box(x + j * cell, y + 26 + i * high, cell - 1, high - 1, `fill="${colour(share)}"`),
          `<text x="${x + (j + 0.5) * cell}" y="${y + 30 + (i + 0.5) * high}" class="middle" style="fill:${share < 0.6 ? "#fff" : "#000"}">${share.toFixed(2)}</text>`));
        if (rowsChanged?.[i]) drawing.push(
          box(x + 1.5, y + 27.5 + i * high, columns * cell - 4, high - 4, 'class="ring paper"'),
          box(x - 0.5, y + 25.5 + i * high, columns * cell, high, 'class="ring ink" rx="1"'));
      });
      sums.forEach((list, i) => drawing.push(kind === "columns"
        ? text(x + (i + 0.5) * cell, y + 40 + rows * high, total(list), "soft middle")
        : text(x + columns * cell + 5, y + 30 + (i + 0.5) * high, total(list), "soft")));
      if (rowsChanged) drawing.push(text(x, y + 40 + rows * high, `${rowsChanged.filter(Boolean).length} of ${rows} rows changed`, "head"));
    };
    if (four) {
      const step = columns * cell + 20;
      matrix(from, 18, "Softmax ↓ tokens", "each slot sums to 1", maps, "columns");
      matrix(from + step, 18, "then rows ÷ sum →", "double normalisation", shares, "rows", here);
      matrix(from + 2 * step + 28, 18, "Softmax → slots", "for comparison", alone, "rows", there);
      return [18 + 44 + rows * high, drawing.join("")];
    }
    const top = 44 + 52 * rows + 28;
    matrix(0, top, "Softmax ↓ tokens", "each slot sums to 1", maps, "columns");
    matrix(part, top, "then rows ÷ sum →", "double normalisation", shares, "rows", here);
    matrix(...abreast ? [2 * part, top] : [part, top + 62 + rows * high], "Softmax → slots", "for comparison", alone, "rows", there);
    if (abreast) return [top + 48 + rows * high, drawing.join("")];
    drawing.push(text(0, top + 100 + rows * high, "The other way, as in", "soft"), text(0, top + 116 + rows * high, "self-attention: a row", "soft"),
      text(0, top + 132 + rows * high, "knows only its own scores.", "soft"));
    return [top + 62 + 2 * rows * high + 48, drawing.join("")];
  };

  const say = at => {
    const {moved, here, there, scores} = state(at), count = moved.flat().filter(Boolean).length;
    const rowsOf = list => `${list.filter(Boolean).length} of ${rows}`;
    if (!count) return "Each cell is a score of one token with one slot. Move one: whose shares change?";
    const what = at > ALL ? `All scores of slot ${slot + 1} rise by ${swing(at, ALL, END).toFixed(1)}`
      : at > ONE ? `Token ${token + 1}'s score with slot ${slot + 1} rises to ${fixed(scores[token][slot], 1)}`
      : `${count} of ${rows * columns} scores moved`;
    return `${what}. Double normalisation: ${rowsOf(here)} rows change. Softmax over slots: ${rowsOf(there)}.`;
  };

  return {
    draw, say, numbers: state,
    anew: () => { const was = touched; set = given.map(row => [...row]); touched = false; return was; },
    first: 0,
    stops: [0, (ONE + REST) / 2, (REST + ALL) / 2, (ALL + END) / 2, END],
    beats: [
      {name: "as they are", from: 0, to: 0, still: 0},
      {name: "one score moves", from: ONE, to: REST, still: (ONE + REST) / 2},
      {name: "a slot's scores move", from: ALL, to: END, still: (ALL + END) / 2},
    ],
  };
};
