import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { BundleDamagedError, ConfigError, EngineError, FaceDetector, InputError, Recognizer } from "fer-edge";
import { parseFrame } from "../src/crop.js";
import { cropToFrame } from "../src/face.js";
import { Resampler } from "../src/geometry.js";
import { assertClose } from "./close.js";
import { bundle, bytesOf, imageOf, networks, ort, skip, vectors } from "./vectors.js";

// Sums of different order, in single precision, move points by hundredths of a pixel.
const PIXELS = 0.1;
const SCORE = 1e-4;

/** @type {FaceDetector} */
let detector;
/** @type {Recognizer} */
let recognizer;
before(async () => {
  detector = await FaceDetector.open(networks);
  recognizer = await Recognizer.open({ bundle, ort });
});
after(async () => {
  await detector.close();
  await recognizer.close();
});

const empty = { data: new Uint8ClampedArray(4 * 64 * 48), width: 64, height: 48 };

test("faces equal Python's", { skip }, async () => {
  for (const { name, frame, faces, expressions } of vectors.detection) {
    const image = imageOf(frame);
    const detected = await detector.detect(image);
    assert.equal(detected.length, faces.length, name);
    for (const [index, face] of detected.entries()) {
      const { box, points, score, presence, tilt } = faces[index];
      assertClose(face.box, box, PIXELS, `${name}: box`);
      assertClose(face.points, points, PIXELS, `${name}: points`);
      assertClose(
        [face.score, face.presence, face.tilt / 500],
        [score, presence, tilt / 500],
        SCORE,
        `${name}: score, presence, tilt`,
      );
      assert.equal(face.landmarks?.length, 3 * 468);
    }
    const recognized = await recognizer.recognize(image, detected);
    for (const [index, expression] of recognized.entries()) {
      assert.equal(expression.label, expressions[index].label);
      // Differences of 1e-4 pixels between runtimes grow from fit to fit of the mesh.
      assertClose(expression.scores, expressions[index].scores, 2e-3, `${name}: scores`);
    }
  }
});

test("aligned crops of Python's faces equal its crops to the last bit", { skip }, async () => {
  const resampler = new Resampler();
  const out = new Uint8Array(3 * 112 * 112);
  let count = 0;
  for (const { name, frame, faces, crops } of vectors.detection) {
    for (const [index, face] of faces.entries()) {
      const toFrame = cropToFrame(face);
      assert.ok(toFrame);
      resampler.resample(parseFrame(imageOf(frame)), toFrame, out, 112);
      assert.deepEqual(out, bytesOf(crops[index]), name);
      count += 1;
    }
  }
  assert.ok(count >= 7);
});

test("expressions of Python's faces equal its expressions", { skip }, async () => {
  for (const { name, frame, faces, expressions } of vectors.detection) {
    const recognized = await recognizer.recognize(imageOf(frame), faces);
    for (const [index, { quality, ...expression }] of recognized.entries()) {
      const { quality: expected, ...rest } = expressions[index];
      assertClose(expression, rest, 1e-5, name);
      assertClose(quality, expected, 1e-2, name);
    }
  }
});

test("the mesh follows a face from an image or a box", { skip }, async () => {
  const { frame, faces } = vectors.detection[0];
  const image = imageOf(frame);
  const [face] = await detector.detect(image);
  for (const place of [face, faces[0], structuredClone(face), face.box]) {
    const followed = await detector.fit(image, place);
    assert.ok(followed);
    assertClose(followed.points, face.points, 2);
    assert.equal(followed.landmarks?.length, 3 * 468);
  }
  assert.equal(await detector.fit(image, [10, 400, 80, 80]), null);
});

test("an image without a face has none", async () => {
  assert.deepEqual(await detector.detect(empty), []);
});

test("other files and options are refused", async () => {
  const damaged = networks.mesh.slice();
  damaged[1000] ^= 1;
  await assert.rejects(FaceDetector.open({ ...networks, mesh: damaged }), (error) => {
    return (
      error instanceof BundleDamagedError &&
      /option mesh is another file than fer-edge's landmarks.onnx/.test(error.message)
    );
  });
  await assert.rejects(FaceDetector.open({ ...networks, detector: networks.mesh }), BundleDamagedError);
  await assert.rejects(FaceDetector.open({ ...networks, detector: /** @type {any} */ (null) }), ConfigError);
  await assert.rejects(FaceDetector.open({ ...networks, detail: /** @type {any} */ ("finest") }), /fast, normal, fine/);
  await assert.rejects(FaceDetector.open({ ...networks, minScore: 0 }), ConfigError);
});

test("boxes outside of the image, and faces without points, are refused", async () => {
  await assert.rejects(detector.fit(empty, [100, 100, 20, 20]), InputError);
  const face = /** @type {any} */ ({ box: [1, 2, 3, 3], score: 1, points: [[1, 2]] });
  await assert.rejects(detector.fit(empty, face), /points of a face are \[\[1,2\]\]; expected five/);
});

test("a closed detector refuses images", async () => {
  const other = await FaceDetector.open({ ...networks, detail: "fine" });
  const running = other.detect(empty);
  await other.close();
  assert.deepEqual(await running, []);
  await assert.rejects(other.detect(empty), EngineError);
});
