/**
 * Similarities between squares of a frame and inputs of networks, and resampling by them.
 *
 * Coordinates are continuous: pixel i of a row covers i to i + 1.
 */

import { part, Picture, reduce, transform } from "./pillow.js";

/** @typedef {import("./pillow.js").View} View */
/** @typedef {[number, number]} Point x, y in pixels */

/**
 * Rotation, uniform scale and shift: x' = a x - b y + c, y' = b x + a y + d.
 *
 * @typedef {object} Similarity
 * @property {number} a
 * @property {number} b
 * @property {number} c
 * @property {number} d
 */

/**
 * Square of a frame, turned about its centre; lengths in pixels.
 *
 * @typedef {object} Square
 * @property {number} x Centre.
 * @property {number} y
 * @property {number} side
 * @property {number} angle Radians, clockwise in the image.
 */

/**
 * Return the length of the image of a vector of length 1.
 *
 * @param {Similarity} similarity
 */
export function scaleOf({ a, b }) {
  return Math.hypot(a, b);
}

/**
 * Map a point.
 *
 * @param {Similarity} similarity
 * @param {number} x
 * @param {number} y
 * @returns {Point}
 */
export function apply({ a, b, c, d }, x, y) {
  return [a * x - b * y + c, b * x + a * y + d];
}

/**
 * Return the similarity in the other direction.
 *
 * @param {Similarity} similarity
 * @returns {Similarity}
 */
export function inverse({ a, b, c, d }) {
  const square = a * a + b * b;
  const [p, q] = [a / square, -b / square];
  return { a: p, b: q, c: q * d - p * c, d: -q * c - p * d };
}

/**
 * Return the similarity from an input of `size` x `size` pixels to a square of the frame.
 *
 * @param {Square} square
 * @param {number} size
 * @returns {Similarity}
 */
export function fromInput({ x, y, side, angle }, size) {
  const a = (side / size) * Math.cos(angle);
  const b = (side / size) * Math.sin(angle);
  const half = size / 2;
  return { a, b, c: x - a * half + b * half, d: y - b * half - a * half };
}

/**
 * Return the similarity with the smallest sum of squared distances between mapped source and target points.
 *
 * @param {readonly Point[]} source
 * @param {readonly Point[]} target Their places in the result.
 * @returns {Similarity | null} The similarity; null if points coincide.
 */
export function fitSimilarity(source, target) {
  const [sourceX, sourceY] = meanOf(source);
  const [targetX, targetY] = meanOf(target);
  let [square, cosine, sine] = [0, 0, 0];
  source.forEach((point, index) => {
    const [x, y] = [point[0] - sourceX, point[1] - sourceY];
    const [u, v] = [target[index][0] - targetX, target[index][1] - targetY];
    square += x * x + y * y;
    cosine += x * u + y * v;
    sine += x * v - y * u;
  });
  if (!(square > 0 && Math.hypot(cosine, sine) > 0)) return null;
  const [a, b] = [cosine / square, sine / square];
  return { a, b, c: targetX - a * sourceX + b * sourceY, d: targetY - b * sourceX - a * sourceY };
}

/**
 * @param {readonly Point[]} points
 * @returns {Point}
 */
function meanOf(points) {
  let [x, y] = [0, 0];
  for (const point of points) {
    x += point[0];
    y += point[1];
  }
  return [x / points.length, y / points.length];
}

/** Resampling of turned squares; its buffer is used again in each call. */
export class Resampler {
  #reduced = new Picture();

  /**
   * Resample a turned square of a frame, bilinear; pixels beyond the frame are black.
   *
   * If the square is at least twice as large as the result, the part of the frame below it is first reduced by a whole
   * factor, as antialiasing.
   *
   * @param {View} frame
   * @param {Similarity} toFrame Similarity from the result to the frame.
   * @param {Uint8Array} out RGB pixels of the result, (size, size, 3).
   * @param {number} size Side of the result in pixels.
   */
  resample(frame, toFrame, out, size) {
    const factor = Math.max(1, Math.trunc(scaleOf(toFrame)));
    const margin = 2 * factor; // pixels that interpolation at the edges reads
    let [low, high] = [
      [Infinity, Infinity],
      [-Infinity, -Infinity],
    ];
    for (const corner of [
      apply(toFrame, 0, 0),
      apply(toFrame, size, 0),
      apply(toFrame, 0, size),
      apply(toFrame, size, size),
    ]) {
      low = [Math.min(low[0], corner[0]), Math.min(low[1], corner[1])];
      high = [Math.max(high[0], corner[0]), Math.max(high[1], corner[1])];
    }
    const left = Math.max(0, Math.floor(low[0]) - margin);
    const top = Math.max(0, Math.floor(low[1]) - margin);
    const right = Math.min(frame.width, Math.ceil(high[0]) + margin);
    const bottom = Math.min(frame.height, Math.ceil(high[1]) + margin);
    if (!(left < right && top < bottom)) {
      out.fill(0);
      return;
    }
    /** @type {View} */
    let below = part(frame, left, top, right - left, bottom - top);
    if (factor > 1) {
      reduce(below, factor, factor, this.#reduced);
      below = this.#reduced;
    }
    const [a, b] = [toFrame.a / factor, toFrame.b / factor];
    transform(below, [a, -b, (toFrame.c - left) / factor, b, a, (toFrame.d - top) / factor], out, size);
  }
}
