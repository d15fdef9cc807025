/** Names of expressions. */

// Label by lower-case name: "happy" and "happiness" are the same expression.
const SYNONYMS = new Map([
  ["neutral", "neutral"],
  ["happiness", "happiness"],
  ["happy", "happiness"],
  ["surprise", "surprise"],
  ["surprised", "surprise"],
  ["sadness", "sadness"],
  ["sad", "sadness"],
  ["anger", "anger"],
  ["angry", "anger"],
  ["disgust", "disgust"],
  ["disgusted", "disgust"],
  ["fear", "fear"],
  ["fearful", "fear"],
  ["afraid", "fear"],
  ["scared", "fear"],
  ["contempt", "contempt"],
  ["contemptuous", "contempt"],
]);

/**
 * Return the label of an expression's name; for an unknown name, the name in lower case and Unicode NFC.
 *
 * @param {string} name
 */
export function canonical(name) {
  const plain = name.normalize("NFC").trim().toLowerCase().normalize("NFC");
  return SYNONYMS.get(plain) ?? plain;
}
