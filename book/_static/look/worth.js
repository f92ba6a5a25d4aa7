/** What a map is worth, in words: how it did where it was measured, with interval, number of images and chance. */

import {number, signed} from "./dom.js";

const interval = ({mean, low, high}) => `${signed(mean)} (${number(low)} to ${number(high)})`;

/** The difference of the map's removal curves, least important first minus most important first. */
export const worth = (entry, measured) => {
  const found = measured && entry.passport;
  return found ? `${interval(found.difference)}, n = ${found.images}, chance ${found.chance}` : "not measured";
};

/** The same against what needs no model: a blob in the centre and a random order; "" where nothing was measured. */
export const rivals = ({passport}) => passport
  ? `On ${passport.images} test images the map gains ${interval(passport.gains.random)} over a random order`
    + ` and, blurred by one patch as a smooth rival deserves, ${interval(passport.gains.centre)} over a blob in the centre.` : "";
