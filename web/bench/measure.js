/** Times of the package's calls, in Node.js and in browsers. */

import { ExpressionTracker, FaceDetector, openBundle, Recognizer } from "fer-edge";
import { Cropper, parseFrame } from "../src/crop.js";
import { findRegion } from "../src/boxes.js";
import { cropToFrame } from "../src/face.js";
import { Resampler } from "../src/geometry.js";

/**
 * Time of calls in milliseconds.
 *
 * @typedef {object} Time
 * @property {string} name
 * @property {number} median
 * @property {number} p95
 * @property {number | null} cpu Mean time of the processor; null where it cannot be measured.
 */

/**
 * Measure the package with one face.
 *
 * @param {object} options
 * @param {import("../src/session.js").Ort} options.ort
 * @param {Uint8Array} options.bundle Content of a bundle.
 * @param {Uint8Array} options.detector
 * @param {Uint8Array} options.mesh
 * @param {import("../src/crop.js").ImageLike} options.image Image with one face.
 * @param {number} options.repeats Number of calls.
 * @param {(() => number) | null} options.cpu Time of the processor in milliseconds; null: unknown.
 * @returns {Promise<Time[]>}
 */
export async function measure({ ort, bundle: bytes, detector: model, mesh, image, repeats, cpu }) {
  /** @type {Time[]} */
  const times = [];
  /** @param {string} name @param {(index: number) => unknown} call @param {number} [count] */
  const time = async (name, call, count = repeats) => {
    for (let index = 0; index < Math.min(count - 1, 60); index++) await call(index); // until the code is optimised
    const samples = [];
    const start = cpu?.() ?? 0;
    for (let index = 0; index < count; index++) {
      const before = performance.now();
      await call(100 + index);
      samples.push(performance.now() - before);
    }
    const mean = cpu === null ? null : (cpu() - start) / count;
    samples.sort((first, second) => first - second);
    times.push({ name, median: samples[count >> 1], p95: samples[Math.floor(0.95 * count)], cpu: mean });
  };

  await time("open and check the bundle", () => openBundle(bytes), 1);
  const bundle = await openBundle(bytes);
  await time("load the model", async () => (await Recognizer.open({ bundle, ort })).close(), 1);
  const networks = { ort, detector: model, mesh };
  await time("load the face networks", async () => (await FaceDetector.open(networks)).close(), 1);

  const recognizer = await Recognizer.open({ bundle, ort });
  const detector = await FaceDetector.open(networks);
  const [face] = await detector.detect(image);
  const frame = parseFrame(image);
  const [out, cropper, resampler] = [new Uint8Array(3 * 112 * 112), new Cropper(), new Resampler()];
  const region = findRegion(face.box, image.width, image.height);
  const toFrame = /** @type {import("../src/geometry.js").Similarity} */ (cropToFrame(face));
  await time("crop of a box", () => cropper.crop(frame, region, out, 112));
  await time("aligned crop", () => resampler.resample(frame, toFrame, out, 112));
  await time("recognition of a face", () => recognizer.recognize(image, [face]));
  await time("fit of the mesh", () => detector.fit(image, face));
  await time("detection", () => detector.detect(image));
  const tracker = await ExpressionTracker.open({ detector, recognizer });
  await time("tracked frame, one face", (index) => tracker.update(image, index / 30));
  await tracker.close();
  await detector.close();
  await recognizer.close();
  return times;
}
