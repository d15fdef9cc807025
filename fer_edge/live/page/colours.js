// Colours of expressions, in boxes, bars and timelines. Each is shown beside the name of its label.

const NAMED = {
  neutral: "#7d8896", happiness: "#e0a800", surprise: "#ee7b1a", sadness: "#3d7dd0", anger: "#d53b3b",
  disgust: "#5f9a36", fear: "#8658c6", contempt: "#c1528d",
};
const OTHERS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7d8896", "#b8a200"];
export const UNSURE = "#8b95a1";
const given = new Map();

// Return the colour of a label; labels of other models get colours in the order of their first use.
export function colourOf(label) {
  if (NAMED[label]) return NAMED[label];
  if (!given.has(label)) given.set(label, OTHERS[given.size % OTHERS.length]);
  return given.get(label);
}

// Return the colour of text on a colour: white, or dark on yellow and other light ones.
export function inkOn(colour) {
  const [red, green, blue] = [1, 3, 5].map((at) => (parseInt(colour.slice(at, at + 2), 16) / 255) ** 2.2);
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.32 ? "#1b1f24" : "#ffffff";
}

export function colourOfPerson({ expression }) {
  return expression.certain ? colourOf(expression.label) : UNSURE;
}
