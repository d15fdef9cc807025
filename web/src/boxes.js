/** Face boxes: parsing, the square region of a frame that a box selects, and detection of likely mistakes. */

import { InputError, shown } from "./errors.js";
import { general } from "./numbers.js";

/** @typedef {[number, number, number, number]} Box x, y, width, height in pixels */

/**
 * Square of a frame that a face box selects; in whole pixels, except for the last three fields.
 *
 * @typedef {object} Region
 * @property {number} left Left edge; negative if the square extends beyond the frame.
 * @property {number} top Upper edge.
 * @property {number} side Side of the square.
 * @property {number} x0 Part of the square inside the frame: x0 <= x < x1, y0 <= y < y1.
 * @property {number} y0
 * @property {number} x1
 * @property {number} y1
 * @property {number} faceWidth Width of the part of the box inside the frame.
 * @property {number} faceHeight Height of this part.
 * @property {number} share Share of the box's area inside the frame, 0 to 1.
 */

const EXPECTED = "expected four finite numbers: x, y, width, height in pixels";
const MIN_SIDE = 4; // pixels; a smaller box is a mistake, not a face
const MAX_RATIO = 8; // longer side of the box to that of the frame; a larger box is a mistake, not a face
const MAX_FRACTION = 1.5; // largest value of a box in fractions of the frame, including faces at the edge
// A box counts as corners only if it is a plausible face when read as corners and an implausible one when read as
// x, y, width, height.
const FACE_RATIOS = [0.8, 1.6]; // height to width of plausible faces
const MAX_WIDE = 1.5; // width to height of boxes away from the frame's edges
const MAX_TALL = 2.0; // height to width of these
const MIN_INSIDE = 0.4; // share of a plausible box's area inside the frame

/**
 * Convert a box to four numbers.
 *
 * @param {ArrayLike<number>} box Array of x, y, width, height in pixels.
 * @returns {Box}
 * @throws {InputError} Another object, or values that are not finite.
 */
export function parseBox(box) {
  if (Array.isArray(box) || (ArrayBuffer.isView(box) && "length" in box)) {
    const [x, y, width, height] = Array.from(box);
    if (box.length === 4 && [x, y, width, height].every(Number.isFinite)) return [x, y, width, height];
  }
  throw new InputError(`box ${shown(box)} is not a box; ${EXPECTED}`);
}

/**
 * Convert two corners, as many detectors return them, to a box.
 *
 * @param {number} left x of the left edge in pixels.
 * @param {number} top y of the upper edge in pixels.
 * @param {number} right x of the right edge in pixels.
 * @param {number} bottom y of the lower edge in pixels.
 * @returns {Box}
 * @throws {InputError} Corners that are not finite numbers, or with right <= left or bottom <= top.
 */
export function boxFromCorners(left, top, right, bottom) {
  if (![left, top, right, bottom].every(Number.isFinite) || right <= left || bottom <= top) {
    throw new InputError(
      `corners ${shown([left, top, right, bottom])} are not a box; expected left, top, right, bottom in pixels with ` +
        "left < right and top < bottom",
    );
  }
  return [left, top, right - left, bottom - top];
}

/** @param {Box} box */
function describe(box) {
  return `box (${box.map((value) => general(value, 6)).join(", ")})`;
}

/**
 * Return the square of a frame that a box selects.
 *
 * The box is rounded outwards to whole pixels. Its shorter side is then extended to the longer one, equally on both
 * sides, with an odd pixel right or below. The face is therefore never stretched.
 *
 * @param {Box | null} box Parsed box; null: the whole frame.
 * @param {number} width Width of the frame in pixels.
 * @param {number} height Height of the frame in pixels.
 * @returns {Region}
 * @throws {InputError} Box that is empty, outside the frame or far larger than it.
 */
export function findRegion(box, width, height) {
  if (box === null) return square(0, 0, width, height, width, height, width, height, 1);
  const [x, y, w, h] = box;
  if (w <= 0 || h <= 0) {
    const remedy = w < 0 || h < 0 ? "convert corners by boxFromCorners(left, top, right, bottom)" : EXPECTED;
    throw new InputError(`${describe(box)} is empty: its width and height must be positive; ${remedy}`);
  }
  if (Math.max(w, h) > MAX_RATIO * Math.max(width, height)) {
    throw new InputError(
      `${describe(box)} is more than ${MAX_RATIO} times as large as the frame of ${width} x ${height} pixels; ` +
        "expected the box of one face: x, y, width, height in pixels",
    );
  }
  const insideWidth = Math.min(width, x + w) - Math.max(0, x);
  const insideHeight = Math.min(height, y + h) - Math.max(0, y);
  if (insideWidth <= 0 || insideHeight <= 0) {
    throw new InputError(`${describe(box)} is outside of the frame of ${width} x ${height} pixels`);
  }
  const share = Math.min(1, (insideWidth / w) * (insideHeight / h)); // rounding may exceed 1
  const corners = [Math.floor(x), Math.floor(y), Math.ceil(x + w), Math.ceil(y + h)];
  return square(corners[0], corners[1], corners[2], corners[3], width, height, insideWidth, insideHeight, share);
}

/**
 * @param {number} left
 * @param {number} top
 * @param {number} right
 * @param {number} bottom
 * @param {number} width
 * @param {number} height
 * @param {number} faceWidth
 * @param {number} faceHeight
 * @param {number} share
 * @returns {Region}
 */
function square(left, top, right, bottom, width, height, faceWidth, faceHeight, share) {
  const side = Math.max(right - left, bottom - top);
  left -= (side - (right - left)) >> 1;
  top -= (side - (bottom - top)) >> 1;
  const [x0, y0] = [Math.max(left, 0), Math.max(top, 0)];
  const [x1, y1] = [Math.min(left + side, width), Math.min(top + side, height)];
  return { left, top, side, x0, y0, x1, y1, faceWidth, faceHeight, share };
}

/**
 * Refuse a box that is almost certainly not x, y, width, height in pixels.
 *
 * @param {Box} box Parsed box.
 * @param {number} width Width of the frame in pixels.
 * @param {number} height Height of the frame in pixels.
 * @throws {InputError} Fractions of the frame, a side of less than 4 pixels, or corners.
 */
export function checkPlausible(box, width, height) {
  const [x, y, w, h] = box;
  if (Math.min(w, h) > 0 && Math.max(...box.map(Math.abs)) <= MAX_FRACTION) {
    throw new InputError(
      `${describe(box)} looks like fractions of the frame; expected pixels: multiply x and width by ${width}, y and ` +
        `height by ${height}`,
    );
  }
  if (0 < Math.min(w, h) && Math.min(w, h) < MIN_SIDE) {
    throw new InputError(
      `${describe(box)} is smaller than ${MIN_SIDE} pixels; expected the box of a face: x, y, width, height in pixels`,
    );
  }
  if (Math.min(w, h) <= 0 || !isImplausible(box, width, height)) return;
  const readings = /** @type {[string, Box][]} */ ([
    ["left, top, right, bottom", [x, y, w, h]],
    ["top, right, bottom, left", [h, x, y, w]],
  ]);
  for (const [order, corners] of readings) {
    if (arePlausibleCorners(corners, width, height)) {
      throw new InputError(
        `${describe(box)} looks like corners (${order}); expected x, y, width, height in pixels: use ` +
          "boxFromCorners(left, top, right, bottom)",
      );
    }
  }
}

/**
 * Return whether a box is mostly outside the frame, or far wider or taller than a face.
 *
 * @param {Box} box
 * @param {number} width
 * @param {number} height
 */
function isImplausible([x, y, w, h], width, height) {
  const insideWidth = Math.max(0, Math.min(width, x + w) - Math.max(0, x));
  const insideHeight = Math.max(0, Math.min(height, y + h) - Math.max(0, y));
  const isCutVertically = y <= 1 || y + h >= height - 1;
  const isCutHorizontally = x <= 1 || x + w >= width - 1;
  return (
    insideWidth * insideHeight < MIN_INSIDE * w * h ||
    (w >= MAX_WIDE * h && !isCutVertically) ||
    (h >= MAX_TALL * w && !isCutHorizontally)
  );
}

/**
 * @param {Box} corners
 * @param {number} width
 * @param {number} height
 */
function arePlausibleCorners([left, top, right, bottom], width, height) {
  const [w, h] = [right - left, bottom - top];
  const isInside = left >= 0 && top >= 0 && right <= width + 1 && bottom <= height + 1;
  return isInside && Math.min(w, h) >= MIN_SIDE && FACE_RATIOS[0] <= h / w && h / w <= FACE_RATIOS[1];
}
