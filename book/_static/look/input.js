/**
 * Any picture of the reader's as a model takes it, by the rule of `vattn_utils.data.read_picture`: transparent pixels on
 * white, the central square, resized by Lanczos' filter. It stays on the device.
 */

export const SIZE = 32; // edge of what the models see, in pixels
const SHOWN = 1024; // longest edge of what the page keeps of the picture
const MOST_BYTES = 50_000_000;
const ANOTHER = "choose a JPEG, PNG, WebP or GIF file";

/**
 * Read a picture.
 *
 * @param {Blob | string | URL | HTMLVideoElement | ImageBitmap | HTMLCanvasElement} source a file, an address on this
 *   site, or what can be drawn
 * @returns {Promise<{canvas: HTMLCanvasElement, small: Float32Array, width: number, height: number, notes: string[]}>}
 *   the central square, at most 1024 pixels wide; the same as 32 x 32 x 3 numbers, 0 to 255; the picture's own size;
 *   sentences about what was done to it
 * @throws {Error} with a sentence for the reader
 */
export async function readPicture(source) {
  if (typeof source === "string" || source instanceof URL) source = await fetched(source);
  if (!(source instanceof Blob)) return prepared(source, source.videoWidth || source.width, source.videoHeight || source.height);
  const name = source.name ? `“${source.name}”` : "What you gave";
  if (!source.size) throw new Error(`${name} is empty; ${ANOTHER}.`);
  if (source.size > MOST_BYTES) throw new Error(`${name} is larger than 50 MB; choose a smaller picture.`);
  // Unlike an image element, this refuses a file that was cut short.
  const bitmap = await createImageBitmap(source, {imageOrientation: "from-image"}).catch(() => {
    const picture = source.type.startsWith("image/");
    const fault = picture ? "is broken, or of a kind that this browser cannot show" : "is not a picture";
    throw new Error(`${name} ${fault}; ${ANOTHER}.`);
  });
  const found = prepared(bitmap, bitmap.width, bitmap.height);
  bitmap.close();
  if (source.type === "image/gif") found.notes.push("Of a GIF the first frame is used.");
  return found;
}

async function fetched(address) {
  const response = await fetch(address).catch(() => null);
  if (!response?.ok) throw new Error("The picture could not be loaded; reload the page to try again.");
  return response.blob();
}

function prepared(drawable, width, height) {
  if (!width || !height) throw new Error(`The picture has no size; ${ANOTHER}.`);
  const edge = Math.min(width, height), shown = Math.min(edge, SHOWN), notes = [];
  const canvas = Object.assign(document.createElement("canvas"), {width: shown, height: shown});
  const context = canvas.getContext("2d", {willReadFrequently: true});
  context.imageSmoothingQuality = "high";
  context.drawImage(drawable, Math.floor((width - edge) / 2), Math.floor((height - edge) / 2), edge, edge, 0, 0, shown, shown);
  if (width !== height) notes.push(`Only the central square is used: the picture has ${width} x ${height} pixels.`);
  if (edge < SIZE) notes.push(`The picture was enlarged: it has ${width} x ${height} pixels.`);
  if (!opaque(context.getImageData(0, 0, shown, shown).data)) {
    notes.push("Transparent parts are laid on white.");
    context.globalCompositeOperation = "destination-over";
    context.fillStyle = "white";
    context.fillRect(0, 0, shown, shown);
  }
  return {canvas, small: shrink(context.getImageData(0, 0, shown, shown), SIZE), width, height, notes};
}

function opaque(data) {
  for (let at = 3; at < data.length; at += 4) if (data[at] < 255) return false;
  return true;
}

/**
 * A square picture in another size, by Lanczos' filter of three lobes as Pillow applies it: first along the rows, then
 * along the columns, each rounded to whole numbers.
 *
 * @param {{data: Uint8ClampedArray, width: number, height: number}} picture RGBA, opaque
 * @param {number} size edge in pixels
 * @returns {Float32Array} (size, size, 3), 0 to 255
 */
function shrink({data, width, height}, size) {
  const rows = resampled(data, height, width, size, 4);
  return Float32Array.from(turned(resampled(turned(rows, height, size), size, height, size, 3), size, size));
}

/** Lines of `length` pixels, `step` numbers each, as lines of `size` pixels of three colours. */
function resampled(data, lines, length, size, step) {
  const found = new Uint8ClampedArray(lines * size * 3), of = taps(length, size);
  for (let line = 0, at = 0; line < lines; line++)
    for (const {first, weights} of of) {
      let red = 0, green = 0, blue = 0, from = (line * length + first) * step;
      for (let tap = 0; tap < weights.length; tap++, from += step) {
        red += weights[tap] * data[from];
        green += weights[tap] * data[from + 1];
        blue += weights[tap] * data[from + 2];
      }
      found[at++] = red;
      found[at++] = green;
      found[at++] = blue;
    }
  return found;
}

/** Rows as columns: (lines, length, 3) to (length, lines, 3). */
function turned(data, lines, length) {
  const found = new Uint8ClampedArray(data.length);
  for (let line = 0; line < lines; line++)
    for (let place = 0; place < length; place++)
      for (let channel = 0; channel < 3; channel++)
        found[3 * (place * lines + line) + channel] = data[3 * (line * length + place) + channel];
  return found;
}

/** For each of `size` pixels: which of `length` it is made of, and how. */
function taps(length, size) {
  const scale = length / size, widened = Math.max(scale, 1), reach = 3 * widened;
  return Array.from({length: size}, (_, place) => {
    const centre = (place + 0.5) * scale;
    const first = Math.max(0, Math.floor(centre - reach + 0.5)), end = Math.min(length, Math.floor(centre + reach + 0.5));
    const weights = Float64Array.from({length: end - first}, (_, tap) => lanczos((first + tap - centre + 0.5) / widened));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return {first, weights: weights.map(weight => weight / sum)};
  });
}

function lanczos(x) {
  if (Math.abs(x) >= 3) return 0;
  const sinc = at => (at === 0 ? 1 : Math.sin(Math.PI * at) / (Math.PI * at));
  return sinc(x) * sinc(x / 3);
}

/** What a model sees as a canvas of `size` x `size` pixels. */
export function toCanvas(pixels, size = SIZE) {
  const canvas = Object.assign(document.createElement("canvas"), {width: size, height: size});
  const image = new ImageData(size, size);
  for (let at = 0; at < size * size; at++) {
    for (let channel = 0; channel < 3; channel++) image.data[4 * at + channel] = pixels[3 * at + channel];
    image.data[4 * at + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

/**
 * Show the camera in a video element.
 *
 * @param {HTMLVideoElement} video
 * @returns {Promise<{stop: () => void}>}
 * @throws {Error} with a sentence for the reader
 */
export async function openCamera(video) {
  if (!navigator.mediaDevices?.getUserMedia) throw new Error("This browser gives the page no camera; choose a file instead.");
  const stream = await navigator.mediaDevices.getUserMedia({video: {facingMode: "environment"}}).catch(() => {
    throw new Error("The camera was not allowed, or there is none; choose a file instead.");
  });
  video.srcObject = stream;
  await video.play();
  return {
    stop() {
      stream.getTracks().forEach(track => track.stop());
      video.srcObject = null;
    },
  };
}
