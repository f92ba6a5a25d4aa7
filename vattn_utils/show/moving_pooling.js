// One query asks all patches: from equal weights, which are the mean, to the weights it has learned.
const idea = ({told, arrays, colour, scale, picture, choices, stage, show, now}) => {
  const {equal, learned, mean, attended, logits} = arrays, [, columns] = told.grid;
  const STEPS = told.steps, HOLD = 0.8, END = 6;  // how many shares of the way Python has computed; seconds
  const classes = told.classes.length;
  let shown = 0;
  const way = at => Math.max(0, Math.min(1, (at - HOLD) / (END - 2 * HOLD)));
  const between = (one, other, t) => one.map((value, i) => value + t * (other[i] - value));
  const place = patch => `row ${Math.floor(patch / columns) + 1}, column ${patch % columns + 1}`;
  const state = at => {
    const t = way(at), nearest = Math.round(t * (STEPS - 1)), below = Math.min(STEPS - 2, Math.floor(t * (STEPS - 1)));
    const row = step => logits[shown * STEPS + step];
    return {t, weights: between(equal[shown], learned[shown], t).slice(1), pooled: between(mean[shown], attended[shown], t),
      logits: row(nearest), smooth: between(row(below), row(below + 1), t * (STEPS - 1) - below)};
  };
  const top = Math.max(...mean.concat(attended).flat().map(Math.abs));
  const low = Math.min(0, ...logits.flat()), high = Math.max(...logits.flat());

  const buttons = told.titles.map((title, i) => {
    const button = make("button", {type: "button", "aria-label": `Image ${i + 1}: ${title}`}, choices);
    button.innerHTML = `<svg width="40" height="40" aria-hidden="true">${picture(0, 0, 40, i)}</svg>`;
    button.addEventListener("click", () => { shown = i; show(now()); });
    return button;
  });

  const draw = (at, wide) => {
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", i === shown));
    const {t, weights, pooled, logits: written, smooth} = state(at), two = wide >= 560;
    const left = two ? 420 : wide, gap = two ? 92 : 76, side = (left - gap) / 2, node = [left / 2 + 6, 22 + side / 2];
    const cells = places(0, 22, side, told.grid), most = Math.max(...weights), heaviest = Math.max(...learned[shown].slice(1));
    const lines = cells.map(([x, y, size], i) => `<path class="asks" d="M${x + size / 2} ${y + size / 2}L${node}" `
      + `stroke-width="${(0.25 + 36 * weights[i]).toFixed(2)}" opacity="${(0.3 + 0.6 * weights[i] / heaviest).toFixed(3)}"/>`).join("");
    const drawing = [
      text(0, 13, short(told.titles[shown], Math.floor(side / 8)), "head"), picture(0, 22, side, shown), lines,
      `<circle cx="${node[0]}" cy="${node[1]}" r="17" class="query"/>`, text(node[0], node[1] + 5, "q", "head on middle"),
      text(node[0] + 25, node[1] + 4, "→", "soft middle"), text(node[0], node[1] + 34, "query", "query middle"),
      text(left - side, 13, "Its weights", "head"),
      ...places(left - side, 22, side, told.grid).map((cell, i) => tile(cell, `fill="${colour(weights[i] / heaviest)}"`)),
      text(left - side, side + 38, "0", "soft"), text(left, side + 38, percent(heaviest), "soft end"),
      scale(left - side + 16, side + 29, side - 70),
      text(0, side + 38, `heaviest patch ${percent(most)}`, "soft"),
      text(0, side + 68, "The pooled vector", "head value"), text(left, side + 68, `${pooled.length} numbers`, "soft end"),
      bars(0, side + 76, left, 54, pooled, top, "value"),
    ];
    const [x, y, width] = two ? [left + 34, 0, wide - left - 34] : [0, side + 150, wide];
    const step = two ? (side + 108) / classes : 21, from = 76, long = width - from - 34, zero = x + from + long * -low / (high - low);
    const best = largest(smooth);
    drawing.push(text(x, y + 13, "The logits", "head"), `<path class="rule" d="M${zero} ${y + 22}v${step * classes}"/>`);
    smooth.forEach((value, i) => {
      const size = long * Math.abs(value) / (high - low), middle = y + 22 + (i + 0.5) * step;
      drawing.push(text(x, middle + 4, short(told.classes[i], 11), i === best ? "best" : ""),
        box(value < 0 ? zero - size : zero, middle - 6, size, 12, `class="${i === best ? "query" : "bar"}" rx="2"`),
        text(x + width, middle + 4, fixed(written[i], 1), "soft end"));
    });
    return [two ? side + 132 : y + 26 + step * classes, drawing.join("")];
  };

  const say = at => {
    const {t, weights, logits: written} = state(at), shares = softmax(written), best = largest(written), heaviest = largest(weights);
    const says = `The model says ${told.classes[best]}, with ${percent(shares[best])}.`;
    if (!t) return `The mean: every patch counts alike, ${percent(weights[0])} each. ${says}`;
    const how = t < 1 ? `${Math.round(100 * t)} % of the way from the mean to the learned weights` : "The learned weights";
    return `${how}: ${place(heaviest)} counts most, ${percent(weights[heaviest])}. ${says}`;
  };

  return {
    draw, say, numbers: at => ({shown, ...state(at)}), anew: () => false, first: END,
    stops: [0, ...[0.25, 0.5, 0.75].map(t => HOLD + t * (END - 2 * HOLD)), END],
    beats: [{name: "the mean", from: 0, to: 0, still: 0}, {name: "to the learned weights", from: 0.01, to: END, still: END}],
  };
};
