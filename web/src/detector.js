/** Face detector: faces in images, with landmarks. */

import { findRegion, parseBox } from "./boxes.js";
import { parseFrame } from "./crop.js";
import { BundleDamagedError, ConfigError, EngineError, shown } from "./errors.js";
import { Face, isFace, tiltOf } from "./face.js";
import { readSource, sha256 } from "./files.js";
import { faceOf, MeshNetwork, MIN_PRESENCE, SINGLE, squareAround } from "./mesh.js";
import { cornersOf, faceBox, MAX_OVERLAP, overlap, SIZES, suppress } from "./networks.js";
import { Search } from "./search.js";
import { Queue } from "./session.js";

/** @typedef {import("./crop.js").ImageLike} ImageLike */
/** @typedef {import("./face.js").FaceLike} FaceLike */
/** @typedef {import("./files.js").Source} Source */
/** @typedef {import("./networks.js").Detail} Detail */
/** @typedef {import("./pillow.js").View} View */

// Angles in radians of a face whose box alone is known, tried in this order.
const ANGLES = [0, Math.PI / 6, -Math.PI / 6];
const MIN_SCORE = 0.35; // of a detection that the mesh confirms
export const MIN_SCORE_ALONE = 0.7; // of a detection that it does not confirm
export const MIN_BOX = 16; // side of a face box in pixels
const MAX_NETWORK_BYTES = 16 << 20;
// SHA-256 of the networks in this package; scripts/fetch_faces.py makes them.
const HASHES = {
  detector: "206d0f26e1ab222bd4767ea8ea3fe5bd9298342d68d0ac4e1a7e9cb72f72193d",
  mesh: "18aecee5501817e656da95a17dc0b0a6e790e86026604872fe3c496fad1d7572",
};

/**
 * @typedef {object} DetectorOptions
 * @property {Source} detector The file `detector.onnx` of this package: bytes, or its address.
 * @property {Source} mesh The file `landmarks.onnx` of this package: bytes, or its address.
 * @property {number} [minScore] Smallest score of a detection, 0 to 1; 0.35 by default. A face that the mesh does not
 *   confirm needs 0.7.
 * @property {Detail} [detail] Size of the images that the network searches: "fast" for large faces only, "normal" by
 *   default, "fine" for small faces too, at three times the time.
 */

/**
 * Detector of faces in images. Calls run one after another.
 *
 *     const detector = await FaceDetector.open({ ort, detector: "detector.onnx", mesh: "landmarks.onnx" });
 *     const faces = await detector.detect(image);
 *     const expressions = await recognizer.recognize(image, faces);
 */
export class FaceDetector {
  #search;
  #mesh;
  #minScore;
  #queue = new Queue();
  #isClosed = false;

  /**
   * @private
   * @param {Search} search
   * @param {MeshNetwork} mesh
   * @param {number} minScore
   */
  constructor(search, mesh, minScore) {
    this.#search = search;
    this.#mesh = mesh;
    this.#minScore = minScore;
  }

  /**
   * Check and load the networks, and run them once, so that the first image takes no longer than the others.
   *
   * @param {DetectorOptions & import("./session.js").RunOptions} options
   * @returns {Promise<FaceDetector>}
   * @throws {ConfigError} Option of another type or out of range.
   * @throws {BundleError} Network that cannot be fetched, or another file.
   * @throws {EngineError} Network that ONNX Runtime cannot load or run.
   */
  static async open({ detector, mesh, minScore = MIN_SCORE, detail = "normal", ...options }) {
    if (!Object.hasOwn(SIZES, detail)) {
      throw new ConfigError(`detail is ${shown(detail)}; expected one of: ${Object.keys(SIZES).join(", ")}`);
    }
    if (!(typeof minScore === "number" && minScore > 0 && minScore <= 1)) {
      throw new ConfigError(`minScore is ${shown(minScore)}; expected a number above 0, up to 1`);
    }
    const [model, meshModel] = await Promise.all([readNetwork(detector, "detector"), readNetwork(mesh, "mesh")]);
    const search = await Search.load(model, detail, options);
    const meshNetwork = await MeshNetwork.load(meshModel, options).catch(async (error) => {
      await search.release();
      throw error;
    });
    const faces = new FaceDetector(search, meshNetwork, minScore);
    await faces.#warmUp().catch(async (error) => {
      await faces.close();
      throw error;
    });
    return faces;
  }

  async #warmUp() {
    const frame = parseFrame({ data: new Uint8Array(4 * 640 * 480), width: 640, height: 480 });
    await this.#search.run(frame, this.#minScore);
    await this.#mesh.fit(frame, squareAround([200, 200, 100, 100], 0));
  }

  /**
   * Find the faces of an image.
   *
   * @param {ImageLike} image `ImageData`; alpha is ignored.
   * @returns {Promise<Face[]>} Faces with boxes of at least 16 pixels, the largest first; empty without one.
   * @throws {InputError} Invalid image.
   * @throws {EngineError} The detector is closed, or ONNX Runtime failed.
   */
  async detect(image) {
    this.#checkOpen();
    return this.#queue.run(async () => {
      const frame = parseFrame(image);
      const faces = [];
      for (const face of await this.#find(frame)) {
        const mesh = await this.#mesh.fit(frame, squareOf(face), SINGLE);
        faces.push(
          mesh.presence < MIN_PRESENCE
            ? new Face(face.box, face.score, face.points, mesh.presence)
            : faceOf(mesh, face.score, true),
        );
      }
      return distinct(faces.filter(isCertain)).sort((first, second) => second.box[2] - first.box[2]);
    });
  }

  /**
   * Fit the face mesh to a face whose place is known, from another detector or an earlier image.
   *
   * @param {ImageLike} image `ImageData`; alpha is ignored.
   * @param {FaceLike | ArrayLike<number>} face Face of an earlier image, or face box: x, y, width, height in pixels.
   * @returns {Promise<Face | null>} The face, with a score of 1 for a box; null if the mesh does not find a face there.
   *   The mesh alone mistakes about 4 % of boxes without a face for one: `detect` is stricter.
   * @throws {InputError} Invalid image or box.
   * @throws {EngineError} The detector is closed, or ONNX Runtime failed.
   */
  async fit(image, face) {
    this.#checkOpen();
    return this.#queue.run(async () => {
      const frame = parseFrame(image);
      if (isFace(face)) return this.#follow(frame, face, true);
      const box = parseBox(face);
      findRegion(box, frame.width, frame.height); // refuses boxes outside of the image
      for (const angle of ANGLES) {
        const mesh = await this.#mesh.fit(frame, squareAround(box, angle), SINGLE);
        if (mesh.presence >= MIN_PRESENCE) return faceOf(mesh, 1, true);
      }
      return null;
    });
  }

  /**
   * Find candidates by the detection network alone, without the mesh, for the tracker.
   *
   * @internal
   * @param {View} frame
   */
  async search(frame) {
    this.#checkOpen();
    return this.#queue.run(() => this.#find(frame));
  }

  /** @param {View} frame */
  async #find(frame) {
    const detections = suppress(await this.#search.run(frame, this.#minScore));
    return detections.map(({ corners, score, points }) => new Face(faceBox(corners), score, points));
  }

  /**
   * Fit the mesh to a face of an earlier frame, for the tracker.
   *
   * @internal
   * @param {View} frame
   * @param {Face} face
   */
  async follow(frame, face) {
    this.#checkOpen();
    return this.#queue.run(() => this.#follow(frame, face, false));
  }

  /**
   * @param {View} frame
   * @param {FaceLike} face
   * @param {boolean} withLandmarks
   */
  async #follow(frame, face, withLandmarks) {
    const mesh = await this.#mesh.fit(frame, squareOf(face));
    return mesh.presence >= MIN_PRESENCE ? faceOf(mesh, face.score, withLandmarks) : null;
  }

  #checkOpen() {
    if (this.#isClosed) throw new EngineError("the face detector is closed; open it again");
  }

  /** Release the networks after the calls that have begun; may be called several times. */
  async close() {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#queue.run(async () => {
      await this.#search.release();
      await this.#mesh.release();
    });
  }
}

/**
 * Return the mesh's input for a face of an earlier frame, or of the detection network.
 *
 * @param {FaceLike} face
 */
function squareOf({ square, box, points }) {
  return square ?? squareAround(box, tiltOf(points));
}

/** @param {Face} face */
function isCertain({ presence, score, box }) {
  return ((presence ?? 1) >= MIN_PRESENCE || score >= MIN_SCORE_ALONE) && box[2] >= MIN_BOX;
}

/**
 * Return faces that do not overlap: several detections may lead the mesh to the same face.
 *
 * @param {Face[]} faces
 */
function distinct(faces) {
  /** @type {Face[]} */
  const apart = [];
  for (const face of faces.sort((first, second) => second.score - first.score)) {
    if (apart.every((other) => overlap(cornersOf(face), cornersOf(other)) <= MAX_OVERLAP)) apart.push(face);
  }
  return apart;
}

/**
 * Return the content of a face network.
 *
 * @param {Source} source
 * @param {keyof HASHES} kind
 */
async function readNetwork(source, kind) {
  const { bytes, name } = await readSource(source, `the option ${kind}`, MAX_NETWORK_BYTES);
  if ((await sha256(bytes)) !== HASHES[kind]) {
    const file = kind === "mesh" ? "landmarks.onnx" : "detector.onnx";
    throw new BundleDamagedError(`${name} is another file than fer-edge's ${file}; copy it from this package again`);
  }
  return bytes;
}
