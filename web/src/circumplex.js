/**
 * Valence and arousal, derived from the probabilities of labels; neither is measured.
 *
 * The coordinates of a label are ratings of its word by people who read it, not ratings of faces: Warriner, Kuperman
 * and Brysbaert, "Norms of valence, arousal, and dominance for 13,915 English lemmas", Behavior Research Methods 45
 * (2013), 1191-1207, https://doi.org/10.3758/s13428-012-0314-x.
 */

import { canonical } from "./labels.js";

/**
 * Point in the plane of valence and arousal.
 *
 * @typedef {object} Circumplex
 * @property {number} valence Pleasantness, -1 to 1.
 * @property {number} arousal Activation, -1 to 1.
 */

// Mean valence and mean arousal of the label's word in the table of the publication, on scales from 1 to 9.
/** @type {Map<string, [number, number]>} */
const RATINGS = new Map([
  ["neutral", [5.5, 3.45]],
  ["happiness", [8.48, 6.5]],
  ["surprise", [7.44, 6.57]],
  ["sadness", [2.4, 2.81]],
  ["anger", [2.5, 5.93]],
  ["disgust", [3.32, 5.0]],
  ["fear", [2.93, 6.14]],
  ["contempt", [3.22, 4.61]],
]);
const MIDDLE = 5; // of the scales from 1 to 9
const HALF_RANGE = 4;

/**
 * Return the coordinates of each label; null if one has none.
 *
 * @param {readonly string[]} labels
 * @returns {Circumplex[] | null}
 */
export function coordinatesOf(labels) {
  const points = [];
  for (const label of labels) {
    const ratings = RATINGS.get(canonical(label));
    if (ratings === undefined) return null;
    points.push({ valence: (ratings[0] - MIDDLE) / HALF_RANGE, arousal: (ratings[1] - MIDDLE) / HALF_RANGE });
  }
  return points;
}

/**
 * Return the mean of the labels' coordinates, weighted by their probabilities.
 *
 * @param {ArrayLike<number>} scores Probability by label; they sum to 1.
 * @param {readonly Circumplex[] | null} coordinates Coordinates of the labels.
 * @returns {Circumplex | null}
 */
export function circumplex(scores, coordinates) {
  if (coordinates === null) return null;
  let [valence, arousal] = [0, 0];
  coordinates.forEach((point, index) => {
    valence += scores[index] * point.valence;
    arousal += scores[index] * point.arousal;
  });
  return { valence, arousal };
}
