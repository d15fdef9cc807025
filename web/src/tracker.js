/** Expressions of people in video: faces found, followed, recognised and smoothed. */

import { parseFrame } from "./crop.js";
import { FaceDetector, MIN_BOX, MIN_SCORE_ALONE } from "./detector.js";
import { ConfigError, EngineError, InputError, shown } from "./errors.js";
import { Face } from "./face.js";
import { cornersOf, MAX_OVERLAP, overlap } from "./networks.js";
import { general } from "./numbers.js";
import { Recognizer } from "./recognizer.js";
import { Queue } from "./session.js";
import { HYSTERESIS, oneEuro, Smoother } from "./smoothing.js";
import { associate, Track } from "./tracks.js";

/** @typedef {import("./crop.js").ImageLike} ImageLike */
/** @typedef {import("./pillow.js").View} View */
/** @typedef {import("./recognizer.js").Expression} Expression */
/** @typedef {import("./smoothing.js").OneEuro} OneEuro */

/**
 * Face of one person in one image: an entry of `people` in the result document, version 1.
 *
 * @typedef {object} Person
 * @property {number} id Number of the person: 1, 2, ...
 * @property {{box: import("./boxes.js").Box, score: number, points: readonly import("./geometry.js").Point[],
 *   tilt: number}} face Face in this image; where it is expected if `fresh` is false. Pixels and degrees.
 * @property {import("./quality.js").Quality} quality Measurements of the last crop.
 * @property {Expression} expression Smoothed expression; its label changes only with a clear lead.
 * @property {{label: string, score: number, scores: Record<string, number>}} raw Expression of this image alone; of the
 *   last fresh image if `fresh` is false.
 * @property {number} since Time in seconds at which the label of `expression` began.
 * @property {boolean} fresh Whether face and expression are from this image. False for a face that is lost or has to
 *   wait, since there are more faces than are processed per image.
 */

/**
 * @typedef {object} TrackerOptions
 * @property {number} [faces] Largest number of faces that are processed per image, 4 by default. More faces take turns.
 * @property {number} [detectEvery] Number of images from search to search while all faces are followed, 15 by default.
 * @property {Partial<OneEuro> | null} [smoothing] Settings of the filter of probabilities; null: no smoothing.
 * @property {number} [hysteresis] Lead of another label's smoothed probability that changes the label, 0.2 by default.
 * @property {number} [patience] Time in seconds after which a lost face is dropped, 1 by default.
 */

// Searches in a row without a candidate, and presence, at which a mesh is no longer trusted: it may have moved to the
// background.
const MAX_MISSES = 3;
const SURE_PRESENCE = 0.9;

/**
 * Tracker of people's expressions in video.
 *
 * The detector searches every 15th image, and each image while a face is lost or none is tracked. Between searches, the
 * face mesh follows each face from its place in the last image. Probabilities are smoothed by a One Euro filter.
 *
 * Calls run one after another.
 *
 *     const tracker = await ExpressionTracker.open({ bundle, ort, detector: "detector.onnx", mesh: "landmarks.onnx" });
 *     for (const person of await tracker.update(image, video.currentTime)) {
 *       console.log(person.id, person.face.box, person.expression.label);
 *     }
 */
export class ExpressionTracker {
  /** @type {readonly string[]} */
  labels;
  #detector;
  #recognizer;
  #settings;
  #ownsNetworks;
  #queue = new Queue();
  #isClosed = false;
  /** @type {Track[]} */
  #tracks = [];
  #lastId = 0;
  #frame = 0; // number of the frame
  #searched; // number of the frame that was last searched
  #time = -Infinity;

  /**
   * @private
   * @param {FaceDetector} detector
   * @param {Recognizer} recognizer
   * @param {Settings} settings
   * @param {boolean} ownsNetworks Whether `close` closes detector and recognizer.
   */
  constructor(detector, recognizer, settings, ownsNetworks) {
    this.labels = recognizer.labels;
    this.#detector = detector;
    this.#recognizer = recognizer;
    this.#settings = settings;
    this.#ownsNetworks = ownsNetworks;
    this.#searched = -settings.detectEvery;
  }

  /**
   * Load the networks, and run them once, so that the first image takes no longer than the others.
   *
   * Networks that are open already, as a `FaceDetector` and a `Recognizer`, may serve several trackers; `close` leaves
   * them open.
   *
   * @param {({bundle: import("./bundle.js").Bundle} & import("./detector.js").DetectorOptions
   *   & import("./session.js").RunOptions & TrackerOptions)
   *   | ({detector: FaceDetector, recognizer: Recognizer} & TrackerOptions)} options
   * @returns {Promise<ExpressionTracker>}
   * @throws {ConfigError} Option of another type or out of range.
   * @throws {BundleError} Network that cannot be fetched, or another file; bundle that does not fit its model.
   * @throws {EngineError} Network that ONNX Runtime cannot load or run.
   */
  static async open(options) {
    if ("recognizer" in options) {
      const { detector, recognizer, ...others } = options;
      if (!(detector instanceof FaceDetector && recognizer instanceof Recognizer)) {
        throw new ConfigError("expected an open FaceDetector and an open Recognizer, or the options that open both");
      }
      return new ExpressionTracker(detector, recognizer, parseSettings(others), false);
    }
    const { bundle, detector, mesh, minScore, detail, ort, executionProviders, ...others } = options;
    const settings = parseSettings(others);
    const run = { ort, executionProviders };
    const recognizer = await Recognizer.open({ bundle, ...run });
    try {
      const faces = await FaceDetector.open({ detector, mesh, minScore, detail, ...run });
      return new ExpressionTracker(faces, recognizer, settings, true);
    } catch (error) {
      await recognizer.close();
      throw error;
    }
  }

  /**
   * Process the next image.
   *
   * @param {ImageLike} image `ImageData`; alpha is ignored. The image must not change before the result is there.
   * @param {number} time Time of the image in seconds, later than that of the last one; by default that of the page.
   * @returns {Promise<Person[]>} People that are tracked, the largest face first. A face that was lost less than
   *   `patience` ago is included with `fresh` false.
   * @throws {InputError} Invalid image, or a time that is not later than the last.
   * @throws {EngineError} The tracker is closed, or ONNX Runtime failed.
   * @throws {NonFiniteError} NaN or infinity in the model's outputs.
   */
  async update(image, time = performance.now() / 1000) {
    if (this.#isClosed) throw new EngineError("the tracker is closed; open it again");
    return this.#queue.run(async () => {
      const frame = parseFrame(image);
      this.#startFrame(time);
      await this.#find(frame);
      await this.#recognize(frame);
      const { patience } = this.#settings;
      this.#tracks = this.#tracks.filter((track) => !(track.isLost && this.#time - track.alive > patience));
      const people = this.#tracks.filter((track) => track.id > 0).map((track) => this.#person(track));
      return people.sort((first, second) => second.face.box[2] - first.face.box[2]);
    });
  }

  /** @param {number} time */
  #startFrame(time) {
    if (typeof time !== "number" || !Number.isFinite(time)) {
      throw new InputError(`time is ${shown(time)}; expected the time of the image in seconds`);
    }
    if (time <= this.#time) {
      throw new InputError(
        `time is ${general(time, 6)} s; expected more than ${general(this.#time, 6)} s, the time of the last image`,
      );
    }
    if (time - this.#time > this.#settings.patience) {
      for (const track of this.#tracks) {
        track.stop();
        track.smoother.reset();
      }
    }
    this.#time = time;
    this.#frame += 1;
  }

  /**
   * Search if that is due, and follow; search once more in this frame if a face is lost meanwhile.
   *
   * @param {View} frame
   */
  async #find(frame) {
    let isSearched = false;
    for (;;) {
      if (this.#isSearchDue()) {
        this.#searched = this.#frame;
        isSearched = true;
        const places = new Map(this.#tracks.map((track) => [track, this.#predict(track)]));
        this.#associate(places, await this.#detector.search(frame));
      }
      await this.#follow(frame);
      if (isSearched || !this.#isSearchDue()) return;
    }
  }

  #isSearchDue() {
    const isDue = this.#frame - this.#searched >= this.#settings.detectEvery;
    return isDue || !this.#tracks.some((track) => track.id > 0) || this.#tracks.some((track) => track.isLost);
  }

  /**
   * Update tracks by the candidates of this frame; add the other candidates as tracks.
   *
   * @param {Map<Track, Face>} places
   * @param {Face[]} candidates
   */
  #associate(places, candidates) {
    const pairs = associate(places, candidates);
    for (const track of places.keys()) {
      const face = pairs.get(track);
      if (face === undefined) {
        track.misses += 1;
        continue;
      }
      track.misses = 0;
      if (face.score >= MIN_SCORE_ALONE) track.alive = Math.max(track.alive, this.#time);
      if (track.isLost) {
        track.place(face, this.#time);
        track.turn = Math.min(track.turn, this.#frame - 1); // the mesh may be fitted again in this frame
      } else {
        const { box, points, presence, square } = track.face;
        track.face = new Face(box, face.score, points, presence, square);
      }
    }
    const assigned = new Set(pairs.values());
    const { smoothing, hysteresis } = this.#settings;
    for (const face of candidates) {
      if (assigned.has(face) || !this.#isApart(face, this.#tracks)) continue;
      this.#tracks.push(new Track(face, this.#time, new Smoother(smoothing, hysteresis, this.labels.length)));
    }
  }

  /**
   * Fit the mesh to the faces whose turn it is: those that have waited longest, the largest first.
   *
   * @param {View} frame
   */
  async #follow(frame) {
    const fit = this.#tracks.filter((track) => track.turn === this.#frame);
    const waiting = this.#tracks.filter((track) => track.turn < this.#frame && !track.isLost);
    waiting.sort((first, second) => first.turn - second.turn || second.face.box[2] - first.face.box[2]);
    const results = [];
    for (const track of waiting.slice(0, Math.max(0, this.#settings.faces - fit.length))) {
      track.turn = this.#frame;
      const place = this.#predict(track);
      const face = await this.#detector.follow(frame, place);
      if (face === null || !isPlausible(track, face, frame)) {
        this.#lose(track);
      } else {
        results.push({ track, face, value: overlap(cornersOf(place), cornersOf(face)) });
      }
    }
    // If two meshes have moved to the same face, it is that of the track which expected it there.
    for (const { track, face } of results.sort((first, second) => second.value - first.value)) {
      if (!this.#isApart(face, fit)) {
        this.#lose(track);
        continue;
      }
      track.move(face, this.#time);
      fit.push(track);
      if (track.id === 0) track.id = ++this.#lastId;
    }
  }

  /** @param {Track} track */
  #lose(track) {
    if (track.id > 0) {
      track.isLost = true;
    } else {
      this.#tracks.splice(this.#tracks.indexOf(track), 1);
    }
  }

  /**
   * Return whether a face is not that of a track.
   *
   * @param {Face} face
   * @param {Track[]} tracks
   */
  #isApart(face, tracks) {
    const corners = cornersOf(face);
    return tracks.every((track) => track.isLost || overlap(corners, cornersOf(this.#predict(track))) <= MAX_OVERLAP);
  }

  /** @param {Track} track */
  #predict(track) {
    return track.predict(this.#time, this.#settings.patience);
  }

  /**
   * Recognise the faces to which the mesh was fitted in this frame, and smooth their probabilities.
   *
   * @param {View} frame
   */
  async #recognize(frame) {
    for (const track of this.#tracks.filter((track) => this.#isFresh(track))) {
      const { scores, quality } = await this.#recognizer.recognizeFace(frame, track.face);
      const { smoother } = track;
      const smooth = smoother.update(scores, this.#time);
      const best = scores.indexOf(Math.max(...scores));
      track.quality = quality;
      track.raw = this.#recognizer.describe(scores, best, quality, smoother.minScore);
      track.expression = this.#recognizer.describe(smooth, smoother.label, quality, smoother.minScore);
    }
  }

  /** @param {Track} track */
  #isFresh(track) {
    return track.turn === this.#frame && track.id > 0 && !track.isLost;
  }

  /**
   * @param {Track} track
   * @returns {Person}
   */
  #person(track) {
    const { box, score, points, tilt } = this.#predict(track);
    const { label, score: rawScore, scores } = /** @type {Expression} */ (track.raw);
    return {
      id: track.id,
      face: { box, score, points, tilt },
      quality: /** @type {import("./quality.js").Quality} */ (track.quality),
      expression: /** @type {Expression} */ (track.expression),
      raw: { label, score: rawScore, scores },
      since: track.smoother.since,
      fresh: this.#isFresh(track),
    };
  }

  /** Release the networks after the calls that have begun; may be called several times. */
  async close() {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#queue.run(async () => {
      if (!this.#ownsNetworks) return;
      await this.#detector.close();
      await this.#recognizer.close();
    });
  }
}

/**
 * Return whether a fitted mesh is a face of the frame.
 *
 * @param {Track} track
 * @param {Face} face
 * @param {View} frame
 */
function isPlausible(track, { box: [x, y, side], presence }, frame) {
  const [centerX, centerY] = [x + side / 2, y + side / 2];
  const isInside = centerX > 0 && centerX < frame.width && centerY > 0 && centerY < frame.height;
  return isInside && side >= MIN_BOX && (track.misses < MAX_MISSES || (presence ?? 0) >= SURE_PRESENCE);
}

/** @typedef {Required<TrackerOptions> & {smoothing: OneEuro | null}} Settings */

/**
 * Check settings, and fill in the missing ones.
 *
 * @param {TrackerOptions} options
 * @returns {Settings}
 * @throws {ConfigError} Setting that is unknown or out of range.
 */
function parseSettings({
  faces = 4,
  detectEvery = 15,
  smoothing = {},
  hysteresis = HYSTERESIS,
  patience = 1,
  ...unknown
}) {
  for (const name of Object.keys(unknown))
    throw new ConfigError(`unknown option ${shown(name)} of ExpressionTracker.open`);
  for (const [name, value] of Object.entries({ faces, detectEvery })) {
    if (!Number.isInteger(value) || value < 1) {
      throw new ConfigError(`${name} is ${shown(value)}; expected a whole number from 1 on`);
    }
  }
  if (!(hysteresis >= 0 && hysteresis < 1)) {
    throw new ConfigError(`hysteresis is ${shown(hysteresis)}; expected a number from 0 to below 1`);
  }
  if (!(patience > 0 && patience < Infinity)) {
    throw new ConfigError(`patience is ${shown(patience)}; expected a number of seconds above 0`);
  }
  if (typeof smoothing !== "object") {
    throw new ConfigError(`smoothing is ${shown(smoothing)}; expected { cutoff, beta, speedCutoff } or null`);
  }
  return { faces, detectEvery, smoothing: smoothing === null ? null : oneEuro(smoothing), hysteresis, patience };
}
