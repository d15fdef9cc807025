/** The result document: people of one image as plain data, as all commands of fer-edge write it. */

import { parseBox } from "./boxes.js";
import { isFace, tiltOf } from "./face.js";

/** @typedef {import("./face.js").FaceLike} FaceLike */
/** @typedef {import("./recognizer.js").Expression} Expression */
/** @typedef {import("./quality.js").Quality} Quality */

/**
 * Person of a document. Absent knowledge is null: tracking for pictures, and the face of an image that is a face crop.
 *
 * @typedef {object} DocumentPerson
 * @property {number | null} id
 * @property {{box: readonly number[], score: number | null, points: readonly (readonly number[])[] | null,
 *   tilt: number | null} | null} face
 * @property {Quality | null} quality
 * @property {Expression} expression
 * @property {{label: string, score: number, scores: Record<string, number>} | null} raw
 * @property {number | null} since
 * @property {boolean | null} fresh
 */

/**
 * Document of one image, version 1; fer_edge/schemas/result-1.schema.json describes it.
 *
 * @typedef {object} ResultDocument
 * @property {1} version
 * @property {string} source
 * @property {number | null} frame
 * @property {number | null} time
 * @property {[number, number] | null} size
 * @property {DocumentPerson[]} people
 */

const COARSE = 2; // digits after the point of pixels and degrees
const FINE = 5; // of all other numbers
const PIXELS_AND_DEGREES = ["width", "height", "tilt"]; // keys of the quality

/**
 * Return the document of one image, with rounded numbers.
 *
 * @param {object} content
 * @param {string} content.source Name of the camera or file.
 * @param {readonly DocumentPerson[]} content.people People from `ExpressionTracker.update`, or of `personOf`.
 * @param {number | null} [content.frame] Number of the frame from 0; null by default, as for a picture.
 * @param {number | null} [content.time] Time since the first frame in seconds; null by default, as for a picture.
 * @param {[number, number] | null} [content.size] Width and height of the image in pixels; null by default.
 * @returns {ResultDocument}
 */
export function makeDocument({ source, people, frame = null, time = null, size = null }) {
  return { version: 1, source, frame, time: round(time, FINE), size, people: people.map(roundPerson) };
}

/**
 * Return the person of a document for a face of a picture.
 *
 * @param {Expression & {quality: Quality}} expression Result of `Recognizer.recognize`.
 * @param {FaceLike | ArrayLike<number> | null} face The face, its box, or null for a face crop.
 * @returns {DocumentPerson}
 */
export function personOf({ quality, ...expression }, face) {
  return { id: null, face: faceData(face), quality, expression, raw: null, since: null, fresh: null };
}

/**
 * @param {FaceLike | ArrayLike<number> | null} face
 * @returns {DocumentPerson["face"]}
 */
function faceData(face) {
  if (face === null) return null;
  if (!isFace(face)) return { box: parseBox(face), score: null, points: null, tilt: null };
  const { box, score, points } = face;
  return { box, score, points, tilt: (tiltOf(points) * 180) / Math.PI };
}

/**
 * @param {DocumentPerson} person
 * @returns {DocumentPerson}
 */
function roundPerson({ id, face, quality, expression, raw, since, fresh }) {
  const { label, score, scores, certain, warning, derived } = expression;
  return {
    id,
    face: face && {
      box: roundPixels(face.box),
      score: round(face.score, FINE),
      points: face.points && face.points.map(roundPixels),
      tilt: round(face.tilt, COARSE),
    },
    quality: quality && roundAll(quality, (name) => (PIXELS_AND_DEGREES.includes(name) ? COARSE : FINE)),
    expression: {
      ...roundScores({ label, score, scores }),
      certain,
      warning,
      derived: derived && roundAll(derived, () => FINE),
    },
    raw: raw && roundScores(raw),
    since: round(since, FINE),
    fresh,
  };
}

/** @param {{label: string, score: number, scores: Record<string, number>}} scores */
function roundScores({ label, score, scores }) {
  return { label, score: round(score, FINE), scores: roundAll(scores, () => FINE) };
}

/**
 * @template {object} T
 * @param {T} values
 * @param {(name: string) => number} digitsOf
 * @returns {T}
 */
function roundAll(values, digitsOf) {
  const entries = Object.entries(values).map(([name, value]) => [name, round(value, digitsOf(name))]);
  return Object.fromEntries(entries);
}

/** @param {readonly number[]} values */
function roundPixels(values) {
  return values.map((value) => round(value, COARSE));
}

/**
 * @template {number | null} T
 * @param {T} value
 * @param {number} digits
 * @returns {T}
 */
function round(value, digits) {
  return /** @type {T} */ (value === null ? null : Number(value.toFixed(digits)));
}
