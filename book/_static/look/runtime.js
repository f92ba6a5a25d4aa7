/**
 * The recorded models in the reader's browser: one wasm file, one graph a model, nothing sent anywhere.
 *
 * A model's graph takes the picture and the controls, and gives logits, the attention of every layer and what leads to
 * it; `vattn_utils/publish/controls.py` says what each of them is. What can be read from the arrays is `numbers.js`'s
 * matter.
 *
 * @typedef {{kind: string, heads: number, queries: number, keys: number, grid: [number, number],
 *   prefix_tokens: number}} Layer
 * @typedef {{name: string, file: string, bytes: number, image_size: number, shift: [number, number], units: string[],
 *   mask: number[] | null, map: {method: string, label: string}, mean: number[],
 *   layers: Layer[]}} Entry one of `models.json`
 * @typedef {{temperature?: number, headMask?: Float32Array, randomise?: ArrayLike<number>}} Controls
 * @typedef {{kind: string, layer: number, heads: number, queries: number, keys: number, grid: [number, number],
 *   prefixTokens: number, weights: Float32Array, slotMaps?: Float32Array, steps: Object<string, Float32Array>}} AttentionMap
 * @typedef {{logits: Float32Array, maps: AttentionMap[], ms: number}} Result
 */

// The build of the runtime that needs no relaxed SIMD and no threads: one file for every browser.
const LOADER = "vendor/litertjs/litert_wasm_compat_internal.js";

let base = null;
let opening = null;
let litert = null;

/** Whether this browser can run the models at all. */
export function supported() {
  return typeof WebAssembly === "object" && typeof WebAssembly.instantiate === "function";
}

/**
 * Load the runtime, once. The page's import map must say where "@litertjs/wasm-utils" lies.
 *
 * @param {string | URL} baseURL the folder of this module, as the page sees it
 * @throws {Error} with a sentence for the reader
 */
export function openRuntime(baseURL) {
  opening ??= open(new URL(baseURL, location.href)).catch(error => {
    opening = null;
    throw error;
  });
  return opening;
}

async function open(url) {
  if (!supported()) throw new Error("This browser has no WebAssembly, which the models need to run here.");
  if (location.protocol === "file:")
    throw new Error("A page opened from the disk may not load the models; open the book from a web server.");
  try {
    litert = await import(new URL("vendor/litertjs/core.js", url));
    // Nothing is computed on the graphics card, and asking for one logs a warning where there is none.
    const create = litert.Environment.create;
    litert.Environment.create = () => create.call(litert.Environment, {webGpuDevice: null});
    // What the runtime reports of itself goes to the error console too; only errors belong there.
    self.Module = {printErr: line => /^(INFO|WARNING|VERBOSE)\b/.test(line) || console.error(line)};
    await litert.loadLiteRt(new URL(LOADER, url).href);
  } catch (error) {
    throw new Error("The program that runs the models could not be loaded; reload the page to try again.", {cause: error});
  }
  base = url;
}

/**
 * What `models.json` says of each model.
 *
 * @param {string | URL} baseURL as in `openRuntime`
 * @returns {Promise<Entry[]>}
 */
export async function readModels(baseURL) {
  const response = await fetch(new URL("models/models.json", new URL(baseURL, location.href)));
  if (!response.ok) throw new Error(`The list of models could not be loaded (status ${response.status}).`);
  return (await response.json()).models;
}

/**
 * Load one model; `openRuntime` comes first.
 *
 * @param {Entry} entry
 * @param {{onProgress?: (received: number, total: number) => void}} options
 * @returns {Promise<Model>}
 */
export async function loadModel(entry, {onProgress} = {}) {
  if (!base) throw new Error("openRuntime must have finished before loadModel.");
  const bytes = await download(new URL(`models/${entry.file}`, base), entry.bytes, onProgress);
  return new Model(entry, await litert.loadAndCompile(bytes, {accelerator: "wasm"}));
}

async function download(url, total, onProgress) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`The model ${url.pathname.split("/").pop()} could not be loaded (status ${response.status}).`);
  const bytes = new Uint8Array(total);
  let received = 0;
  for (const reader = response.body.getReader(); ; ) {
    const {done, value} = await reader.read();
    if (done || received + value.length > total) break;
    bytes.set(value, received);
    received += value.length;
    onProgress?.(received, total);
  }
  if (received !== total) throw new Error("A model did not arrive whole; reload the page to try again.");
  return bytes;
}

/** A loaded model. One call runs at a time; of those that wait, only the newest does. */
export class Model {
  #compiled;
  #waiting = null;
  #busy = false;

  constructor(entry, compiled) {
    this.entry = entry;
    this.#compiled = compiled;
  }

  /**
   * Show the model a picture.
   *
   * @param {ArrayLike<number>} pixels image_size x image_size x 3, RGB, 0 to 255
   * @param {Controls} controls what is missing is neutral
   * @returns {Promise<Result | null>} null if a newer call took this one's place; its arrays stay valid
   */
  run(pixels, controls = {}) {
    const inputs = this.#inputs(pixels, controls);
    return new Promise((resolve, reject) => {
      this.#waiting?.resolve(null);
      this.#waiting = {inputs, resolve, reject};
      if (!this.#busy) this.#drain();
    });
  }

  /** Give its memory back. */
  close() {
    this.#waiting?.resolve(null);
    this.#waiting = null;
    this.#compiled.delete();
  }

  #inputs(pixels, {temperature = 1, headMask = null, randomise = null}) {
    const {image_size: size, mask, units} = this.entry;
    const given = {
      pixels: [pixels, size * size * 3],
      temperature: [[temperature], 1],
      randomise: [randomise ?? new Float32Array(units.length), units.length],
    };
    if (mask) {
      const length = mask.reduce((product, count) => product * count);
      given.head_mask = [headMask ?? new Float32Array(length).fill(1), length];
    }
    if (!(temperature > 0)) throw new RangeError(`temperature=${temperature} must be above 0`);
    for (const [name, [values, length]] of Object.entries(given)) {
      if (values.length !== length) throw new RangeError(`${name} has ${values.length} numbers; use ${length}`);
      given[name] = Float32Array.from(values);
    }
    return given;
  }

  async #drain() {
    this.#busy = true;
    while (this.#waiting) {
      const job = this.#waiting;
      this.#waiting = null;
      try {
        job.resolve(await this.#compute(job.inputs));
      } catch (error) {
        job.reject(error);
      }
      await new Promise(resolve => setTimeout(resolve)); // the page may draw, and newer calls come in
    }
    this.#busy = false;
  }

  async #compute(inputs) {
    const start = performance.now();
    const tensors = {};
    let outputs = {};
    try {
      for (const {name, shape} of this.#compiled.getInputDetails())
        tensors[name] = new litert.Tensor(inputs[name], [...shape]);
      outputs = await this.#compiled.run(tensors);
      const arrays = Object.fromEntries(Object.entries(outputs).map(([name, tensor]) => [name, tensor.toTypedArray()]));
      const maps = this.entry.layers.map((layer, index) => attentionMap(layer, index, arrays));
      return {logits: arrays.logits, maps, ms: performance.now() - start};
    } finally {
      for (const tensor of [...Object.values(tensors), ...Object.values(outputs)]) tensor.delete();
    }
  }
}

function attentionMap({prefix_tokens: prefixTokens, ...layer}, index, arrays) {
  const steps = {};
  for (const [name, array] of Object.entries(arrays)) {
    const [, step, number] = name.match(/^(.+)_(\d+)$/) ?? [];
    if (step && step !== "map" && Number(number) === index) steps[step] = array;
  }
  const found = {...layer, layer: index, prefixTokens, weights: arrays[`map_${index}`], steps};
  return layer.kind === "external" ? {...found, ...doublyNormalised(found.weights, layer)} : found;
}

/** Both views of slot maps (tokens, heads, slots): attention (heads, tokens, slots) and maps (heads, slots, tokens). */
function doublyNormalised(given, {heads, queries: tokens, keys: slots}) {
  const weights = new Float32Array(given.length), slotMaps = new Float32Array(given.length);
  for (let head = 0; head < heads; head++)
    for (let token = 0; token < tokens; token++) {
      const start = (token * heads + head) * slots;
      let sum = 1e-9;
      for (let slot = 0; slot < slots; slot++) sum += given[start + slot];
      for (let slot = 0; slot < slots; slot++) {
        weights[(head * tokens + token) * slots + slot] = given[start + slot] / sum;
        slotMaps[(head * slots + slot) * tokens + token] = given[start + slot];
      }
    }
  return {weights, slotMaps};
}
