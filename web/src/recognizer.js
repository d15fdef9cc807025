/** Recognizer: face expressions in images, from an open bundle. */

import { checkPlausible, findRegion, parseBox } from "./boxes.js";
import { Bundle } from "./bundle.js";
import { circumplex, coordinatesOf } from "./circumplex.js";
import { Cropper, parseFrame } from "./crop.js";
import { BundleError, ConfigError, EngineError, InputError, NonFiniteError, shown } from "./errors.js";
import { cropToFrame, IMAGE_SIZE, isFace } from "./face.js";
import { Resampler } from "./geometry.js";
import { measureQuality, MIN_SCORE, warningOf } from "./quality.js";
import { Network, Queue } from "./session.js";

/** @typedef {import("./crop.js").ImageLike} ImageLike */
/** @typedef {import("./face.js").FaceLike} FaceLike */
/** @typedef {import("./pillow.js").View} View */
/** @typedef {import("./quality.js").Quality} Quality */

/**
 * Expression of one face.
 *
 * @typedef {object} Expression
 * @property {string} label Label with the highest probability.
 * @property {number} score Probability of `label`, 0 to 1.
 * @property {Record<string, number>} scores Probability by label, in the order of the model's labels; they sum to 1.
 * @property {boolean} certain True if there is no warning and the score is high enough.
 * @property {string} warning Reasons not to trust the label; empty without one.
 * @property {import("./circumplex.js").Circumplex | null} derived Valence and arousal, derived from `scores` and not
 *   measured; null if a label has no published coordinates.
 */

/**
 * Crop of a face.
 *
 * @typedef {object} Plan
 * @property {import("./boxes.js").Region} region Upright square that the face box selects.
 * @property {FaceLike | null} face null: a box or crop of the caller.
 * @property {import("./geometry.js").Similarity | null} toFrame From the aligned crop to the frame; null: the crop is
 *   the region.
 */

const OUTPUTS = ["probabilities"];

/**
 * Recogniser of face expressions in images.
 *
 * Calls run one after another.
 *
 *     const recognizer = await Recognizer.open({ bundle: await openBundle("edge.fer"), ort });
 *     const [expression] = await recognizer.recognize(context.getImageData(0, 0, width, height));
 */
export class Recognizer {
  /** @type {readonly string[]} Labels of the model, in the order of `Expression.scores`. */
  labels;
  #network;
  #execution;
  #coordinates;
  #queue = new Queue();
  #cropper = new Cropper();
  #resampler = new Resampler();
  #isClosed = false;

  /**
   * @private
   * @param {Network} network
   * @param {readonly string[]} labels
   */
  constructor(network, labels) {
    this.labels = labels;
    this.#network = network;
    this.#execution = network.prepare([1, IMAGE_SIZE, IMAGE_SIZE, 3], OUTPUTS);
    this.#coordinates = coordinatesOf(labels);
  }

  /**
   * Load the model of a bundle and run it once, so that the first image takes no longer than the others.
   *
   * @param {{bundle: Bundle} & import("./session.js").RunOptions} options
   * @returns {Promise<Recognizer>}
   * @throws {ConfigError} Option of another type.
   * @throws {BundleError} Bundle with another number of labels than its model.
   * @throws {EngineError} Model that ONNX Runtime cannot load or run.
   */
  static async open({ bundle, ...options }) {
    if (!(bundle instanceof Bundle)) {
      throw new ConfigError(`bundle is ${shown(bundle)}; expected a bundle: await openBundle("edge.fer")`);
    }
    const recognizer = new Recognizer(await Network.load(bundle.graph, OUTPUTS, options, "the model"), bundle.labels);
    try {
      await recognizer.#warmUp(bundle);
    } catch (error) {
      await recognizer.close();
      throw error;
    }
    return recognizer;
  }

  /** @param {Bundle} bundle */
  async #warmUp(bundle) {
    const { dims, data } = (await this.#execution.run()).probabilities;
    if (dims.length !== 2 || dims[0] !== 1 || dims[1] !== this.labels.length) {
      throw new BundleError(
        `${bundle.name} has ${this.labels.length} labels, but its model gives probabilities of shape ${shown(dims)} ` +
          `for one image; expected ${shown([1, this.labels.length])}: build the bundle again`,
      );
    }
    checkFinite(data);
  }

  /**
   * Return the expressions of faces of one image.
   *
   * @param {ImageLike} image `ImageData`; alpha is ignored.
   * @param {readonly (ArrayLike<number> | FaceLike | null)[]} boxes Faces that a `FaceDetector` found in this image,
   *   which are aligned by eyes and mouth; or face boxes: x, y, width, height in pixels. A box that is not square is
   *   extended to a square about its centre, and pixels beyond the image are black. null: the image is a face crop, the
   *   default.
   * @returns {Promise<(Expression & {quality: Quality})[]>}
   * @throws {InputError} Invalid image or box, or a box that is almost certainly in another form.
   * @throws {EngineError} The recognizer is closed, or ONNX Runtime failed.
   * @throws {NonFiniteError} NaN or infinity in the model's outputs.
   */
  async recognize(image, boxes = [null]) {
    if (!Array.isArray(boxes) || (boxes.length === 4 && boxes.every(Number.isFinite))) {
      throw new InputError(
        `boxes is ${shown(boxes)}; expected an array of boxes [x, y, width, height] or faces: [box]`,
      );
    }
    this.#checkOpen();
    return this.#queue.run(async () => {
      const frame = parseFrame(image);
      const plans = boxes.map((box) => planCrop(frame, box));
      const expressions = [];
      for (const plan of plans) {
        const { scores, quality } = await this.#run(frame, plan);
        expressions.push({
          ...this.describe(scores, scores.indexOf(Math.max(...scores)), quality, MIN_SCORE),
          quality,
        });
      }
      return expressions;
    });
  }

  /**
   * Crop a face and run the model.
   *
   * @param {View} frame
   * @param {Plan} plan
   * @returns {Promise<{scores: number[], quality: Quality}>} Probability of each label, and quality of the crop.
   */
  async #run(frame, { region, face, toFrame }) {
    const { input } = this.#execution;
    if (toFrame === null) {
      this.#cropper.crop(frame, region, input, IMAGE_SIZE);
    } else {
      this.#resampler.resample(frame, toFrame, input, IMAGE_SIZE);
    }
    const quality = measureQuality(region, input, IMAGE_SIZE, face);
    const { data } = (await this.#execution.run()).probabilities;
    checkFinite(data);
    return { scores: Array.from(/** @type {Float32Array} */ (data)), quality };
  }

  /**
   * Return probabilities and quality of a face of a parsed frame, for the tracker.
   *
   * @internal
   * @param {View} frame
   * @param {FaceLike} face
   */
  recognizeFace(frame, face) {
    this.#checkOpen();
    return this.#queue.run(() => this.#run(frame, planCrop(frame, face)));
  }

  /**
   * Return an expression for probabilities.
   *
   * @internal
   * @param {ArrayLike<number>} scores Probability of each label.
   * @param {number} index Index of the label.
   * @param {Quality} quality
   * @param {number} minScore Score below which the label is not certain.
   * @returns {Expression}
   */
  describe(scores, index, quality, minScore) {
    const warning = warningOf(quality);
    return {
      label: this.labels[index],
      score: scores[index],
      scores: Object.fromEntries(this.labels.map((label, place) => [label, scores[place]])),
      certain: scores[index] >= minScore && warning === "",
      warning,
      derived: circumplex(scores, this.#coordinates),
    };
  }

  #checkOpen() {
    if (this.#isClosed) throw new EngineError("the recognizer is closed; open the bundle again");
  }

  /** Release the model after the calls that have begun; may be called several times. */
  async close() {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#queue.run(() => this.#network.release());
  }
}

/**
 * @param {View} frame
 * @param {ArrayLike<number> | FaceLike | null} box
 * @returns {Plan}
 */
function planCrop({ width, height }, box) {
  if (box === null) return { region: findRegion(null, width, height), face: null, toFrame: null };
  if (isFace(box))
    return { region: findRegion(parseBox(box.box), width, height), face: box, toFrame: cropToFrame(box) };
  const parsed = parseBox(box);
  checkPlausible(parsed, width, height);
  return { region: findRegion(parsed, width, height), face: null, toFrame: null };
}

/** @param {Float32Array} values */
function checkFinite(values) {
  if (!values.every(Number.isFinite)) {
    throw new NonFiniteError(
      "the model gives NaN or infinity; try the execution provider wasm, or build the bundle again",
    );
  }
}
