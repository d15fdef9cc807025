import assert from "node:assert/strict";
import { test } from "node:test";
import { circumplex, coordinatesOf } from "../src/circumplex.js";
import { makeDocument, personOf } from "../src/document.js";
import { canonical } from "../src/labels.js";
import { suppress } from "../src/networks.js";
import { general, remainder, roundHalfEven } from "../src/numbers.js";
import { Smoother } from "../src/smoothing.js";
import { assertClose } from "./close.js";
import { skip, vectors } from "./vectors.js";

test("merged detections equal Python's", { skip }, () => {
  for (const { detections, merged } of vectors.suppression) assertClose(suppress(detections), merged, 1e-9);
});

test("smoothed probabilities and labels equal Python's", { skip }, () => {
  for (const { settings, hysteresis, reset, steps } of vectors.smoothing) {
    const { cutoff, beta, speed_cutoff: speedCutoff } = settings ?? {};
    const smoother = new Smoother(settings && { cutoff, beta, speedCutoff }, hysteresis, 8);
    for (const [index, { time, scores, smooth, ...state }] of steps.entries()) {
      if (index === reset) smoother.reset();
      assertClose([...smoother.update(scores, time)], smooth, 1e-9, `step ${index}`);
      const { label, since, minScore } = smoother;
      assertClose({ label, since, min_score: minScore }, state, 1e-9, `step ${index}`);
    }
  }
});

test("names of expressions, valence and arousal equal Python's", { skip }, () => {
  const { synonyms, scores, derived } = vectors.labels;
  for (const [name, label] of Object.entries(synonyms)) assert.equal(canonical(` ${name.toUpperCase()}`), label);
  assertClose(circumplex(Object.values(scores), coordinatesOf(Object.keys(scores))), derived, 1e-12);
  assert.equal(coordinatesOf(["neutral", "boredom"]), null);
});

test("documents equal Python's", { skip }, () => {
  for (const { person, settings, document } of vectors.documents) {
    const isTracked = "id" in person;
    const people = [isTracked ? person : personOf(person.expression, person.face)];
    assert.deepEqual(makeDocument({ source: "camera", people, ...settings }), document);
  }
});

test("numbers are rounded and formatted as in Python", () => {
  assert.deepEqual([0.5, 1.5, 2.4, -0.5, -1.5].map(roundHalfEven), [0, 2, 2, 0, -2]);
  assert.deepEqual(
    [9, 23.456, 1234, 0.00001234, 0].map((value) => general(value, 3)),
    ["9", "23.5", "1.23e+03", "1.23e-05", "0"],
  );
  assertClose(remainder(6, 2 * Math.PI), 6 - 2 * Math.PI, 1e-15);
});
