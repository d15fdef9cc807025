/** The detection network BlazeFace: decoding of its outputs, and merging of detections. */

import { sigmoid } from "./numbers.js";

/** @typedef {import("./boxes.js").Box} Box */
/** @typedef {import("./geometry.js").Point} Point */
/** @typedef {[number, number]} Size width and height in pixels */
/** @typedef {[number, number, number, number]} Corners left, top, right, bottom in pixels */

/**
 * Face that the network finds.
 *
 * @typedef {object} Detection
 * @property {Corners} corners
 * @property {number} score 0 to 1
 * @property {Point[]} points Left eye, right eye, tip of the nose, left and right corner of the mouth.
 */

/** Amount of detail of a search. @typedef {"fast" | "normal" | "fine"} Detail */

/** Input sizes by detail, for a landscape frame; all are searched. @type {Record<Detail, Size[]>} */
export const SIZES = {
  fast: [[128, 128]],
  normal: [
    [256, 192],
    [128, 128],
  ],
  fine: [
    [384, 320],
    [192, 192],
    [64, 64],
  ],
};
export const MAX_OVERLAP = 0.3; // intersection over union above which two detections are of the same face
const STRIDE = 4; // pixels from anchor to anchor
const VALUES = 16; // by anchor: centre, size, 6 points
const MOUTH_WIDTH = 0.83; // distance of the corners of the mouth divided by that of the eyes
const FACE_SCALE = 1.1; // side of the face box divided by the height of the network's box
const FACE_SHIFT = -0.046; // its shift down as a part of the side

/**
 * Convert outputs of the network to detections.
 *
 * @param {ArrayLike<number>} scores
 * @param {ArrayLike<number>} boxes
 * @param {Size} size Size of the input.
 * @param {number} threshold Smallest score.
 * @returns {Detection[]} Detections in pixels of the input.
 */
export function decode(scores, boxes, [width], threshold) {
  const columns = width / STRIDE;
  /** @type {Detection[]} */
  const detections = [];
  for (let hit = 0; hit < scores.length; hit++) {
    const score = Math.fround(sigmoid(scores[hit]));
    if (score < threshold) continue;
    const anchorX = ((hit % columns) + 0.5) * STRIDE;
    const anchorY = (Math.floor(hit / columns) + 0.5) * STRIDE;
    const at = VALUES * hit;
    /** @param {number} index @returns {Point} */
    const point = (index) => [boxes[at + 2 * index] + anchorX, boxes[at + 2 * index + 1] + anchorY];
    const [[x, y], left, right, nose, mouth] = [0, 2, 3, 4, 5].map(point);
    const [halfWidth, halfHeight] = [boxes[at + 2] / 2, boxes[at + 3] / 2];
    const [shiftX, shiftY] = [(right[0] - left[0]) * (MOUTH_WIDTH / 2), (right[1] - left[1]) * (MOUTH_WIDTH / 2)];
    detections.push({
      corners: [x - halfWidth, y - halfHeight, x + halfWidth, y + halfHeight],
      score,
      points: [left, right, nose, [mouth[0] - shiftX, mouth[1] - shiftY], [mouth[0] + shiftX, mouth[1] + shiftY]],
    });
  }
  return detections;
}

/**
 * Return a detection with x and y scaled and then shifted.
 *
 * @param {Detection} detection
 * @param {Point} scale
 * @param {Point} shift
 * @returns {Detection}
 */
export function move({ corners, score, points }, scale, shift) {
  /** @param {number} x @param {number} y @returns {Point} */
  const map = (x, y) => [x * scale[0] + shift[0], y * scale[1] + shift[1]];
  const [[left, top], [right, bottom]] = [map(corners[0], corners[1]), map(corners[2], corners[3])];
  return { corners: [left, top, right, bottom], score, points: points.map(([x, y]) => map(x, y)) };
}

/**
 * Return the face box for the corners of a detection.
 *
 * @param {Corners} corners
 * @returns {Box}
 */
export function faceBox([left, top, right, bottom]) {
  const side = FACE_SCALE * (bottom - top);
  return [(left + right) / 2 - side / 2, (top + bottom) / 2 + FACE_SHIFT * side - side / 2, side, side];
}

/**
 * Merge overlapping detections: the mean of their boxes and points, weighted by score, and the largest score.
 *
 * Empty boxes, which the network may give for a strange image, are dropped.
 *
 * @param {readonly Detection[]} detections
 * @returns {Detection[]}
 */
export function suppress(detections) {
  let rest = detections
    .filter(({ corners }) => corners[2] > corners[0] && corners[3] > corners[1])
    .sort((first, second) => second.score - first.score);
  const merged = [];
  while (rest.length > 0) {
    const [best] = rest;
    /** @param {Detection} other */
    const isSame = (other) => other === best || overlap(best.corners, other.corners) > MAX_OVERLAP;
    merged.push(mean(rest.filter(isSame)));
    rest = rest.filter((other) => !isSame(other));
  }
  return merged;
}

/**
 * Return the mean of detections of one face, weighted by score, with the score of the first.
 *
 * @param {Detection[]} same
 * @returns {Detection}
 */
function mean(same) {
  if (same.length === 1) return same[0];
  const total = same.reduce((sum, { score }) => sum + score, 0);
  /** @type {Detection} */
  const merged = { corners: [0, 0, 0, 0], score: same[0].score, points: same[0].points.map(() => [0, 0]) };
  for (const { corners, score, points } of same) {
    corners.forEach((value, index) => (merged.corners[index] += (score / total) * value));
    points.forEach(([x, y], index) => {
      merged.points[index][0] += (score / total) * x;
      merged.points[index][1] += (score / total) * y;
    });
  }
  return merged;
}

/**
 * Return intersection over union of two boxes.
 *
 * @param {Corners} first
 * @param {Corners} second
 */
export function overlap(first, second) {
  const width = Math.max(0, Math.min(first[2], second[2]) - Math.max(first[0], second[0]));
  const height = Math.max(0, Math.min(first[3], second[3]) - Math.max(first[1], second[1]));
  const shared = width * height;
  const union = area(first) + area(second) - shared;
  return union > 0 ? shared / union : 0;
}

/** @param {Corners} corners */
function area([left, top, right, bottom]) {
  return (right - left) * (bottom - top);
}

/**
 * Return the corners of a face box.
 *
 * @param {{box: Box}} face
 * @returns {Corners}
 */
export function cornersOf({ box: [x, y, width, height] }) {
  return [x, y, x + width, y + height];
}
