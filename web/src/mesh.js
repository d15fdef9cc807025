/** MediaPipe's face mesh: 468 points of a face, and the probability that there is one. */

import { Face, tiltOf } from "./face.js";
import { apply, fromInput, inverse, Resampler, scaleOf } from "./geometry.js";
import { remainder, sigmoid } from "./numbers.js";
import { Network } from "./session.js";

/** @typedef {import("./boxes.js").Box} Box */
/** @typedef {import("./geometry.js").Point} Point */
/** @typedef {import("./geometry.js").Similarity} Similarity */
/** @typedef {import("./geometry.js").Square} Square */
/** @typedef {import("./pillow.js").View} View */

const SIZE = 192; // side of the input in pixels
const COUNT = 468; // points
const MARGIN = 1.5; // side of the input's square divided by that of the points
export const MIN_PRESENCE = 0.5; // probability of a face below which there is none
const MAX_REPEATS = 2; // fits after the first

/**
 * Differences between the input's square and that of the points above which the mesh is fitted again: radians, and parts
 * of the side.
 *
 * @typedef {{ turn: number, shift: number, growth: number }} Tolerance
 */

// The points move a little with the square they are fitted in; a single image is worth more fits than a frame of video.
/** @type {Tolerance} */
export const FOLLOWING = { turn: 0.1, shift: 0.08, growth: 0.15 };
/** @type {Tolerance} */
export const SINGLE = { turn: 0.02, shift: 0.02, growth: 0.03 };

const BOX_SCALE = 1.4; // side of the input's square divided by that of the face box
const BOX_SHIFT = 0.05; // its shift down the face as a part of the side
const EYES = [
  [33, 133],
  [362, 263],
]; // landmarks at the corners of the eyes, whose mean is the eye
const NOSE_AND_MOUTH = [1, 61, 291]; // tip of the nose; corners of the mouth
const FRAMING_SCALE = 1.04; // side of the face box from the extent of the points
const FRAMING_SHIFT = -0.05; // its vertical shift as a part of the side
const OUTPUTS = ["landmarks", "presence"];

/**
 * Result of a fit; `landmarks` are overwritten by the next fit.
 *
 * @typedef {object} Mesh
 * @property {Float64Array} landmarks x, y, depth in pixels of the frame, 468 times.
 * @property {number} presence Probability that there is a face, 0 to 1.
 * @property {readonly Point[]} points Left eye, right eye, nose, left and right corner of the mouth.
 * @property {Square} square Square around the landmarks, turned with the face.
 */

/** Face mesh for one face at a time. */
export class MeshNetwork {
  #network;
  #execution;
  #resampler = new Resampler();
  #buffers = [new Float64Array(3 * COUNT), new Float64Array(3 * COUNT)];

  /** @param {Network} network */
  constructor(network) {
    this.#network = network;
    this.#execution = network.prepare([1, SIZE, SIZE, 3], OUTPUTS);
  }

  /**
   * Load the network.
   *
   * @param {Uint8Array} model
   * @param {import("./session.js").RunOptions} options
   */
  static async load(model, options) {
    return new MeshNetwork(await Network.load(model, OUTPUTS, options, "the face mesh"));
  }

  /**
   * Fit the mesh to the face in a square of the frame; again to its own square if that differs.
   *
   * @param {View} frame
   * @param {Square} square Square around the face, of about 1.5 times its size, turned with it.
   * @param {Tolerance} tolerance Difference of the squares below which one fit is enough.
   * @returns {Promise<Mesh>}
   */
  async fit(frame, square, tolerance = FOLLOWING) {
    let mesh = await this.#run(frame, square, this.#buffers[0]);
    for (let repeat = 0; repeat < MAX_REPEATS; repeat++) {
      if (mesh.presence < MIN_PRESENCE || areClose(square, mesh.square, tolerance)) break;
      square = mesh.square;
      const again = await this.#run(frame, square, this.#buffers[mesh.landmarks === this.#buffers[0] ? 1 : 0]);
      if (again.presence < MIN_PRESENCE) break;
      mesh = again;
    }
    return mesh;
  }

  /**
   * @param {View} frame
   * @param {Square} square
   * @param {Float64Array} landmarks Array for the result.
   * @returns {Promise<Mesh>}
   */
  async #run(frame, square, landmarks) {
    const toFrame = fromInput(square, SIZE);
    this.#resampler.resample(frame, toFrame, this.#execution.input, SIZE);
    const outputs = await this.#execution.run();
    place(outputs.landmarks.data, toFrame, landmarks);
    const points = pointsOf(landmarks);
    return {
      landmarks,
      presence: sigmoid(outputs.presence.data[0]),
      points,
      square: squareOf(landmarks, tiltOf(points)),
    };
  }

  release() {
    return this.#network.release();
  }
}

/**
 * Map landmarks from the input to the frame; depth is scaled.
 *
 * @param {ArrayLike<number>} values
 * @param {Similarity} similarity
 * @param {Float64Array} out
 */
function place(values, similarity, out) {
  const { a, b, c, d } = similarity;
  const scale = scaleOf(similarity);
  for (let index = 0; index < 3 * COUNT; index += 3) {
    out[index] = a * values[index] - b * values[index + 1] + c;
    out[index + 1] = b * values[index] + a * values[index + 1] + d;
    out[index + 2] = scale * values[index + 2];
  }
}

/**
 * @param {Float64Array} landmarks
 * @returns {Point[]}
 */
function pointsOf(landmarks) {
  const eyes = EYES.map(([first, second]) => {
    const x = (landmarks[3 * first] + landmarks[3 * second]) / 2;
    return /** @type {Point} */ ([x, (landmarks[3 * first + 1] + landmarks[3 * second + 1]) / 2]);
  });
  return [...eyes, ...NOSE_AND_MOUTH.map((row) => /** @type {Point} */ ([landmarks[3 * row], landmarks[3 * row + 1]]))];
}

/**
 * Return the extent of landmarks that are turned by a similarity: smallest x and y, largest x and y.
 *
 * @param {Float64Array} landmarks
 * @param {number} a
 * @param {number} b
 */
function extent(landmarks, a, b) {
  let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
  for (let index = 0; index < 3 * COUNT; index += 3) {
    const x = a * landmarks[index] - b * landmarks[index + 1];
    const y = b * landmarks[index] + a * landmarks[index + 1];
    if (x < left) left = x;
    if (x > right) right = x;
    if (y < top) top = y;
    if (y > bottom) bottom = y;
  }
  return [left, top, right, bottom];
}

/**
 * Return the square around landmarks that is turned with the face: the input for the same face in the next frame.
 *
 * @param {Float64Array} landmarks
 * @param {number} angle Tilt of the face in radians.
 * @returns {Square}
 */
function squareOf(landmarks, angle) {
  const upright = { a: Math.cos(angle), b: -Math.sin(angle), c: 0, d: 0 };
  const [left, top, right, bottom] = extent(landmarks, upright.a, upright.b);
  const [x, y] = apply(inverse(upright), (left + right) / 2, (top + bottom) / 2);
  return { x, y, side: MARGIN * Math.max(right - left, bottom - top), angle };
}

/**
 * Return the face of a mesh.
 *
 * @param {Mesh} mesh
 * @param {number} score Score of the detector.
 * @param {boolean} withLandmarks Whether the face has a copy of the landmarks.
 */
export function faceOf(mesh, score, withLandmarks) {
  const [left, top, right, bottom] = extent(mesh.landmarks, 1, 0);
  const side = FRAMING_SCALE * Math.max(right - left, bottom - top);
  /** @type {Box} */
  const box = [(left + right) / 2 - side / 2, (top + bottom) / 2 - side / 2 + FRAMING_SHIFT * side, side, side];
  return new Face(box, score, mesh.points, mesh.presence, mesh.square, withLandmarks ? mesh.landmarks.slice() : null);
}

/**
 * @param {Square} first
 * @param {Square} second
 * @param {Tolerance} tolerance
 */
function areClose(first, second, tolerance) {
  return (
    Math.abs(remainder(first.angle - second.angle, 2 * Math.PI)) <= tolerance.turn &&
    Math.hypot(first.x - second.x, first.y - second.y) <= tolerance.shift * second.side &&
    Math.abs(first.side / second.side - 1) <= tolerance.growth
  );
}

/**
 * Return the mesh's input for a face whose box is known.
 *
 * @param {Box} box Face box.
 * @param {number} angle Tilt of the face in radians.
 * @returns {Square}
 */
export function squareAround([x, y, width, height], angle) {
  const side = Math.max(width, height);
  const down = BOX_SHIFT * side;
  const [centerX, centerY] = [x + width / 2 - down * Math.sin(angle), y + height / 2 + down * Math.cos(angle)];
  return { x: centerX, y: centerY, side: BOX_SCALE * side, angle };
}
