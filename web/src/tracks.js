/** Tracks of faces: prediction by constant velocity, and association of candidates by overlap. */

import { shiftFace } from "./face.js";
import { cornersOf, overlap } from "./networks.js";

/** @typedef {import("./face.js").Face} Face */
/** @typedef {import("./smoothing.js").Smoother} Smoother */

const VELOCITY_SECONDS = 0.1; // time constant of the mean velocity
const MIN_OVERLAP = 0.2; // intersection over union above which a candidate is the face of a track

/** One person's face over time. */
export class Track {
  id = 0; // number of the track; 0 until the mesh has confirmed the candidate
  turn = -1; // number of the frame in which the mesh was last fitted; -1 before
  isLost = false; // whether the mesh has lost the face, which only a new candidate can change
  misses = 0; // searches in a row without a candidate for this face
  /** @type {import("./recognizer.js").Expression | null} */
  raw = null; // expression of the last crop
  /** @type {import("./recognizer.js").Expression | null} */
  expression = null; // smoothed expression
  /** @type {import("./quality.js").Quality | null} */
  quality = null; // of the last crop
  #time;
  #velocityX = 0; // pixels per second
  #velocityY = 0;

  /**
   * @param {Face} face First candidate.
   * @param {number} time Time of its frame in seconds.
   * @param {Smoother} smoother Filter of the expression.
   */
  constructor(face, time, smoother) {
    this.face = face; // at its last certain place
    this.alive = time; // time of the last frame in which there was a face, in seconds
    this.smoother = smoother;
    this.#time = time;
  }

  /**
   * Return the face where it is expected.
   *
   * @param {number} time Time in seconds.
   * @param {number} longest Longest time in seconds of movement at constant velocity.
   */
  predict(time, longest) {
    const seconds = Math.min(time - this.#time, longest);
    if (seconds === 0 || (this.#velocityX === 0 && this.#velocityY === 0)) return this.face;
    return shiftFace(this.face, this.#velocityX * seconds, this.#velocityY * seconds);
  }

  /**
   * Store the face of a new frame, and update the velocity.
   *
   * @param {Face} face
   * @param {number} time
   */
  move(face, time) {
    const seconds = time - this.#time;
    if (seconds > 0 && !this.isLost && this.face.square !== null) {
      const weight = -Math.expm1(-seconds / VELOCITY_SECONDS);
      const [x0, y0] = centerOf(this.face);
      const [x1, y1] = centerOf(face);
      this.#velocityX += weight * ((x1 - x0) / seconds - this.#velocityX);
      this.#velocityY += weight * ((y1 - y0) / seconds - this.#velocityY);
    }
    this.place(face, time);
  }

  /**
   * Store the face of a new frame without a change of the velocity.
   *
   * @param {Face} face
   * @param {number} time
   */
  place(face, time) {
    this.face = face;
    this.#time = time;
    this.alive = Math.max(this.alive, time);
    this.isLost = false;
  }

  /** Set the velocity to zero. */
  stop() {
    [this.#velocityX, this.#velocityY] = [0, 0];
  }
}

/** @param {Face} face */
function centerOf({ box: [x, y, width, height] }) {
  return [x + width / 2, y + height / 2];
}

/**
 * Assign candidates to tracks, the pair with the largest overlap first.
 *
 * @param {ReadonlyMap<Track, Face>} places Face of each track in the frame of the candidates.
 * @param {readonly Face[]} candidates Faces that the detector found.
 * @returns {Map<Track, Face>} Candidate of each track that has one.
 */
export function associate(places, candidates) {
  const overlaps = [...places].flatMap(([track, face]) =>
    candidates.map((candidate) => ({ track, candidate, value: overlap(cornersOf(face), cornersOf(candidate)) })),
  );
  overlaps.sort((first, second) => second.value - first.value);
  /** @type {Map<Track, Face>} */
  const pairs = new Map();
  const assigned = new Set();
  for (const { track, candidate, value } of overlaps) {
    if (value <= MIN_OVERLAP) break;
    if (pairs.has(track) || assigned.has(candidate)) continue;
    pairs.set(track, candidate);
    assigned.add(candidate);
  }
  return pairs;
}
