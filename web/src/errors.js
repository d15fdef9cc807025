/** Errors of fer-edge. Messages state the cause, the expected value and the next step, in one line. */

const MAX_SHOWN = 80; // characters of a wrong value in a message

/** Base of all errors of fer-edge. */
export class FerEdgeError extends Error {
  /** @param {string} message @param {ErrorOptions} [options] */
  constructor(message, options) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** Option with a wrong type or value. */
export class ConfigError extends FerEdgeError {}

/** Bundle or face network that cannot be read. */
export class BundleError extends FerEdgeError {}

/** Content that contradicts the manifest or its SHA-256. */
export class BundleDamagedError extends BundleError {}

/** Bundle format that this version does not support. */
export class BundleVersionError extends BundleError {}

/** Failure of ONNX Runtime, or use after `close`. */
export class EngineError extends FerEdgeError {}

/** NaN or infinity in outputs. */
export class NonFiniteError extends FerEdgeError {}

/** Image, box or time with a wrong type, shape or range. */
export class InputError extends FerEdgeError {}

/**
 * Format a wrong value for a message: on one line, at most 80 characters.
 *
 * @param {unknown} value
 * @returns {string}
 */
export function shown(value) {
  let text;
  try {
    text =
      JSON.stringify(value, (_, inner) => (typeof inner === "number" ? plainNumber(inner) : inner)) ?? String(value);
  } catch {
    text = `of type ${typeof value}`;
  }
  text = text.replace(/\s+/g, " ");
  return text.length <= MAX_SHOWN ? text : `${text.slice(0, MAX_SHOWN)}...`;
}

/** @param {number} value */
function plainNumber(value) {
  return Number.isFinite(value) ? value : String(value); // JSON has neither NaN nor infinity
}
