/**
 * Which map is on show: from a model's answer, the view that the reader chose and the patch, to one value a patch.
 * Pure functions; how a map is drawn is `view-map`'s matter.
 */

import {mainMap, meanOverHeads, patches, slotMap, softmax} from "./numbers.js";
import {place, spoken, strongest} from "./dom.js";

const lastMixing = entry => entry.layers.findLastIndex(layer => layer.kind !== "pooling");

/** The layer that a view means: pointing at a patch asks a layer in which patches attend; null is the one map. */
export const layerOf = (entry, view, patch) => {
  if (view.layer !== null) return view.layer;
  const mixing = lastMixing(entry);
  return patch === null || mixing < 0 ? null : mixing;
};

// One head's weights of a map, or the mean of all heads as if they were one.
const headed = (map, head) => {
  if (head !== null) return {map, head};
  return {map: {...map, heads: 1, weights: meanOverHeads(map), slotMaps: meanSlots(map)}, head: 0};
};

const meanSlots = map => {
  if (!map.slotMaps) return undefined;
  const size = map.queries * map.keys, mean = new Float32Array(size);
  for (let i = 0; i < map.slotMaps.length; i++) mean[i % size] += map.slotMaps[i] / map.heads;
  return mean;
};

/** What a patch reads from each memory slot; without a patch, what all patches read on average. */
export const slotShares = (map, head, patch) => {
  const one = headed(map, head), shares = new Float32Array(map.keys);
  const chosen = patch === null ? [...Array(map.queries).keys()] : [patch];
  for (const query of chosen) {
    const start = (one.head * map.queries + query) * map.keys;
    for (let slot = 0; slot < map.keys; slot++) shares[slot] += one.map.weights[start + slot] / chosen.length;
  }
  return shares;
};

const fromPatches = (map, head) => {
  const one = headed(map, head), mean = new Float32Array(map.keys - map.prefixTokens);
  for (let query = map.prefixTokens; query < map.queries; query++) {
    patches(one.map, one.head, query).forEach((value, i) => { mean[i] += value / (map.queries - map.prefixTokens); });
  }
  return mean;
};

// The model's one map costs a product of matrices a layer: it is computed once for each answer.
const mains = new WeakMap();
const mainOf = (entry, result, label) => {
  if (!mains.has(result)) mains.set(result, new Map());
  const found = mains.get(result);
  if (!found.has(label)) found.set(label, mainMap(entry, result.maps, label));
  return found.get(label);
};

const nameOfHead = (map, head) => (map.heads === 1 ? "" : head === null ? ", mean of its heads" : `, head ${head}`);

/**
 * {values, name, layer, head, query, measured}: the map on show, and what it is called. `measured` says whether it is
 * the one map of the model whose faithfulness was measured.
 */
export const shown = (entry, result, view, patch) => {
  const layer = layerOf(entry, view, patch), columns = entry.layers[0].grid[1];
  const classes = entry.layers.at(-1).kind === "pooling" ? entry.layers.at(-1).queries : 1;
  const asked = classes > 1 ? view.query ?? strongest(softmax(result.logits)) : null;
  const ofClass = asked === null ? "" : ` for “${spoken(entry.classes[asked])}”`;
  if (layer === null) {
    const values = mainOf(entry, result, asked ?? undefined);
    return {values, name: `${entry.map.label}${ofClass}`, layer, head: null, query: asked, measured: true};
  }
  const map = result.maps[layer], head = map.heads === 1 ? 0 : view.head, title = `layer ${layer}`;
  if (map.kind === "pooling") {
    const values = patches(map, 0, asked ?? 0);
    const measured = entry.map.method === "pooling";
    return {values, name: `pooling${ofClass}: how much each patch counts`, layer, head: 0, query: asked, measured};
  }
  const called = `${title}${nameOfHead(map, view.head)}`;
  if (map.kind === "external") {
    const slot = view.query ?? strongest(slotShares(map, head, patch)), one = headed(map, head);
    const why = view.query !== null ? "" : patch === null ? ", the most used" : `, read most by ${place(patch, columns)}`;
    const name = `${called}: where slot ${slot} is read from${why}`;
    return {values: slotMap(one.map, one.head, slot), name, layer, head, query: slot, measured: false};
  }
  if (patch === null) {
    const name = `${called}: what patches look at, on average`;
    return {values: fromPatches(map, head), name, layer, head, measured: false};
  }
  const one = headed(map, head);
  const values = patches(one.map, one.head, map.prefixTokens + patch);
  return {values, name: `${called}: what ${place(patch, columns)} looks at`, layer, head, query: patch, measured: false};
};
