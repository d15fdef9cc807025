/** Search for faces in a frame at one or several sizes, with the same network. */

import { paste } from "./crop.js";
import { decode, move, SIZES } from "./networks.js";
import { roundHalfEven } from "./numbers.js";
import { Filter, Picture, reduce, resampleColumns, resampleRows } from "./pillow.js";
import { Network } from "./session.js";

/** @typedef {import("./networks.js").Detail} Detail */
/** @typedef {import("./networks.js").Detection} Detection */
/** @typedef {import("./networks.js").Size} Size */
/** @typedef {import("./pillow.js").View} View */

const OUTPUTS = ["boxes", "scores"];

/**
 * Detection network for the sizes that it searches.
 *
 * A network that is made for small faces misses those that fill the frame. It finds them in a smaller frame.
 */
export class Search {
  #network;
  #sizes;
  /** @type {Map<string, import("./session.js").Execution>} */
  #executions = new Map();
  /** @type {Scaler[]} */
  #scalers;

  /**
   * @param {Network} network
   * @param {Detail} detail
   */
  constructor(network, detail) {
    this.#network = network;
    this.#sizes = SIZES[detail];
    this.#scalers = this.#sizes.map(() => new Scaler());
  }

  /**
   * Load the network.
   *
   * @param {Uint8Array} model
   * @param {Detail} detail
   * @param {import("./session.js").RunOptions} options
   */
  static async load(model, detail, options) {
    return new Search(await Network.load(model, OUTPUTS, options, "the face detector"), detail);
  }

  /**
   * Return the detections at all sizes, in pixels of the frame.
   *
   * @param {View} frame
   * @param {number} threshold Smallest score of a detection.
   * @returns {Promise<Detection[]>}
   */
  async run(frame, threshold) {
    /** @type {Detection[]} */
    const detections = [];
    let image = frame;
    for (const [index, [width, height]] of this.#sizes.entries()) {
      /** @type {Size} */
      const size = frame.height > frame.width ? [height, width] : [width, height];
      image = this.#scalers[index].fit(image, size); // from the size before, which is cheaper than from the frame
      const [left, top] = [(size[0] - image.width) >> 1, (size[1] - image.height) >> 1];
      const execution = this.#prepare(size);
      execution.input.fill(0);
      paste(image, execution.input, size[0], left, top);
      const { boxes, scores } = await execution.run();
      const [scaleX, scaleY] = [frame.width / image.width, frame.height / image.height];
      for (const detection of decode(scores.data, boxes.data, size, threshold)) {
        detections.push(move(detection, [scaleX, scaleY], [-left * scaleX, -top * scaleY]));
      }
    }
    return detections;
  }

  /** @param {Size} size */
  #prepare(size) {
    const key = size.join("x");
    const execution = this.#executions.get(key) ?? this.#network.prepare([1, size[1], size[0], 3], OUTPUTS);
    this.#executions.set(key, execution);
    return execution;
  }

  release() {
    return this.#network.release();
  }
}

/** Reduction of images of one size to another; its buffers are used again in each call. */
class Scaler {
  #reduced = new Picture();
  #narrow = new Picture();
  #scaled = new Picture();
  #across = new Filter();
  #down = new Filter();

  /**
   * Resize an image so that it just fits a size; its aspect ratio is preserved.
   *
   * @param {View} image
   * @param {Size} size
   * @returns {View} The image itself if it fits already; else a view that the next call overwrites.
   */
  fit(image, size) {
    const scale = Math.min(size[0] / image.width, size[1] / image.height);
    const width = Math.max(1, roundHalfEven(image.width * scale));
    const height = Math.max(1, roundHalfEven(image.height * scale));
    if (width === image.width && height === image.height) return image;
    // Reducing by a whole factor first halves the time, and costs no detections.
    const [across, down] = [Math.trunc(image.width / width) || 1, Math.trunc(image.height / height) || 1];
    const [extentX, extentY] = [image.width / across, image.height / down];
    if (across > 1 || down > 1) {
      reduce(image, across, down, this.#reduced);
      image = this.#reduced;
    }
    return this.#resize(image, width, height, extentX, extentY);
  }

  /**
   * @param {View} image
   * @param {number} width
   * @param {number} height
   * @param {number} extentX Part of the image's width that is resampled.
   * @param {number} extentY Part of its height.
   * @returns {View}
   */
  #resize(image, width, height, extentX, extentY) {
    if (width !== image.width || extentX !== image.width) {
      resampleRows(image, 0, this.#across.set(image.width, extentX, width), this.#narrow);
      image = this.#narrow;
    }
    if (height === image.height && extentY === image.height) return image;
    if (image.channels !== 3) {
      this.#narrow.resize(image.width, image.height);
      paste(image, this.#narrow.data, image.width, 0, 0);
      image = this.#narrow;
    }
    this.#scaled.resize(width, height);
    resampleColumns(image, 0, this.#down.set(image.height, extentY, height), this.#scaled.data);
    return this.#scaled;
  }
}
