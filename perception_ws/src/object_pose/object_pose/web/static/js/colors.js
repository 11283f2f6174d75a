// Colours of classes, in pictures, 3-D and tables.

/** The selected object's colour; no class has it. */
export const SELECTION = "#ffb020";

const PALETTE = ["#4d90ff", "#35b779", "#f472b6", "#a78bfa", "#22c1d6", "#ff7a6b", "#a3d34a", "#c08a5b"];

/** @param {string} name */
export function classColor(name) {
  let hash = 7;
  for (const letter of name) hash = (hash * 31 + letter.charCodeAt(0)) >>> 0;
  return knownColors.get(name) ?? PALETTE[hash % PALETTE.length];
}

/** @type {Map<string, string>} */
const knownColors = new Map();

/** Give the classes of a model colours of their own. @param {string[]} names */
export function assignColors(names) {
  names.forEach((name, index) => knownColors.set(name, PALETTE[index % PALETTE.length]));
}
