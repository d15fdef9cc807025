/** Facial expression recognition in the browser: bundles of fer-edge on ONNX Runtime Web. */

export { boxFromCorners } from "./boxes.js";
export { Bundle, openBundle } from "./bundle.js";
export { FaceDetector } from "./detector.js";
export { makeDocument, personOf } from "./document.js";
export {
  BundleDamagedError,
  BundleError,
  BundleVersionError,
  ConfigError,
  EngineError,
  FerEdgeError,
  InputError,
  NonFiniteError,
} from "./errors.js";
export { Face } from "./face.js";
export { Recognizer } from "./recognizer.js";
export { ExpressionTracker } from "./tracker.js";

/** @typedef {import("./document.js").ResultDocument} ResultDocument */
/** @typedef {import("./recognizer.js").Expression} Expression */
/** @typedef {import("./tracker.js").Person} Person */
/** @typedef {import("./quality.js").Quality} Quality */
