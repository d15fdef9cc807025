import assert from "node:assert/strict";
import { test } from "node:test";
import { ConfigError, EngineError, ExpressionTracker, FaceDetector, InputError, Recognizer } from "fer-edge";
import { assertClose } from "./close.js";
import { bundle, imageOf, networks, ort, skip, vectors } from "./vectors.js";

// The mesh follows its own points, so that differences of 1e-4 pixels grow to 0.05 pixels within a second. The
// probabilities of the laughing face do not notice; those of the neutral one do.
const TOLERANCES = { happiness: 1e-4, neutral: 1e-2 };

/** @param {any} settings Python's settings. */
function optionsOf({ detect_every: detectEvery, ...settings }) {
  return detectEvery === undefined ? settings : { detectEvery, ...settings };
}

test("people of a clip equal Python's", { skip }, async () => {
  const { rate, frames, runs } = vectors.tracking;
  for (const { settings, people } of runs) {
    const tracker = await ExpressionTracker.open({ bundle, ...networks, ...optionsOf(settings) });
    for (const [index, frame] of frames.entries()) {
      const where = `frame ${index} with ${JSON.stringify(settings)}`;
      const actual = await tracker.update(imageOf(frame), index / rate);
      assert.deepEqual(actual.map(summaryOf), people[index].map(summaryOf), where);
      for (const [place, person] of people[index].entries()) {
        assertClose(actual[place].face, person.face, 0.1, `${where}: face`);
        const tolerance = TOLERANCES[/** @type {"neutral"} */ (person.expression.label)];
        assertClose(actual[place].expression.scores, person.expression.scores, tolerance, `${where}: scores`);
        assertClose(actual[place].expression.derived, person.expression.derived, tolerance, `${where}: derived`);
        assertClose(actual[place].raw.scores, person.raw.scores, 2 * tolerance, `${where}: raw scores`);
        assert.deepEqual(Object.keys(actual[place].quality), Object.keys(person.quality));
      }
    }
    await tracker.close();
  }
});

/** @param {import("fer-edge").Person} person */
function summaryOf({ id, expression, raw, since, fresh }) {
  const { label, certain, warning } = expression;
  return { id, label, certain, warning, raw: raw.label, since, fresh };
}

test("trackers that share networks do not disturb each other", { skip }, async () => {
  const detector = await FaceDetector.open(networks);
  const recognizer = await Recognizer.open({ bundle, ort });
  const { rate, frames, runs } = vectors.tracking;
  const trackers = [
    await ExpressionTracker.open({ detector, recognizer }),
    await ExpressionTracker.open({ detector, recognizer }),
  ];
  for (const index of [0, 1, 2]) {
    const images = [imageOf(frames[index]), imageOf(frames[index + 8])];
    const [people] = await Promise.all(trackers.map((tracker, place) => tracker.update(images[place], index / rate)));
    assert.deepEqual(people.map(summaryOf), runs[0].people[index].map(summaryOf));
    assertClose(people[0].expression.scores, runs[0].people[index][0].expression.scores, 1e-4);
  }
  for (const tracker of trackers) await tracker.close();
  assert.equal((await detector.detect(imageOf(frames[0]))).length, 1); // still open
  await detector.close();
  await recognizer.close();
  const late = await ExpressionTracker.open({ detector, recognizer });
  await assert.rejects(late.update(imageOf(frames[0]), 1), EngineError);
});

test("another object than an open network is refused", async () => {
  const detector = /** @type {any} */ (networks.detector);
  await assert.rejects(ExpressionTracker.open({ detector, recognizer: /** @type {any} */ (null) }), ConfigError);
});

const empty = { data: new Uint8ClampedArray(4 * 64 * 48), width: 64, height: 48 };

test("times that do not increase are refused, and images after close", async () => {
  const tracker = await ExpressionTracker.open({ bundle, ...networks });
  assert.deepEqual(await tracker.update(empty, 1), []);
  await assert.rejects(tracker.update(empty, 1), (error) => {
    return (
      error instanceof InputError && error.message === "time is 1 s; expected more than 1 s, the time of the last image"
    );
  });
  await assert.rejects(tracker.update(empty, NaN), InputError);
  assert.deepEqual(await tracker.update(empty), []); // the time of the page
  await tracker.close();
  await assert.rejects(tracker.update(empty), EngineError);
});

test("trackers share open networks, and leave them open", async () => {
  const recognizer = await Recognizer.open({ bundle, ort: networks.ort });
  const detector = await FaceDetector.open(networks);
  for (let index = 0; index < 2; index++) {
    const tracker = await ExpressionTracker.open({ detector, recognizer, faces: 2 });
    assert.deepEqual(await tracker.update(empty, 1), []);
    await tracker.close();
  }
  assert.equal((await recognizer.recognize(empty)).length, 1);
  await assert.rejects(ExpressionTracker.open({ .../** @type {any} */ (networks), recognizer }), ConfigError);
  await detector.close();
  await recognizer.close();
});

for (const options of [
  { faces: 0 },
  { detectEvery: 1.5 },
  { hysteresis: 1 },
  { patience: 0 },
  { smoothing: 1 },
  { smoothing: { cutoff: 0 } },
  { smoothing: { speed: 1 } },
  { detect_every: 15 },
]) {
  test(`${JSON.stringify(options)} is refused`, async () => {
    await assert.rejects(ExpressionTracker.open({ bundle, ...networks, .../** @type {any} */ (options) }), ConfigError);
  });
}
