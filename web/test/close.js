/** Comparison of nested values with a tolerance for numbers. */

import assert from "node:assert/strict";

/**
 * Fail unless two values have the same structure, texts and flags, and numbers that differ by at most a tolerance.
 *
 * @param {any} actual
 * @param {any} expected
 * @param {number} tolerance
 * @param {string} [where]
 */
export function assertClose(actual, expected, tolerance, where = "value") {
  if (typeof expected === "number" && typeof actual === "number") {
    assert.ok(
      Math.abs(actual - expected) <= tolerance,
      `${where}: ${actual}, expected ${expected} within ${tolerance}`,
    );
  } else if (typeof expected === "object" && expected !== null) {
    assert.ok(typeof actual === "object" && actual !== null, `${where}: ${actual}`);
    assert.deepEqual(Object.keys(actual), Object.keys(expected), where);
    for (const key of Object.keys(expected)) assertClose(actual[key], expected[key], tolerance, `${where}.${key}`);
  } else {
    assert.deepEqual(actual, expected, where);
  }
}
