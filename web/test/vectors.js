/** Inputs and Python's results, which tests/npm/vectors.py writes; and the networks. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as ort from "onnxruntime-web";
import { openBundle } from "fer-edge";

const FOLDER = process.env.FER_EDGE_VECTORS;
const WEIGHTS = new URL("../../fer_edge/weights/", import.meta.url);

ort.env.wasm.numThreads = 1;

/** Why tests are skipped; false if they run. */
export const skip = FOLDER ? false : "needs Python's results: run scripts/test-web";
/** @type {any} */
export const vectors = FOLDER ? JSON.parse(readFileSync(join(FOLDER, "vectors.json"), "utf8")) : {};
const arrays = FOLDER ? readFileSync(join(FOLDER, "arrays.bin")) : Buffer.alloc(0);

/** @param {string} name */
export const weights = (name) => new Uint8Array(readFileSync(new URL(name, WEIGHTS)));
export const bundle = await openBundle(weights("edge.fer"));
export const networks = { ort, detector: weights("faces/detector.onnx"), mesh: weights("faces/landmarks.onnx") };
export { ort };

/**
 * Return an array of the vectors.
 *
 * @param {{at: number, shape: number[]}} reference
 */
export function bytesOf({ at, shape }) {
  return new Uint8Array(arrays.subarray(at, at + shape.reduce((product, side) => product * side, 1)));
}

/**
 * Return a frame of the vectors as `ImageData` has it, or without alpha.
 *
 * @param {{at: number, shape: number[]}} reference
 * @param {boolean} [withAlpha]
 */
export function imageOf(reference, withAlpha = true) {
  const [height, width] = reference.shape;
  const rgb = bytesOf(reference);
  if (!withAlpha) return { data: rgb, width, height };
  const data = new Uint8ClampedArray(4 * width * height).fill(255);
  for (let index = 0; index < width * height; index++) data.set(rgb.subarray(3 * index, 3 * index + 3), 4 * index);
  return { data, width, height };
}
