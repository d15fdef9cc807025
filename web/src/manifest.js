/** The bundle manifest: schema and validation. A manifest may come from anyone. */

import { isPrintable } from "./archive.js";
import { BundleDamagedError, BundleVersionError, shown } from "./errors.js";

/**
 * Entry of a bundle's engine; the web runs `model.onnx` and needs none of them.
 *
 * @typedef {object} EngineEntry
 * @property {string} engine Name of the engine: "tensorrt".
 * @property {string[]} targets
 * @property {string} engine_version
 * @property {string | null} file Member name of the engine file.
 * @property {string | null} platform
 */

/**
 * Content of a bundle's `manifest.json`.
 *
 * @typedef {object} Manifest
 * @property {number} format
 * @property {string} name Name of the model.
 * @property {string[]} labels Labels in the order of the model's outputs.
 * @property {string} head Head whose probabilities the model returns.
 * @property {string} precision Precision of the ONNX: "fp32", "fp16", "int8" or "mixed".
 * @property {number} max_batch
 * @property {EngineEntry[]} engines
 * @property {Record<string, {sha256: string, size: number}>} files SHA-256 and size by member.
 * @property {Record<string, unknown>} checkpoint SHA-256, metrics and provenance of the checkpoint.
 * @property {Record<string, unknown>} [provenance] Inputs of the build besides the checkpoint: ranges, data, recipe.
 * @property {Record<string, string>} created_with Version by tool.
 */

export const FORMAT_VERSION = 1;
export const MANIFEST = "manifest.json";
export const MODEL = "model.onnx";
const MAX_BATCH = 1024;
const HEADS = ["label", "text", "mean"];
const PRECISIONS = ["fp32", "fp16", "int8", "mixed"];
const INPUT = { name: "images", dtype: "uint8", layout: "NHWC", height: 112, width: 112, color: "RGB" };
// Control characters, changes of the writing direction and lone surrogates; newlines and tabs are allowed.
const UNPRINTABLE = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]|\p{Surrogate}/u;

/** @typedef {(value: any) => boolean} Check */

/** @type {Check} */
const isText = (value) => typeof value === "string";
/** @type {Check} */
const isTexts = (value) => Array.isArray(value) && value.every(isText);
/** @type {Check} */
const isTable = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
/** @type {Check} */
const isTextOrNull = (value) => value === null || isText(value);

/** Check, description and whether the field may be missing. @typedef {[Check, string, boolean?]} Field */

/** @type {Record<string, Field>} */
const FIELDS = {
  name: [isText, "a string"],
  labels: [isTexts, "a list of strings"],
  head: [(value) => HEADS.includes(value), `one of ${HEADS.join(", ")}`],
  precision: [isText, "a string"],
  max_batch: [
    (value) => Number.isInteger(value) && value >= 1 && value <= MAX_BATCH,
    `a whole number from 1 to ${MAX_BATCH}`,
  ],
  engines: [(value) => Array.isArray(value) && value.every(isTable), "a list of tables"],
  words: [isTexts, "a list of strings", true],
  templates: [isTexts, "a list of strings", true],
  text_source: [isText, "a string", true],
  input: [isTable, "a table", true],
  operators: [isTable, "a table", true],
  checkpoint: [isTable, "a table", true],
  provenance: [isTable, "a table", true],
  created_with: [(value) => isTable(value) && Object.values(value).every(isText), "a table of strings", true],
  files: [
    (value) => isTable(value) && Object.values(value).every(isTable),
    "a table of SHA-256 and size by member",
    true,
  ],
};
/** @type {Record<string, Field>} */
const ENGINE_FIELDS = {
  engine: [isText, "a string"],
  targets: [isTexts, "a list of strings"],
  engine_version: [isText, "a string"],
  file: [isTextOrNull, "a string or null"],
  platform: [isTextOrNull, "a string or null"],
  proof: [isTable, "a table", true],
  options: [isTable, "a table", true],
};

/**
 * Parse and check the content of `manifest.json`.
 *
 * @param {Uint8Array} bytes
 * @param {string} name Name of the bundle in messages.
 * @returns {Manifest}
 * @throws {BundleDamagedError} Invalid JSON, an unknown or missing field, or a value of another type or out of bounds.
 * @throws {BundleVersionError} Unknown format, precision or input.
 */
export function parseManifest(bytes, name) {
  /** @param {string} cause */
  const invalid = (cause) => new BundleDamagedError(`${name}: invalid ${MANIFEST}: ${cause}`);
  /** @type {any} */
  let values;
  try {
    values = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    throw invalid(`it is not JSON: ${error instanceof Error ? error.message : error}`);
  }
  if (!isTable(values)) throw invalid("it is not a table");
  if (values.format !== FORMAT_VERSION) {
    throw new BundleVersionError(
      `${name} has bundle format ${shown(values.format)}; this version reads ${FORMAT_VERSION}: update fer-edge, or ` +
        "build the bundle again",
    );
  }
  const { format, ...fields } = values;
  checkFields(fields, FIELDS, "", invalid);
  fields.engines.forEach((/** @type {any} */ entry, /** @type {number} */ index) =>
    checkFields(entry, ENGINE_FIELDS, `engines[${index}].`, invalid),
  );
  checkTexts(fields, invalid);
  checkLabels(fields.labels, fields.words ?? [], invalid);
  checkSupported(fields, name);
  return { checkpoint: {}, created_with: {}, files: {}, ...values };
}

/**
 * @param {any} values
 * @param {Record<string, Field>} fields
 * @param {string} where
 * @param {(cause: string) => Error} invalid
 */
function checkFields(values, fields, where, invalid) {
  for (const name of Object.keys(values)) {
    if (!Object.hasOwn(fields, name)) throw invalid(`unknown field ${shown(where + name)}; update fer-edge`);
  }
  for (const [name, [check, expected, isOptional]] of Object.entries(fields)) {
    if (!Object.hasOwn(values, name)) {
      if (!isOptional) throw invalid(`missing field ${where}${name}`);
    } else if (!check(values[name])) {
      throw invalid(`${where}${name} is ${shown(values[name])}; expected ${expected}`);
    }
  }
}

/**
 * Refuse text with control characters. Free-form values (checkpoint, proof, options) may contain newlines and tabs.
 *
 * @param {any} fields
 * @param {(cause: string) => Error} invalid
 */
function checkTexts(fields, invalid) {
  const { checkpoint, operators, input, files, engines, ...names } = fields;
  const entries = engines.map((/** @type {any} */ { proof, options, ...entry }) => entry);
  for (const text of textsOf([names, entries])) {
    if (!isPrintable(text)) throw invalid(`${shown(text)} contains unprintable characters; expected printable text`);
  }
  for (const text of textsOf(fields)) {
    if (UNPRINTABLE.test(text))
      throw invalid(`${shown(text)} contains unprintable characters; expected printable text`);
  }
}

/**
 * Yield every string at any depth, keys included.
 *
 * @param {unknown} value
 * @returns {Generator<string>}
 */
function* textsOf(value) {
  if (typeof value === "string") {
    yield value;
  } else if (typeof value === "object" && value !== null) {
    for (const [name, inner] of Object.entries(value)) {
      yield name;
      yield* textsOf(inner);
    }
  }
}

/**
 * Check that labels are unique, since scores are looked up by label.
 *
 * @param {string[]} labels
 * @param {string[]} words
 * @param {(cause: string) => Error} invalid
 */
function checkLabels(labels, words, invalid) {
  if (labels.length < 2) throw invalid(`labels are ${shown(labels)}; expected at least 2`);
  if (new Set(labels).size !== labels.length || labels.some((label) => label.trim() === "")) {
    throw invalid(`labels are ${shown(labels)}; expected unique labels that are not empty`);
  }
  if (words.length !== 0 && words.length !== labels.length) {
    throw invalid(`${words.length} words for ${labels.length} labels; expected one per label, or none`);
  }
}

/**
 * @param {any} fields
 * @param {string} name
 */
function checkSupported({ precision, input = INPUT }, name) {
  if (!PRECISIONS.includes(precision)) {
    throw new BundleVersionError(
      `${name} has precision ${shown(precision)}; this version reads ${PRECISIONS.join(", ")}: update fer-edge`,
    );
  }
  const expected = Object.entries(INPUT);
  if (Object.keys(input).length !== expected.length || expected.some(([key, value]) => input[key] !== value)) {
    throw new BundleVersionError(
      `${name} needs input ${shown(input)}; this version gives ${shown(INPUT)}: update fer-edge`,
    );
  }
}
