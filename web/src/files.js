/** Files: bytes of the caller, of a file that a user has chosen, or of an address; and their SHA-256. */

import { BundleError, ConfigError, shown } from "./errors.js";

/** @typedef {Uint8Array | ArrayBuffer | Blob | string | URL} Source Content, file, or address of a file. */

/**
 * Return the content of a source, and its name in messages.
 *
 * @param {Source} source
 * @param {string} title What it is: "the bundle".
 * @param {number} limit Largest number of bytes.
 * @returns {Promise<{bytes: Uint8Array, name: string}>}
 * @throws {BundleError} File that cannot be fetched or is too large.
 * @throws {ConfigError} Another object.
 */
export async function readSource(source, title, limit) {
  if (source instanceof Uint8Array) return { bytes: check(source, title, limit), name: title };
  if (source instanceof ArrayBuffer) return { bytes: check(new Uint8Array(source), title, limit), name: title };
  if (source instanceof Blob) {
    const name = "name" in source && typeof source.name === "string" ? source.name : title;
    if (source.size > limit) throw tooLarge(name, source.size, limit);
    return { bytes: new Uint8Array(await source.arrayBuffer()), name };
  }
  if (typeof source === "string" || source instanceof URL) {
    return { bytes: await download(String(source), title, limit), name: nameOf(String(source)) };
  }
  throw new ConfigError(`${title} is ${shown(source)}; expected bytes, a Blob, or an address`);
}

/**
 * @param {Uint8Array} bytes
 * @param {string} name
 * @param {number} limit
 */
function check(bytes, name, limit) {
  if (bytes.length > limit) throw tooLarge(name, bytes.length, limit);
  return bytes;
}

/**
 * @param {string} address
 * @param {string} title
 * @param {number} limit
 */
async function download(address, title, limit) {
  const name = nameOf(address);
  const response = await fetch(address).catch((error) => {
    throw new BundleError(`cannot fetch ${title} from ${name}: ${error.message}; check the address and the network`);
  });
  if (!response.ok) {
    throw new BundleError(`cannot fetch ${title} from ${name}: HTTP ${response.status}; check the address`);
  }
  const size = Number(response.headers.get("content-length") ?? 0);
  if (size > limit) throw tooLarge(name, size, limit);
  if (response.body === null) return check(new Uint8Array(await response.arrayBuffer()), name, limit);
  return join(response.body.getReader(), name, limit);
}

/**
 * Read a stream to its end, or to the limit.
 *
 * @param {ReadableStreamDefaultReader<Uint8Array>} reader
 * @param {string} name
 * @param {number} limit
 */
async function join(reader, name, limit) {
  const chunks = [];
  let length = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    chunks.push(value);
    length += value.length;
    if (length > limit) {
      await reader.cancel();
      throw tooLarge(name, length, limit);
    }
  }
  const bytes = new Uint8Array(length);
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
  return bytes;
}

/**
 * @param {string} name
 * @param {number} size
 * @param {number} limit
 */
function tooLarge(name, size, limit) {
  return new BundleError(`${name} has at least ${size} bytes; expected at most ${limit}`);
}

/**
 * Return an address for messages: short, and without its query, which may contain a secret.
 *
 * @param {string} address
 */
function nameOf(address) {
  return address.startsWith("data:") ? "a data: address" : address.split(/[?#]/)[0];
}

/**
 * Return the SHA-256 of bytes in hexadecimal digits.
 *
 * @param {Uint8Array} bytes
 * @throws {ConfigError} Page without a secure context, which has no SHA-256.
 */
export async function sha256(bytes) {
  if (globalThis.crypto?.subtle === undefined) {
    throw new ConfigError("this page has no crypto.subtle, which checks files; serve it by https, or from localhost");
  }
  const digest = await crypto.subtle.digest("SHA-256", /** @type {Uint8Array<ArrayBuffer>} */ (bytes));
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
