/** A face in a frame, and its crop for the recognizer: aligned by eyes and mouth corners, or by its box. */

import { InputError, shown } from "./errors.js";
import { apply, fitSimilarity, inverse, scaleOf } from "./geometry.js";

/** @typedef {import("./boxes.js").Box} Box */
/** @typedef {import("./geometry.js").Point} Point */
/** @typedef {import("./geometry.js").Similarity} Similarity */
/** @typedef {import("./geometry.js").Square} Square */

export const IMAGE_SIZE = 112; // side of the model's input in pixels
const ALIGNED = [0, 1, 3, 4]; // eyes and mouth corners in `Face.points`
// Places of these points in a crop of 112 x 112 pixels: their means on FERPlus's validation split, made symmetric, in a
// crop that is 5 % tighter.
/** @type {Point[]} */
const TARGET = [
  [34.4, 42.1],
  [77.6, 42.1],
  [38.1, 87.7],
  [73.9, 87.7],
];
const MAX_ERROR = 0.5; // RMS distance of the points from the target, in eye distances of the target
const BOX_RATIOS = [0.5, 2.0]; // side of an aligned crop divided by that of the face box

/**
 * Face that a detector found. Coordinates are in pixels of the frame; left and right are those of the image.
 *
 * @typedef {object} FaceLike
 * @property {Box} box x, y, width and height of a square from hairline to chin.
 * @property {number} score Score of the detector, 0 to 1.
 * @property {readonly Point[]} points Left eye, right eye, tip of the nose, left and right corner of the mouth.
 * @property {number | null} [presence] Probability by the face mesh that there is a face; null without a mesh.
 * @property {Square | null} [square] Square of the face for the mesh; null without a mesh.
 */

/** @implements {FaceLike} */
export class Face {
  /**
   * @param {Box} box
   * @param {number} score
   * @param {readonly Point[]} points
   * @param {number | null} presence
   * @param {Square | null} square
   * @param {Float64Array | null} landmarks Points of the face mesh: x, y, depth from the face's centre, 468 times.
   */
  constructor(box, score, points, presence = null, square = null, landmarks = null) {
    this.box = box;
    this.score = score;
    this.points = points;
    this.tilt = (tiltOf(points) * 180) / Math.PI; // of the line between the eyes in degrees, positive clockwise
    this.presence = presence;
    this.square = square;
    this.landmarks = landmarks;
  }
}

/**
 * Return whether an object is a face, and not a box; a face may also be a copy that was sent from a worker.
 *
 * @param {unknown} object
 * @returns {object is FaceLike}
 * @throws {InputError} Face whose points are not five pairs of finite numbers.
 */
export function isFace(object) {
  if (typeof object !== "object" || object === null || !("points" in object)) return false;
  const { points } = object;
  const isPoint = (/** @type {any} */ point) => point?.length === 2 && point.every(Number.isFinite);
  if (Array.isArray(points) && points.length === 5 && points.every(isPoint)) return true;
  throw new InputError(`points of a face are ${shown(points)}; expected five of [x, y] in pixels`);
}

/**
 * Return a face moved by a number of pixels, without its landmarks.
 *
 * @param {Face} face
 * @param {number} x Shift to the right.
 * @param {number} y Shift down.
 */
export function shiftFace(face, x, y) {
  const [left, top, width, height] = face.box;
  const points = face.points.map((point) => /** @type {Point} */ ([point[0] + x, point[1] + y]));
  const square = face.square && { ...face.square, x: face.square.x + x, y: face.square.y + y };
  return new Face([left + x, top + y, width, height], face.score, points, face.presence, square);
}

/**
 * Return the angle of the line between the eyes in radians.
 *
 * @param {readonly Point[]} points Points in the order of `Face.points`.
 */
export function tiltOf(points) {
  return Math.atan2(points[1][1] - points[0][1], points[1][0] - points[0][0]);
}

/**
 * Return the similarity from the aligned crop of a face to the frame.
 *
 * @param {FaceLike} face
 * @returns {Similarity | null} The similarity; null if the points do not look like a face: the box has to be used.
 */
export function cropToFrame(face) {
  const points = ALIGNED.map((index) => face.points[index]);
  const toCrop = fitSimilarity(points, TARGET);
  if (toCrop === null) return null;
  let square = 0;
  points.forEach((point, index) => {
    const [x, y] = apply(toCrop, point[0], point[1]);
    square += (x - TARGET[index][0]) ** 2 + (y - TARGET[index][1]) ** 2;
  });
  const ratio = IMAGE_SIZE / scaleOf(toCrop) / Math.max(face.box[2], face.box[3]);
  if (Math.sqrt(square / TARGET.length) > MAX_ERROR * (TARGET[1][0] - TARGET[0][0])) return null;
  return BOX_RATIOS[0] <= ratio && ratio <= BOX_RATIOS[1] ? inverse(toCrop) : null;
}
