/** Zip archives of bundles, in memory. All content is untrusted until it is checked. */

import { BundleDamagedError, BundleError, shown } from "./errors.js";

const MAX_MEMBERS = 64;
const END_SIGNATURE = 0x06054b50;
const DIRECTORY_SIGNATURE = 0x02014b50;
const MEMBER_SIGNATURE = 0x04034b50;
const END_BYTES = 22;
const DIRECTORY_BYTES = 46; // of an entry without its name
const MEMBER_BYTES = 30; // of a header without its name
const MAX_COMMENT = 0xffff;
const ENCRYPTED = 1; // bit of the flags

/**
 * Read the members of a zip archive: checks of names and sizes, without hashes.
 *
 * @param {Uint8Array} bytes
 * @param {string} name Name of the file in messages.
 * @returns {Map<string, Uint8Array>} Content by name, as views of `bytes`.
 * @throws {BundleError} Another file; too many or compressed members; unsafe names.
 * @throws {BundleDamagedError} Sizes that contradict each other or the file.
 */
export function readArchive(bytes, name) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = findEnd(view);
  if (end < 0) throw notAnArchive(bytes, name);
  const count = view.getUint16(end + 10, true);
  let offset = view.getUint32(end + 16, true);
  const first = offset;
  if (first + view.getUint32(end + 12, true) !== end) throw damaged(name, "its zip directory is not at its place");
  if (count > MAX_MEMBERS) throw new BundleError(`${name} has ${count} members; bundles have at most ${MAX_MEMBERS}`);
  /** @type {Map<string, Uint8Array>} */
  const members = new Map();
  let total = 0;
  for (let index = 0; index < count; index++) {
    const entry = readEntry(view, offset, end, name);
    offset = entry.next;
    total += entry.size;
    if (members.has(entry.name)) throw new BundleError(`${name} has two members of the same name`);
    members.set(entry.name, contentOf(bytes, view, entry, first, name));
  }
  if (offset !== end || total > bytes.length) {
    throw damaged(name, "its zip directory contradicts the size of the file");
  }
  return members;
}

/** @typedef {{name: string, size: number, offset: number, checksum: number, next: number}} Entry */

/**
 * Return the offset of the end record; -1 without one.
 *
 * @param {DataView} view
 */
function findEnd(view) {
  const last = view.byteLength - END_BYTES;
  for (let offset = last; offset >= Math.max(0, last - MAX_COMMENT); offset--) {
    const isEnd = view.getUint32(offset, true) === END_SIGNATURE;
    if (isEnd && offset + END_BYTES + view.getUint16(offset + 20, true) === view.byteLength) return offset;
  }
  return -1;
}

/**
 * @param {DataView} view
 * @param {number} offset
 * @param {number} end Offset of the end record.
 * @param {string} file
 * @returns {Entry}
 */
function readEntry(view, offset, end, file) {
  if (offset + DIRECTORY_BYTES > end || view.getUint32(offset, true) !== DIRECTORY_SIGNATURE) {
    throw damaged(file, "its zip directory cannot be read");
  }
  const [flags, method] = [view.getUint16(offset + 8, true), view.getUint16(offset + 10, true)];
  const [stored, size] = [view.getUint32(offset + 20, true), view.getUint32(offset + 24, true)];
  const length = view.getUint16(offset + 28, true);
  const next =
    offset + DIRECTORY_BYTES + length + view.getUint16(offset + 30, true) + view.getUint16(offset + 32, true);
  if (next > end) throw damaged(file, "its zip directory cannot be read");
  const name = decodeName(view, offset + DIRECTORY_BYTES, length, file);
  if (method !== 0 || (flags & ENCRYPTED) !== 0) {
    const cause = method === 0 ? "encrypted" : `compressed (zip method ${method})`;
    throw new BundleError(
      `${file}: member ${shown(name)} is ${cause}; expected members stored as they are: build the bundle again`,
    );
  }
  if (stored !== size) {
    throw damaged(file, `member ${shown(name)} has size ${size} and stored size ${stored} in the zip directory`);
  }
  return { name, size, offset: view.getUint32(offset + 42, true), checksum: view.getUint32(offset + 16, true), next };
}

/**
 * Return the name of a member.
 *
 * @param {DataView} view
 * @param {number} offset
 * @param {number} length
 * @param {string} file
 * @throws {BundleError} Name that is not a plain relative path.
 */
function decodeName(view, offset, length, file) {
  const bytes = new Uint8Array(view.buffer, view.byteOffset + offset, length);
  const name = new TextDecoder().decode(bytes); // a name that is not UTF-8 is not in the manifest
  const isUnsafe = /[\\:]/.test(name) || !isPrintable(name);
  if (isUnsafe || name.split("/").some((step) => step === "" || step === "." || step === "..")) {
    throw new BundleError(`${file}: unsafe member name ${shown(name)}; expected a plain relative path`);
  }
  return name;
}

/**
 * Return the content of a member.
 *
 * @param {Uint8Array} bytes
 * @param {DataView} view
 * @param {Entry} entry
 * @param {number} directory Offset of the zip directory, behind all members.
 * @param {string} file
 */
function contentOf(bytes, view, entry, directory, file) {
  const { offset } = entry;
  if (offset + MEMBER_BYTES > directory || view.getUint32(offset, true) !== MEMBER_SIGNATURE) {
    throw damaged(file, `member ${shown(entry.name)} is not where the zip directory expects it`);
  }
  const afterName = offset + MEMBER_BYTES + view.getUint16(offset + 26, true);
  const start = afterName + view.getUint16(offset + 28, true);
  const end = start + entry.size;
  if (end > directory || new TextDecoder().decode(bytes.subarray(offset + MEMBER_BYTES, afterName)) !== entry.name) {
    throw damaged(file, `member ${shown(entry.name)} contradicts the zip directory`);
  }
  const content = bytes.subarray(start, end);
  if (crc32(content) !== entry.checksum) throw damaged(file, `member ${shown(entry.name)} differs from its checksum`);
  return content;
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

/** @param {Uint8Array} bytes */
function crc32(bytes) {
  let value = ~0;
  for (let index = 0; index < bytes.length; index++) value = CRC_TABLE[(value ^ bytes[index]) & 0xff] ^ (value >>> 8);
  return ~value >>> 0;
}

/**
 * Return whether a text has only characters that a page or terminal shows, and spaces.
 *
 * @param {string} text
 */
export function isPrintable(text) {
  return !/[\p{C}\p{Z}]/u.test(text.replaceAll(" ", ""));
}

/**
 * @param {string} file
 * @param {string} cause
 */
export function damaged(file, cause) {
  return new BundleDamagedError(`${file} is damaged: ${cause}; fetch or build it again`);
}

/**
 * Return the error for a file that is not a zip archive.
 *
 * @param {Uint8Array} bytes
 * @param {string} name
 */
function notAnArchive(bytes, name) {
  if (bytes.length === 0) return new BundleDamagedError(`${name} is empty; expected a fer-edge bundle (.fer)`);
  const start = new TextDecoder("latin1").decode(bytes.subarray(0, 64)).trimStart();
  if (start.startsWith("PK")) {
    return new BundleDamagedError(`${name} is not a bundle, or is truncated; fetch or build it again`);
  }
  if (start.startsWith("version https://git-lfs")) {
    return new BundleError(`${name} is a Git LFS pointer; expected the bundle itself: git lfs pull`);
  }
  const isPage = start.startsWith("<");
  return new BundleError(
    isPage
      ? `${name} is a web page; expected a fer-edge bundle (.fer): check its address`
      : `${name} is not a fer-edge bundle (.fer); build one: fer-edge build-engine`,
  );
}
