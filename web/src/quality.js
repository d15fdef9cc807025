/** Quality of face crops: size, contrast, noise, sharpness, and the bounds beyond which a label is not certain. */

import { tiltOf } from "./face.js";
import { MIN_PRESENCE } from "./mesh.js";
import { general, roundHalfEven } from "./numbers.js";

/** @typedef {import("./boxes.js").Region} Region */
/** @typedef {import("./face.js").FaceLike} FaceLike */

// The bounds are those of fer_edge/quality.py, which contains the measurements behind them.
export const MIN_SCORE = 0.58; // score below which a label is not certain
const MIN_FACE = 24; // pixels of the smaller side of a face
const MIN_CONTRAST = 10; // standard deviation of luma in levels of 255
const MAX_NOISE = 1.4;
const MIN_SHARPNESS = 0.015;
const MIN_SHARE = 0.5; // share of the box inside the frame
const GREEN = 1; // channel for sharpness
const STEP = 2; // distance of the pixels for sharpness in one direction; twice as large in the other, and for noise
const MIN_SAMPLES = 6; // samples horizontally and vertically; fewer are not enough to measure noise and sharpness

/**
 * Measurements of a face and its crop.
 *
 * @typedef {object} Quality
 * @property {number} width Width of the part of the face box inside the frame, in pixels.
 * @property {number} height Height of this part, in pixels.
 * @property {number} share Share of the face box's area inside the frame, 0 to 1.
 * @property {number} contrast Standard deviation of luma, 0 to 128.
 * @property {number} noise 0 for a smooth image, 2 for noise.
 * @property {number} sharpness 0 for a blurred image; at least 0.03 on FERPlus's validation split.
 * @property {number | null} detection Score of the face detector, 0 to 1; null for a box or crop of the caller.
 * @property {number | null} presence Probability by the face mesh that there is a face; null without a mesh.
 * @property {number | null} tilt Angle of the line between the eyes in degrees, positive clockwise; null for a box or
 *   crop.
 */

/** Rectangle of a crop. @typedef {{left: number, top: number, right: number, bottom: number}} Part */

/**
 * Measure a face and its crop.
 *
 * @param {Region} region Region of the face in its frame.
 * @param {Uint8Array} crop Its crop, RGB.
 * @param {number} size Side of the crop in pixels.
 * @param {FaceLike | null} face The detected face; null for a box or crop.
 * @returns {Quality}
 */
export function measureQuality(region, crop, size, face) {
  const [contrast, noise, sharpness] = measureCrop(crop, size, visiblePart(region, size));
  return {
    width: region.faceWidth,
    height: region.faceHeight,
    share: region.share,
    contrast,
    noise,
    sharpness,
    detection: face?.score ?? null,
    presence: face?.presence ?? null,
    tilt: face === null ? null : (tiltOf(face.points) * 180) / Math.PI,
  };
}

/**
 * Return the reasons not to trust a label, separated by "; "; empty without one.
 *
 * @param {Quality} quality
 */
export function warningOf(quality) {
  const { width, height, share, contrast, noise, sharpness, presence } = quality;
  const size = Math.min(width, height);
  const reasons = [];
  if (presence !== null && presence < MIN_PRESENCE) {
    reasons.push(`the face mesh finds no face: its probability is ${presence.toFixed(2)}`);
  }
  if (size < MIN_FACE) {
    const sides = `${general(width, 3)} x ${general(height, 3)}`;
    reasons.push(`face of ${sides} pixels; below ${MIN_FACE} the label is often wrong`);
  }
  if (share < MIN_SHARE) reasons.push(`only ${roundHalfEven(100 * share)} % of the face box is inside the frame`);
  if (contrast < MIN_CONTRAST) {
    reasons.push("no contrast: there may be no face");
  } else if (noise > MAX_NOISE) {
    reasons.push("noise instead of an image: there may be no face");
  } else if (sharpness < MIN_SHARPNESS && size >= MIN_FACE) {
    reasons.push("blurred: the label is often wrong");
  }
  return reasons.join("; ");
}

/**
 * Return the part of a crop that shows the frame, without the black border; at least one pixel.
 *
 * @param {Region} region
 * @param {number} size Side of the crop in pixels.
 * @returns {Part}
 */
function visiblePart({ left, top, side, x0, y0, x1, y1 }, size) {
  if (x1 - x0 === side && y1 - y0 === side) return { left: 0, top: 0, right: size, bottom: size };
  const scale = size / side;
  const first = Math.min(roundHalfEven((x0 - left) * scale), size - 1);
  const upper = Math.min(roundHalfEven((y0 - top) * scale), size - 1);
  return {
    left: first,
    top: upper,
    right: Math.max(roundHalfEven((x1 - left) * scale), first + 1),
    bottom: Math.max(roundHalfEven((y1 - top) * scale), upper + 1),
  };
}

let grid = new Float64Array(0); // samples of one channel, or of luma

/**
 * Measure contrast, noise and sharpness of luma.
 *
 * @param {Uint8Array} crop RGB pixels.
 * @param {number} size Side of the crop in pixels.
 * @param {Part} part Part to measure.
 * @returns {[number, number, number]} Standard deviation, 0 to 128; mean squared difference of every fourth pixel and
 *   its neighbour, divided by their variance; mean square of the second differences of every second pixel in green,
 *   divided by its variance. With too few pixels, noise and sharpness are 0.
 */
function measureCrop(crop, size, part) {
  if (grid.length < size * size) grid = new Float64Array(size * size);
  const [rows, columns] = sample(crop, size, part, 2 * STEP, 2 * STEP, true);
  const count = rows * columns;
  let variance = center(count);
  const contrast = Math.sqrt(variance);
  if (Math.min(rows, columns) < MIN_SAMPLES || variance < 1) return [contrast, 0, 0];
  let [across, down] = [0, 0];
  for (let row = 0; row < rows; row++) {
    for (let index = row * columns, end = index + columns; index < end; index++) {
      if (index + 1 < end) across += (grid[index + 1] - grid[index]) ** 2;
      if (row + 1 < rows) down += (grid[index + columns] - grid[index]) ** 2;
    }
  }
  const noise = (across / (rows * (columns - 1)) + down / ((rows - 1) * columns)) / (2 * variance);
  sample(crop, size, part, 2 * STEP, 2 * STEP, false);
  const green = Math.max(1, center(count));
  sample(crop, size, part, 2 * STEP, STEP, false);
  const curvature = curvatureOf(rows, Math.ceil((part.right - part.left) / STEP), 1);
  sample(crop, size, part, STEP, 2 * STEP, false);
  const curvatureDown = curvatureOf(columns, Math.ceil((part.bottom - part.top) / STEP), columns);
  return [contrast, noise, (curvature + curvatureDown) / green];
}

/**
 * Write samples of luma, or of green, to `grid`, and return their number of rows and columns.
 *
 * @param {Uint8Array} crop
 * @param {number} size
 * @param {Part} part
 * @param {number} down Distance of the rows.
 * @param {number} across Distance of the columns.
 * @param {boolean} isLuma
 * @returns {[number, number]}
 */
function sample(crop, size, { left, top, right, bottom }, down, across, isLuma) {
  let count = 0;
  for (let row = top; row < bottom; row += down) {
    for (let column = left; column < right; column += across) {
      const at = 3 * (row * size + column);
      grid[count++] = isLuma ? 0.299 * crop[at] + 0.587 * crop[at + 1] + 0.114 * crop[at + 2] : crop[at + GREEN];
    }
  }
  return [Math.ceil((bottom - top) / down), Math.ceil((right - left) / across)];
}

/**
 * Subtract the mean from the samples in `grid`, and return their variance.
 *
 * @param {number} count
 */
function center(count) {
  let [sum, square] = [0, 0];
  for (let index = 0; index < count; index++) sum += grid[index];
  for (let index = 0; index < count; index++) {
    grid[index] -= sum / count;
    square += grid[index] ** 2;
  }
  return square / count;
}

/**
 * Return the mean square of the second differences of lines of samples in `grid`.
 *
 * @param {number} lines Number of lines.
 * @param {number} length Samples of a line.
 * @param {number} step Distance of a line's samples in `grid`: 1 for rows, the number of columns for columns.
 */
function curvatureOf(lines, length, step) {
  let sum = 0;
  for (let line = 0; line < lines; line++) {
    const start = step === 1 ? line * length : line;
    for (let place = 1; place + 1 < length; place++) {
      const index = start + place * step;
      sum += (grid[index + step] + grid[index - step] - 2 * grid[index]) ** 2;
    }
  }
  return sum / (lines * (length - 2));
}
