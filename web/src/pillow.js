/**
 * Resampling of pixels, equal to that of Pillow to the last bit: bilinear with antialiasing, reduction by whole
 * factors, and affine transforms.
 */

/**
 * Rectangle of pixels in memory. Channels after the third are ignored.
 *
 * @typedef {object} View
 * @property {Uint8Array | Uint8ClampedArray} data
 * @property {number} offset Index of the first byte.
 * @property {number} stride Bytes from row to row.
 * @property {number} channels Bytes from pixel to pixel, 3 or 4.
 * @property {number} width
 * @property {number} height
 */

const BITS = 22; // of the fractions of weights
const HALF = 1 << (BITS - 1);

/**
 * Return a rectangle of a view.
 *
 * @param {View} view
 * @param {number} left
 * @param {number} top
 * @param {number} width
 * @param {number} height
 * @returns {View}
 */
export function part(view, left, top, width, height) {
  const offset = view.offset + top * view.stride + left * view.channels;
  return { data: view.data, offset, stride: view.stride, channels: view.channels, width, height };
}

/** RGB image whose memory is used again when its size changes. */
export class Picture {
  data = new Uint8Array(0);
  offset = 0;
  stride = 0;
  channels = 3;
  width = 0;
  height = 0;

  /**
   * Set the size; the content is undefined afterwards.
   *
   * @param {number} width
   * @param {number} height
   */
  resize(width, height) {
    if (this.data.length < 3 * width * height) this.data = new Uint8Array(3 * width * height);
    [this.width, this.height, this.stride] = [width, height, 3 * width];
  }
}

/** Weights of a bilinear filter with antialiasing in one dimension. */
export class Filter {
  size = 0; // samples of the source
  extent = 0; // part of the source from its start that is resampled, perhaps with a fraction
  count = 0; // samples of the result
  length = 0; // largest number of weights of a sample
  first = new Int32Array(0); // index of the first source sample, by sample of the result
  last = new Int32Array(0); // index after the last one
  weights = new Int32Array(0); // `length` weights by sample of the result

  /**
   * Compute the weights, unless they are those of the last call.
   *
   * @param {number} size
   * @param {number} extent
   * @param {number} count
   * @returns {this}
   */
  set(size, extent, count) {
    extent = Math.fround(extent);
    if (size === this.size && extent === this.extent && count === this.count) return this;
    [this.size, this.extent, this.count] = [size, extent, count];
    const scale = extent / count;
    const support = Math.max(scale, 1);
    this.length = Math.ceil(support) * 2 + 1;
    if (this.first.length < count) [this.first, this.last] = [new Int32Array(count), new Int32Array(count)];
    if (this.weights.length < count * this.length) this.weights = new Int32Array(count * this.length);
    const exact = new Float64Array(this.length);
    for (let index = 0; index < count; index++) {
      const center = (index + 0.5) * scale;
      const first = Math.max(0, Math.trunc(center - support + 0.5));
      const last = Math.min(size, Math.trunc(center + support + 0.5));
      let sum = 0;
      for (let place = first; place < last; place++) {
        const distance = Math.abs((place - center + 0.5) * (1 / support));
        exact[place - first] = distance < 1 ? 1 - distance : 0;
        sum += exact[place - first];
      }
      for (let place = 0; place < last - first; place++) {
        const weight = sum === 0 ? exact[place] : exact[place] / sum;
        this.weights[index * this.length + place] = Math.trunc(0.5 + weight * (1 << BITS));
      }
      this.first[index] = first;
      this.last[index] = last;
    }
    return this;
  }
}

/**
 * Resample the rows of a view horizontally.
 *
 * @param {View} view
 * @param {number} before Column of the filter's source at which the view begins; the source is black elsewhere.
 * @param {Filter} filter
 * @param {Picture} out Result, of `filter.count` columns.
 */
export function resampleRows(view, before, filter, out) {
  const { data, stride, channels, width, height } = view;
  const { first, last, weights, length, count } = filter;
  out.resize(count, height);
  const result = out.data;
  let place = 0;
  for (let row = 0; row < height; row++) {
    const start = view.offset + row * stride - before * channels;
    for (let column = 0; column < count; column++) {
      const from = Math.max(first[column], before);
      const to = Math.min(last[column], before + width);
      let weight = column * length + from - first[column];
      let red = HALF;
      let green = HALF;
      let blue = HALF;
      for (let index = start + from * channels, end = start + to * channels; index < end; index += channels) {
        const factor = weights[weight++];
        red += factor * data[index];
        green += factor * data[index + 1];
        blue += factor * data[index + 2];
      }
      result[place++] = red >> BITS;
      result[place++] = green >> BITS;
      result[place++] = blue >> BITS;
    }
  }
}

let sums = new Int32Array(0); // of one row

/**
 * Resample the columns of a picture vertically.
 *
 * @param {View} view View with three channels.
 * @param {number} before Row of the filter's source at which the view begins; the source is black elsewhere.
 * @param {Filter} filter
 * @param {Uint8Array} result Pixels of the result, of `filter.count` rows.
 */
export function resampleColumns(view, before, filter, result) {
  const { data, offset, stride, width, height } = view;
  const { first, last, weights, length, count } = filter;
  const bytes = 3 * width;
  if (sums.length < bytes) sums = new Int32Array(bytes);
  const row = sums;
  for (let line = 0; line < count; line++) {
    row.fill(HALF, 0, bytes);
    const to = Math.min(last[line], before + height);
    for (let source = Math.max(first[line], before); source < to; source++) {
      const factor = weights[line * length + source - first[line]];
      const start = offset + (source - before) * stride;
      for (let index = 0; index < bytes; index++) row[index] += factor * data[start + index];
    }
    const start = line * bytes;
    for (let index = 0; index < bytes; index++) result[start + index] = row[index] >> BITS;
  }
}

/**
 * Reduce a view by whole factors: each pixel is the mean of a block.
 *
 * @param {View} view
 * @param {number} across Width of a block.
 * @param {number} down Height of a block.
 * @param {Picture} out Result; blocks at the right and lower edge may be smaller.
 */
export function reduce(view, across, down, out) {
  const { data, offset, stride, channels, width, height } = view;
  out.resize(Math.ceil(width / across), Math.ceil(height / down));
  const result = out.data;
  let place = 0;
  for (let top = 0; top < height; top += down) {
    const rows = Math.min(down, height - top);
    for (let left = 0; left < width; left += across) {
      const columns = Math.min(across, width - left);
      const count = rows * columns;
      let red = count >> 1;
      let green = red;
      let blue = red;
      for (let row = 0; row < rows; row++) {
        let index = offset + (top + row) * stride + left * channels;
        for (let column = 0; column < columns; column++, index += channels) {
          red += data[index];
          green += data[index + 1];
          blue += data[index + 2];
        }
      }
      // Pillow multiplies by the inverse as a whole number of 2 ** -24, computed in single precision.
      const inverse = Math.trunc(Math.fround(0x100000000 / Math.fround(256 * count)));
      result[place++] = (red * inverse) / 0x1000000;
      result[place++] = (green * inverse) / 0x1000000;
      result[place++] = (blue * inverse) / 0x1000000;
    }
  }
}

/**
 * Resample a view by an affine transform, bilinear; pixels beyond the view are black.
 *
 * Pixel x, y of the result is taken at a x + b y + c, d x + e y + f of the view, where pixel centres are at halves.
 *
 * @param {View} view
 * @param {readonly [number, number, number, number, number, number]} coefficients a to f.
 * @param {Uint8Array} out Pixels of the result.
 * @param {number} size Width and height of the result.
 */
export function transform(view, [a, b, c, d, e, f], out, size) {
  const { data, offset, stride, channels, width, height } = view;
  let place = 0;
  for (let row = 0; row < size; row++) {
    for (let column = 0; column < size; column++, place += 3) {
      const x = a * (column + 0.5) + b * (row + 0.5) + c;
      const y = d * (column + 0.5) + e * (row + 0.5) + f;
      if (!(x >= 0 && x < width && y >= 0 && y < height)) {
        out[place] = out[place + 1] = out[place + 2] = 0;
        continue;
      }
      const left = Math.floor(x - 0.5);
      const top = Math.floor(y - 0.5);
      const across = x - 0.5 - left;
      const down = y - 0.5 - top;
      const x0 = Math.max(left, 0) * channels;
      const x1 = Math.min(left + 1, width - 1) * channels;
      const upper = offset + Math.max(top, 0) * stride;
      const lower = top + 1 < height ? offset + (top + 1) * stride : upper;
      for (let channel = 0; channel < 3; channel++) {
        const first = data[upper + x0 + channel];
        const above = first + (data[upper + x1 + channel] - first) * across;
        const second = data[lower + x0 + channel];
        const below = second + (data[lower + x1 + channel] - second) * across;
        out[place + channel] = above + (below - above) * down;
      }
    }
  }
}
