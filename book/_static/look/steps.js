/**
 * One query of one head, computed again step by step from the numbers that the graph gives: query, keys, scores, softmax,
 * weighted sum. Pure functions: `view-steps` draws what they find.
 */

const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
const rows = (values, start, count, width, stride = width) =>
  Array.from({length: count}, (_, i) => values.subarray(start + i * stride, start + i * stride + width));
const exps = scores => {
  const most = scores.reduce((a, b) => Math.max(a, b));
  return {most, powers: scores.map(score => Math.exp(score - most))};
};
const weighted = (weights, vectors) =>
  vectors[0].map((_, i) => vectors.reduce((sum, vector, k) => sum + weights[k] * vector[i], 0));

// Common to all: {query, keys, values (vectors; null where the graph gives none), scores, powers, sum, weights, out,
// scale (what a score was divided by), names of the keys: "patch", "slot"}. `own` counts class tokens before the patches.
const softmaxed = found => {
  const {most, powers} = exps(found.scores), sum = powers.reduce((a, b) => a + b, 0);
  const weights = powers.map(power => power / sum);
  return {...found, most, powers, sum, weights, out: found.out ?? (found.values && weighted(weights, found.values))};
};

const self = (map, head, query, temperature) => {
  const {key, value, query: asked} = map.steps, tokens = map.keys, width = asked.length / map.heads / map.queries;
  const vector = rows(asked, (head * map.queries + query) * width, 1, width)[0];
  const keys = rows(key, head * tokens * width, tokens, width), values = rows(value, head * tokens * width, tokens, width);
  const scale = Math.sqrt(width) * temperature, scores = keys.map(one => dot(vector, one) / scale);
  return softmaxed({kind: "self", query: vector, keys, values, scale, scores, own: map.prefixTokens});
};

const pooling = (map, query, temperature) => {
  if (map.steps.scores) {
    const scores = [...map.steps.scores];
    return softmaxed({kind: "pooling", query: null, keys: null, values: null, scale: 1, scores, own: 0});
  }
  const {query: asked, key, value, own_key: ownKey, own_value: ownValue} = map.steps, width = asked.length / map.queries;
  const one = array => rows(array, query * width, 1, width)[0], tokens = map.keys - map.prefixTokens;
  const keys = [one(ownKey), ...rows(key, 0, tokens, width)], values = [one(ownValue), ...rows(value, 0, tokens, width)];
  const scale = Math.sqrt(width) * temperature, vector = one(asked), scores = keys.map(each => dot(vector, each) / scale);
  return softmaxed({kind: "pooling", query: vector, keys, values, scale, scores, own: map.prefixTokens});
};

// External attention normalises twice: each slot over the tokens, then each token over the slots. `slotSums` are the
// first softmax's denominators, `weights` what the patch reads.
const external = (map, head, token) => {
  const {query: asked, scores, read} = map.steps, width = asked.length / map.heads / map.queries, slots = map.keys;
  const at = (query, slot) => scores[(query * map.heads + head) * slots + slot];
  const row = Array.from({length: slots}, (_, slot) => at(token, slot)), shares = row.map((score, slot) => {
    const column = Array.from({length: map.queries}, (_, query) => at(query, slot)), {most, powers} = exps(column);
    return Math.exp(score - most) / powers.reduce((a, b) => a + b, 0);
  });
  const sum = shares.reduce((a, b) => a + b, 0), start = (token * map.heads + head) * width;
  return {
    kind: "external", query: asked.subarray(start, start + width), keys: null, values: null, scale: 1, scores: row, own: 0,
    powers: shares, sum, weights: shares.map(share => share / sum), out: read.subarray(start, start + width),
  };
};

/** map: of a result; head, query: which row of it; temperature: the softmax's, 1 as trained. */
export const stepsOf = (map, head, query, temperature = 1) => {
  if (map.kind === "self") return self(map, head, query, temperature);
  return map.kind === "external" ? external(map, head, query) : pooling(map, query, temperature);
};
