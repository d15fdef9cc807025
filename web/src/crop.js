/** Face crops: a square of a frame, resampled to the input size of the model. */

import { InputError, shown } from "./errors.js";
import { Filter, part, Picture, resampleColumns, resampleRows } from "./pillow.js";

/** @typedef {import("./boxes.js").Region} Region */
/** @typedef {import("./pillow.js").View} View */

/**
 * Image as `ImageData` has it: rows of RGBA pixels from top to bottom; alpha is ignored. RGB without alpha is read too.
 *
 * @typedef {object} ImageLike
 * @property {Uint8Array | Uint8ClampedArray} data
 * @property {number} width Width in pixels.
 * @property {number} height Height in pixels.
 */

/**
 * Check an image, and return it as a view.
 *
 * @param {ImageLike} image
 * @returns {View}
 * @throws {InputError} Another object.
 */
export function parseFrame(image) {
  const { data, width, height } = image ?? {};
  const isBytes = data instanceof Uint8Array || data instanceof Uint8ClampedArray;
  if (!isBytes || !Number.isInteger(width) || !Number.isInteger(height)) {
    throw new InputError(
      `the image is ${describe(image)}; expected ImageData: draw it to a canvas, and call getImageData of its context`,
    );
  }
  if (!(width > 0 && height > 0)) throw new InputError(`the image is empty: ${width} x ${height} pixels`);
  const channels = data.length / (width * height);
  if (channels !== 3 && channels !== 4) {
    throw new InputError(
      `the image has ${data.length} bytes for ${width} x ${height} pixels; expected ${4 * width * height} (RGBA)`,
    );
  }
  return { data, offset: 0, stride: channels * width, channels, width, height };
}

/** @param {unknown} image */
function describe(image) {
  const kind = image === null || image === undefined ? undefined : Object.getPrototypeOf(image)?.constructor?.name;
  return kind === undefined || kind === "Object" ? shown(image) : `of type ${kind}`;
}

/** Resampling of upright squares; its buffers are used again in each call. */
export class Cropper {
  #filter = new Filter();
  #narrow = new Picture();

  /**
   * Resample a square of a frame; pixels beyond the frame are black.
   *
   * @param {View} frame
   * @param {Region} region Square, found for the size of this frame.
   * @param {Uint8Array} out RGB pixels of the result, (size, size, 3).
   * @param {number} size Side of the result in pixels.
   */
  crop(frame, region, out, size) {
    const { left, top, side, x0, y0, x1, y1 } = region;
    const inside = part(frame, x0, y0, x1 - x0, y1 - y0);
    if (side !== size) {
      const filter = this.#filter.set(side, side, size);
      resampleRows(inside, x0 - left, filter, this.#narrow);
      resampleColumns(this.#narrow, y0 - top, filter, out);
      return;
    }
    if (inside.width < size || inside.height < size) out.fill(0);
    paste(inside, out, size, x0 - left, y0 - top);
  }
}

/**
 * Copy a view into an RGB image.
 *
 * @param {View} view
 * @param {Uint8Array} out Pixels of the image.
 * @param {number} width Width of the image.
 * @param {number} left Column of the view in the image.
 * @param {number} top Row of the view in the image.
 */
export function paste(view, out, width, left, top) {
  const { data, stride, channels } = view;
  for (let row = 0; row < view.height; row++) {
    let source = view.offset + row * stride;
    let place = 3 * ((top + row) * width + left);
    for (let column = 0; column < view.width; column++, source += channels) {
      out[place++] = data[source];
      out[place++] = data[source + 1];
      out[place++] = data[source + 2];
    }
  }
}
