/**
 * What is computed from a model's answer and its attention: numbers in, numbers out, nothing drawn.
 *
 * Definitions are those of `vattn_utils.maps`: `attention` (rollout, reading out) and `faithfulness` (removal by rank),
 * for one picture. Arrays are flat, row by row; a map is one of `runtime.js`' results.
 *
 * @typedef {import("./runtime.js").AttentionMap} AttentionMap
 */

/** Probabilities of logits; they sum to 1. */
export function softmax(logits) {
  const top = logits.reduce((most, value) => Math.max(most, value), -Infinity);
  const powers = Float64Array.from(logits, value => Math.exp(value - top));
  const sum = powers.reduce((total, value) => total + value, 0);
  return Float32Array.from(powers, value => value / sum);
}

/** The `k` highest, highest first: `[{index, value}]`. */
export function topK(values, k) {
  const found = Array.from(values, (value, index) => ({index, value}));
  return found.sort((a, b) => b.value - a.value || a.index - b.index).slice(0, k);
}

/** One matrix for all heads of a map, (queries, keys): their mean. */
export function meanOverHeads({weights, heads, queries, keys}) {
  const mean = new Float32Array(queries * keys);
  for (let place = 0; place < weights.length; place++) mean[place % mean.length] += weights[place] / heads;
  return mean;
}

/** What one query of one head pays to each patch, divided by its sum: without class tokens and registers. */
export function patches({weights, queries, keys, prefixTokens, kind}, head, query) {
  if (kind === "external") throw new RangeError("memory slots have no place; use slotMap");
  const start = (head * queries + query) * keys;
  return divided(weights.slice(start + prefixTokens, start + keys));
}

/** From where one slot of external attention is read: its map over the patches, which sums to 1. */
export function slotMap({slotMaps, queries: tokens, keys: slots}, head, slot) {
  const start = (head * slots + slot) * tokens;
  return slotMaps.slice(start, start + tokens);
}

function divided(values) {
  const sum = values.reduce((total, value) => total + value, 0);
  return values.map(value => value / sum);
}

/** Attention followed through all layers (Abnar and Zuidema 2020, section 3): (tokens, tokens), rows sum to 1. */
function rollout(maps) {
  const layers = maps.filter(map => map.kind === "self"), tokens = layers[0].keys;
  let joint = Float64Array.from({length: tokens * tokens}, (_, place) => Number(place % (tokens + 1) === 0));
  for (const layer of layers) {
    const matrix = meanOverHeads(layer), next = new Float64Array(joint.length);
    for (let row = 0; row < tokens; row++) {
      const weights = divided(Float64Array.from(matrix.subarray(row * tokens, (row + 1) * tokens)));
      for (let between = 0; between < tokens; between++) {
        const share = (weights[between] + (between === row ? 1 : 0)) / 2; // half is the residual connection
        for (let column = 0; column < tokens; column++)
          next[row * tokens + column] += share * joint[between * tokens + column];
      }
    }
    joint = next;
  }
  return joint;
}

/** The row of a token-to-token matrix that the answer was read from, as the pooling weighs the tokens: (patches). */
function readOut(matrix, pooling) {
  const tokens = Math.sqrt(matrix.length), found = new Float32Array(tokens);
  for (let place = 0; place < matrix.length; place++)
    found[place % tokens] += pooling[Math.floor(place / tokens)] * matrix[place];
  return found;
}

const MAPS = {
  pooling: (maps, label) => patches(maps.at(-1), 0, maps.at(-1).queries > 1 ? label : 0),
  rollout: maps => readOut(rollout(maps), patches(maps.at(-1), 0, 0)),
};

/**
 * The one map that the book reads as what a model attends to: `vattn_utils.maps.attribution.METHODS[entry.map.method]`.
 *
 * @param {import("./runtime.js").Entry} entry
 * @param {AttentionMap[]} maps
 * @param {number} label whose map, where there is one query for each class
 * @returns {Float32Array} (patches)
 */
export function mainMap(entry, maps, label = 0) {
  return MAPS[entry.map.method](maps, label);
}

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
function randomNumbers(seed) {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let bits = Math.imul(state ^ (state >>> 15), 1 | state);
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits;
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Noise in place of a map. */
export function randomMap([rows, columns], seed = 0) {
  const random = randomNumbers(seed);
  return Float32Array.from({length: rows * columns}, random);
}

/** A Gaussian in the middle of the picture, a quarter of it wide: where photographers put things. */
export function centreMap([rows, columns]) {
  const square = (place, count) => (count > 1 ? (4 * place) / (count - 1) - 2 : -2) ** 2;
  return Float32Array.from({length: rows * columns}, (_, place) =>
    Math.exp(-(square(Math.floor(place / columns), rows) + square(place % columns, columns)) / 2));
}

/** Places of a map from the highest value to the lowest; equal values in a random order, another than Python's. */
export function order(map) {
  const random = randomNumbers(0), lots = Array.from(map, random);
  return Int32Array.from(Array.from(map, (_, place) => place).sort((a, b) => map[b] - map[a] || lots[a] - lots[b]));
}

/** To the nearest whole number, halves to the even one, as Python rounds. */
function roundHalfEven(x) {
  const low = Math.floor(x), rest = x - low;
  return rest > 0.5 || (rest === 0.5 && low % 2) ? low + 1 : low;
}

/**
 * The pixels of some patches.
 *
 * @param {ArrayLike<number>} places of the patches
 * @param {[number, number]} grid rows and columns of patches
 * @param {number} size edge of the picture in pixels
 * @returns {Uint8Array} (size, size): 1 inside, 0 outside
 */
export function pixelsOf(places, [rows, columns], size = 32) {
  const found = new Uint8Array(size * size), height = size / rows, width = size / columns;
  for (const place of places)
    for (let y = Math.floor(place / columns) * height, end = y + height; y < end; y++)
      found.fill(1, y * size + (place % columns) * width, y * size + ((place % columns) + 1) * width);
  return found;
}

/** A fill in one colour, three numbers from 0 to 255: the mean colour of the model's training images, `entry.mean`. */
export function fillColour(colour) {
  return (pixels, removed) => Float32Array.from(pixels, (value, at) => (removed[Math.floor(at / 3)] ? colour[at % 3] : value));
}

/** Replace the removed pixels of a picture by those of the blurred picture, whose border goes on for ever. */
export function fillBlur(pixels, removed, sigma = 4) {
  const size = Math.sqrt(removed.length), radius = Math.floor(3 * sigma + 0.5);
  const kernel = divided(Float64Array.from({length: 2 * radius + 1}, (_, at) => Math.exp(-((at - radius) ** 2) / (2 * sigma ** 2))));
  const along = (values, step) => { // of one pixel to the next along the axis, in values
    const length = size * step, found = new Float32Array(values.length);
    for (let at = 0; at < values.length; at++) {
      const place = Math.floor((at % length) / step), first = at - place * step;
      let sum = 0;
      for (let tap = -radius; tap <= radius; tap++)
        sum += kernel[tap + radius] * values[first + Math.min(Math.max(place + tap, 0), size - 1) * step];
      found[at] = sum;
    }
    return found;
  };
  const blurred = along(along(Float32Array.from(pixels), 3 * size), 3);
  return blurred.map((value, at) => (removed[Math.floor(at / 3)] ? value : pixels[at]));
}

/**
 * The picture with a share of its patches removed, those first in `places`.
 *
 * @typedef {(pixels: ArrayLike<number>, removed: Uint8Array) => Float32Array} Fill such as fillColour(entry.mean), fillBlur
 *
 * @param {ArrayLike<number>} pixels (size, size, 3), 0 to 255
 * @param {Int32Array} places from `order`; reversed, the least relevant patches go first
 * @param {number} share 0 to 1
 * @param {[number, number]} grid
 * @param {Fill} fill
 */
export function removePatches(pixels, places, share, grid, fill) {
  const removed = places.subarray(0, roundHalfEven(share * places.length));
  return fill(pixels, pixelsOf(removed, grid, Math.sqrt(pixels.length / 3)));
}

/**
 * Mean probability along both curves of removal and their difference, where chance is 0.
 *
 * @param {{shares: number[], mostFirst: number[], leastFirst: number[]}} curves how much is removed, 0 to 1, and the
 *   probability of the label then, with the most and the least relevant patches removed first
 */
export function areas({shares, mostFirst, leastFirst}) {
  const under = values => {
    let sum = 0;
    for (let at = 1; at < shares.length; at++) sum += ((values[at] + values[at - 1]) / 2) * (shares[at] - shares[at - 1]);
    return sum;
  };
  const deletion = under(mostFirst), insertion = under(leastFirst);
  return {deletion, insertion, difference: insertion - deletion};
}

/** The picture with its patches in a random order, and that order: place -> the place that its patch came from. */
export function shufflePatches(pixels, [rows, columns], seed = 0) {
  const size = Math.sqrt(pixels.length / 3), height = size / rows, width = size / columns;
  const from = order(randomMap([rows, columns], seed)), found = new Float32Array(pixels.length);
  from.forEach((source, place) => {
    for (let y = 0; y < height; y++) {
      const line = at => 3 * ((Math.floor(at / columns) * height + y) * size + (at % columns) * width);
      for (let at = 0; at < 3 * width; at++) found[line(place) + at] = pixels[line(source) + at];
    }
  });
  return {pixels: found, order: from};
}
