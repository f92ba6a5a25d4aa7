/** The book's colour map of attention, matplotlib's "magma", and how a map is painted with it. */

const TABLE = Uint8Array.from(
  atob(`
    AAADAAAEAAAGAQAHAQEJAQELAgINAgIPAwMRBAMTBAQVBQQXBgUZBwUbCAYdCQcfCgciCwgkDAkmDQooDgoqDwssEAwvEQwxEg0z
    FA01FQ44Fg46Fw88GA8/GhBBGxBEHBBGHhBJHxFLIBFNIhFQIxFSJRFVJhFXKBFZKhFcKxFeLRBgLxBiMBBlMhBnNBBoNQ9qNw9s
    OQ9uOw9vPA9xPg9yQA9zQg90Qw91RQ92Rw93SBB4ShB5SxB5TRF6TxF7UBJ7UhJ8UxN8VRN9VxR9WBV+WhV+WxZ+XRd+Xhd/YBh/
    YRh/Yxl/ZRqAZhqAaBuAaRyAaxyAbB2Abh6Bbx6BcR+Bcx+BdCCBdiGBdyGBeSKBeiKBfCOBfiSBfySBgSWBgiWBhCaBhSaBhyeB
    iSiBiiiBjCmAjSmAjyqAkSqAkiuAlCuAlSyAlyx/mS1/mi1/nC5/ni5+ny9+oS9+ozB+pDB9pjF9pzF9qTJ8qzN8rDN7rjR7sDR7
    sTV6szV6tTZ5tjZ5uDd4uTd4uzh3vTl3vjl2wDp1wjp1wzt0xTx0xjxzyD1yyj5yyz5xzT9wzkBw0EFv0UJu00Jt1ENt1kRs10Vr
    2UZq2kdp3Ehp3Ulo3kpn4Etm4Uxm4k1l5E5k5VBj5lFi51Ji6FRh6lVg61Zg7Fhf7Vlf7lte7l1d715d8GBd8WFc8mNc82Vc82db
    9Ghb9Wpb9Wxb9m5b9nBb93Fb93Nc+HVc+Hdc+Xlc+Xtd+X1d+n9e+oBe+oJf+4Rg+4Zg+4hh+4pi/Ixj/I5j/JBk/JJl/JNm/ZVn
    /Zdo/Zlp/Ztq/Z1r/Z9s/aFu/aJv/aRw/qZx/qhz/qp0/qx1/q52/q94/rF5/rN7/rV8/rd9/rl//ruA/ryC/r6D/sCF/sKG/sSI
    /saJ/seL/smN/suO/c2Q/c+S/dGT/dKV/dSX/daY/dia/dqc/dyd/d2f/d+h/eGj/OOl/OWm/Oao/Oiq/Oqs/Oyu/O6w/PCx/PGz
    /PO1/PW3+/e5+/m7+/q9+/y/
  `.replace(/\s/g, "")),
  letter => letter.charCodeAt(0),
); // 256 rows of red, green, blue

export const EVEN_SHARES = 8; // the top of the fixed scale, in even shares: what each place had if all had the same

/** The largest value of a scale: of the map itself, or the same for all maps on this grid. */
export const top = (values, scale) => (scale === "fixed" ? EVEN_SHARES / values.length : Math.max(...values) || 1);

const inTable = share => {
  const at = 3 * Math.max(0, Math.min(255, Math.round(255 * share)));
  return TABLE.subarray(at, at + 3);
};

const canvasPixels = (canvas, width, height, colour) => {
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, {width, height});
  const image = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    image.data.set(colour(i), 4 * i);
    image.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
};

/** One pixel a place; CSS enlarges it without smoothing, so that every patch shows its own value. */
export const paintMap = (canvas, values, columns, most) =>
  canvasPixels(canvas, columns, values.length / columns, i => inTable(values[i] / most));

// Scores have a sign and no unit: blue below 0, red above it, white between, on the scale of the largest.
const [BELOW, ABOVE] = [[33, 102, 172], [178, 24, 43]];
export const paintSigned = (canvas, values, columns) => {
  const most = Math.max(...values.map(Math.abs)) || 1;
  canvasPixels(canvas, columns, values.length / columns, i => {
    const share = values[i] / most, end = share < 0 ? BELOW : ABOVE;
    return end.map(channel => 255 + (channel - 255) * Math.abs(share));
  });
};

/** The colours from 0 to the most, as the stops of a CSS gradient. */
export const stops = Array.from({length: 17}, (_, i) => `rgb(${inTable(i / 16).join(" ")})`).join(", ");
