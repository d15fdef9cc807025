/** Sessions of ONNX Runtime, and the order of their calls. */

import { ConfigError, EngineError, shown } from "./errors.js";

/**
 * Session of ONNX Runtime.
 *
 * @typedef {object} OrtSession
 * @property {readonly string[]} inputNames
 * @property {readonly string[]} outputNames
 * @property {(feeds: any, fetches: readonly string[]) => Promise<any>} run
 * @property {() => Promise<void>} release
 */

/**
 * The parts of the module onnxruntime-web that are used; onnxruntime-node has them too.
 *
 * @typedef {object} Ort
 * @property {{create(model: Uint8Array, options?: any): Promise<any>}} InferenceSession
 * @property {new (type: "uint8", data: Uint8Array, dims: readonly number[]) => any} Tensor
 * @property {{wasm?: {proxy?: boolean}}} [env]
 */

/**
 * How ONNX Runtime runs networks.
 *
 * @typedef {object} RunOptions
 * @property {Ort} ort The module onnxruntime-web.
 * @property {readonly string[]} [executionProviders] Execution providers of ONNX Runtime in order of preference, such
 *   as ["webgpu", "wasm"]; the default of the module, wasm, if missing.
 */

/** Calls that run one after another. */
export class Queue {
  /** @type {Promise<unknown>} */
  #last = Promise.resolve();

  /**
   * Run a function when all earlier ones have ended.
   *
   * @template T
   * @param {() => Promise<T>} task
   * @returns {Promise<T>}
   */
  run(task) {
    const result = this.#last.then(task);
    this.#last = result.catch(() => undefined);
    return result;
  }
}

// ONNX Runtime refuses a run while another one waits for the GPU, also of another session.
/** @type {WeakMap<object, Queue>} */
const QUEUES = new WeakMap();

/** Network loaded by ONNX Runtime; its only input is an image of bytes. */
export class Network {
  #ort;
  #session;
  #queue;
  #title;

  /**
   * @param {Ort} ort
   * @param {OrtSession} session
   * @param {Queue} queue
   * @param {string} title Name in messages.
   */
  constructor(ort, session, queue, title) {
    this.#ort = ort;
    this.#session = session;
    this.#queue = queue;
    this.#title = title;
  }

  /**
   * Load a network.
   *
   * @param {Uint8Array} model ONNX.
   * @param {readonly string[]} outputs Names of the outputs that are needed.
   * @param {RunOptions} options
   * @param {string} title Name in messages: "the recognizer".
   * @returns {Promise<Network>}
   * @throws {ConfigError} `ort` that is not onnxruntime-web.
   * @throws {EngineError} Network that ONNX Runtime refuses, or another network.
   */
  static async load(model, outputs, { ort, executionProviders }, title) {
    if (typeof ort?.InferenceSession?.create !== "function" || typeof ort.Tensor !== "function") {
      throw new ConfigError('ort is not ONNX Runtime; expected the module: import * as ort from "onnxruntime-web"');
    }
    if (ort.env?.wasm?.proxy) {
      // The proxy takes the buffer of an input away, which is used again here.
      throw new ConfigError("ort.env.wasm.proxy is true; set it to false, and run fer-edge in a worker instead");
    }
    if (executionProviders !== undefined && !Array.isArray(executionProviders)) {
      throw new ConfigError(`executionProviders is ${shown(executionProviders)}; expected an array: ["wasm"]`);
    }
    const queue = QUEUES.get(ort) ?? new Queue();
    QUEUES.set(ort, queue);
    const settings = executionProviders === undefined ? {} : { executionProviders: [...executionProviders] };
    /** @type {OrtSession} */
    const session = await queue
      .run(() => ort.InferenceSession.create(model, settings))
      .catch((error) => {
        throw new EngineError(`ONNX Runtime cannot load ${title}: ${oneLine(error)}`, { cause: error });
      });
    const missing = outputs.filter((name) => !session.outputNames.includes(name));
    if (missing.length > 0 || session.inputNames.length !== 1) {
      await session.release();
      throw new EngineError(
        `the graph of ${title} has ${session.inputNames.length} inputs and the outputs ` +
          `${session.outputNames.join(", ")}; expected one input, and ${outputs.join(", ")}`,
      );
    }
    return new Network(ort, session, queue, title);
  }

  /**
   * Return an input of the network with buffers of its own.
   *
   * @param {readonly [number, number, number, number]} dims Images, height, width and 3 channels.
   * @param {readonly string[]} outputs Names of the outputs.
   * @returns {Execution}
   */
  prepare(dims, outputs) {
    const input = new Uint8Array(dims[0] * dims[1] * dims[2] * dims[3]);
    const tensor = new this.#ort.Tensor("uint8", input, dims);
    const feeds = { [this.#session.inputNames[0]]: tensor };
    const run = async () => {
      try {
        return await this.#session.run(feeds, outputs);
      } catch (error) {
        throw new EngineError(`${this.#title} failed: ${oneLine(error)}`, { cause: error });
      }
    };
    return { input, run: () => this.#queue.run(run) };
  }

  /** Release the memory of the network, after its last run. */
  release() {
    return this.#queue.run(() => this.#session.release());
  }
}

/**
 * Input of fixed size of a network.
 *
 * @typedef {object} Execution
 * @property {Uint8Array} input Pixels, which the caller writes before each run.
 * @property {() => Promise<Record<string, {data: any, dims: readonly number[]}>>} run Run the network on `input`, and
 *   return its outputs by name.
 */

/** @param {unknown} error */
function oneLine(error) {
  return (error instanceof Error ? error.message : String(error)).replace(/\s+/g, " ").trim();
}
