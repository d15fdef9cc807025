import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ConfigError, EngineError, InputError, Recognizer } from "fer-edge";
import { assertClose } from "./close.js";
import { bundle, imageOf, ort, skip, vectors } from "./vectors.js";

/** @type {Recognizer} */
let recognizer;
before(async () => {
  recognizer = await Recognizer.open({ bundle, ort });
});
after(() => recognizer.close());

const image = { data: new Uint8ClampedArray(4 * 200 * 100).fill(128), width: 200, height: 100 };

test("expressions and qualities equal Python's", { skip }, async () => {
  assert.ok(vectors.recognition.length > 64, "64 face crops of FERPlus");
  for (const [index, { frame, box, expression }] of vectors.recognition.entries()) {
    const [{ quality, ...actual }] = await recognizer.recognize(imageOf(frame, index % 2 === 0), [box]);
    const { quality: expected, ...rest } = expression;
    assertClose(actual, rest, 1e-5, `expression ${index}`);
    for (const name of Object.keys(expected)) {
      assertClose(
        quality[/** @type {"noise"} */ (name)],
        expected[name],
        2e-5 * Math.max(1, Math.abs(expected[name])),
        `${index}.${name}`,
      );
    }
  }
});

test("labels are those of the bundle, and scores sum to 1", async () => {
  const [{ scores, label, score }] = await recognizer.recognize(image);
  assert.deepEqual(Object.keys(scores), [...recognizer.labels]);
  assert.equal(scores[label], score);
  assertClose(
    Object.values(scores).reduce((sum, value) => sum + value),
    1,
    1e-6,
  );
});

test("several calls at once give the results of calls one after another", async () => {
  const noise = { ...image, data: image.data.map((_, index) => (index * 2654435761) >>> 24) };
  const alone = [
    await recognizer.recognize(image, [[10, 10, 80, 80]]),
    await recognizer.recognize(noise, [null, null]),
  ];
  const together = await Promise.all([
    recognizer.recognize(image, [[10, 10, 80, 80]]),
    recognizer.recognize(noise, [null, null]),
  ]);
  assert.deepEqual(together, alone);
});

for (const [cause, call, message] of /** @type {[string, () => Promise<unknown>, RegExp][]} */ ([
  ["no image", () => recognizer.recognize(/** @type {any} */ (null)), /the image is null; expected ImageData/],
  [
    "an element",
    () => recognizer.recognize(/** @type {any} */ (new Blob())),
    /the image is of type Blob; expected ImageData/,
  ],
  ["an empty image", () => recognizer.recognize({ ...image, width: 0 }), /the image is empty: 0 x 100 pixels/],
  [
    "missing bytes",
    () => recognizer.recognize({ ...image, height: 101 }),
    /80000 bytes for 200 x 101 pixels; expected 80800/,
  ],
  [
    "one box",
    () => recognizer.recognize(image, /** @type {any} */ ([1, 2, 3, 4])),
    /boxes is \[1,2,3,4\]; expected an array/,
  ],
  ["text", () => recognizer.recognize(image, /** @type {any} */ (["face"])), /box/],
  ["corners", () => recognizer.recognize(image, [[100, 10, 150, 70]]), /looks like corners .* boxFromCorners/],
  ["fractions", () => recognizer.recognize(image, [[0.2, 0.1, 0.5, 0.5]]), /fractions of the frame/],
])) {
  test(`${cause} instead of an image with boxes is refused`, async () => {
    await assert.rejects(call, (error) => error instanceof InputError && message.test(error.message));
  });
}

test("a closed recognizer refuses images after the calls that have begun", async () => {
  const other = await Recognizer.open({ bundle, ort });
  const running = other.recognize(image);
  await other.close();
  await other.close();
  assert.equal((await running).length, 1);
  await assert.rejects(other.recognize(image), EngineError);
});

test("another object than ONNX Runtime or a bundle is refused", async () => {
  await assert.rejects(Recognizer.open({ bundle, ort: /** @type {any} */ ({}) }), ConfigError);
  await assert.rejects(Recognizer.open({ bundle: /** @type {any} */ ("edge.fer"), ort }), ConfigError);
  const proxy = { ...ort, env: { wasm: { proxy: true } } };
  await assert.rejects(Recognizer.open({ bundle, ort: proxy }), /proxy is true; set it to false/);
});

test("an unknown execution provider is an error in one line", async () => {
  await assert.rejects(Recognizer.open({ bundle, ort, executionProviders: ["abacus"] }), (error) => {
    return error instanceof EngineError && /cannot load the model: .*abacus/.test(error.message);
  });
});
