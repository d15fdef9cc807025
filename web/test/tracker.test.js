import assert from "node:assert/strict";
import { test } from "node:test";
import { ConfigError, EngineError, ExpressionTracker, FaceDetector, InputError, Recognizer } from "fer-edge";
import { assertClose } from "./close.js";
import { bundle, imageOf, networks, skip, vectors } from "./vectors.js";

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

const empty = { data: new Uint8ClampedArray(4 * 64 * 48), width: 64, height: 48 };

test("times that do not increase are refused, and images after close", async () => {
  const tracker = await ExpressionTracker.open({ bundle, ...networks });
  assert.deepEqual(await tracker.update(empty, 1), []);
  await assert.rejects(tracker.update(empty, 1), (error) => {
    return error instanceof InputError && error.message === "time is 1 s; expected more than 1 s, the time of the last image";
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
  { faces: 0 }, { detectEvery: 1.5 }, { hysteresis: 1 }, { patience: 0 }, { smoothing: 1 }, { smoothing: { cutoff: 0 } },
  { smoothing: { speed: 1 } }, { detect_every: 15 },
]) {
  test(`${JSON.stringify(options)} is refused`, async () => {
    await assert.rejects(ExpressionTracker.open({ bundle, ...networks, .../** @type {any} */ (options) }), ConfigError);
  });
}
