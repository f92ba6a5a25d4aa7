// The arrays of an explorer, and what they say in numbers. Nothing here touches the page.

const described = text => {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error("what it shows cannot be read");
  }
};

// The arrays, by name: `part("0.bytes", image, head, query)` is a row of one. They come deflated, in base64.
const unpack = async (text, arrays) => {
  if (!text) throw new Error("its data are missing");
  let packed, buffer;
  try {
    packed = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
  } catch {
    throw new Error("its data are no base64");
  }
  try {
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    buffer = await new Response(stream).arrayBuffer();
  } catch {
    throw new Error("its data cannot be unpacked");
  }
  const types = {f4: Float32Array, u2: Uint16Array, u1: Uint8Array}, found = {};
  let at = 0;
  for (const [name, type, shape] of arrays) {
    const length = shape.reduce((product, n) => product * n, 1), size = length * types[type].BYTES_PER_ELEMENT;
    if (at + size > buffer.byteLength) throw new Error(`its data end within the array "${name}"`);
    found[name] = {shape, values: new types[type](buffer, at, length)};
    at += size;
  }
  if (at !== buffer.byteLength) throw new Error(`its data hold ${buffer.byteLength} bytes, and ${at} are described`);
  return (name, ...index) => {
    if (!found[name]) throw new Error(`its data lack the array "${name}"`);
    let size = found[name].values.length, start = 0;
    index.forEach((i, axis) => { size /= found[name].shape[axis]; start += i * size; });
    return found[name].values.subarray(start, start + size);
  };
};

const largest = values => values.reduce((best, value) => Math.max(best, value), 0);
const strongest = values => values.reduce((best, value, i) => value > values[best] ? i : best, 0);
const total = values => values.reduce((sum, value) => sum + value, 0);

// What the arrays say. A map has a value for each patch: shares of attention, or of a picture's evidence.
const reader = (about, part) => {
  const {levels} = about;

  // Numbers in two bytes: each is the square root of its part of the largest.
  const rooted = (name, ...index) => {
    const [most] = part(`${name}_most`);
    return Array.from(part(name, ...index), root => most * (root / 65535) ** 2);
  };

  // How much token `patch` reads from each memory slot: shares that sum to 1.
  const shares = (layer, picture, head, patch) => {
    const tops = rooted(`${layer.name}.top`, picture, head), sum = rooted(`${layer.name}.sums`, picture, head)[patch];
    const bytes = part(`${layer.name}.bytes`, picture, head), places = bytes.length / tops.length;
    return tops.map((top, slot) => bytes[slot * places + patch] * Math.min(top, sum) / levels / sum);
  };

  const map = (layer, picture, head, query) => {
    if (layer.kind === "evidence") {
      const all = total(part("evidence", picture)) || 1;
      return Array.from(part("evidence", picture), value => value / all);
    }
    const bytes = part(`${layer.name}.bytes`, picture, head, query), top = rooted(`${layer.name}.top`, picture, head)[query];
    if (layer.kind !== "external") return Array.from(bytes, byte => byte * top / levels);
    const sums = rooted(`${layer.name}.sums`, picture, head), whole = part(`${layer.name}.whole`, picture, head)[query];
    return Array.from(bytes, (byte, patch) => byte * Math.min(top, sums[patch]) / levels / whole);
  };
  // What goes to class tokens and registers, which have no place in the picture.
  const own = (layer, picture, head, query) => layer.prefix ? part(`${layer.name}.own`, picture, head)[query] : 0;

  // The highest value of all maps of a kind, in any layer, head, image and for any patch: the end of the fixed scale.
  const highest = {};
  for (const layer of about.layers) {
    const tops = layer.kind === "evidence"
      ? about.images.map((_, picture) => largest(map(layer, picture)))
      : rooted(`${layer.name}.top`);
    const wholes = layer.kind === "external" ? part(`${layer.name}.whole`) : null;
    const top = largest(wholes ? tops.map((value, i) => value / wholes[i]) : tops);
    highest[layer.kind] = Math.max(highest[layer.kind] || 0, top);
  }
  return {shares, map, own, highest};
};
