// What a map is worth, in a line: the difference of its removal curves as measured, with interval, images and chance.

import {signed} from "./dom.js";

export const worth = (entry, measured) => {
  const found = measured && entry.passport;
  if (!found) return "not measured";
  const {mean, low, high} = found.difference;
  return `${signed(mean)} (${signed(low)} to ${signed(high)}), ${found.images} images; chance ${found.chance}`;
};
