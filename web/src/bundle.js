/**
 * Bundles: `.fer` files with the ONNX, engine files and a manifest that lists every byte.
 *
 * A bundle is untrusted until `openBundle` has checked names, sizes and SHA-256 of all members. The manifest is not
 * signed: the hashes detect damage and do not prove the origin.
 */

import { damaged, readArchive } from "./archive.js";
import { BundleDamagedError, BundleError, shown } from "./errors.js";
import { readSource, sha256 } from "./files.js";
import { MANIFEST, MODEL, parseManifest } from "./manifest.js";

/** @typedef {import("./manifest.js").Manifest} Manifest */

const MAX_BUNDLE_BYTES = 2 ** 30; // WebAssembly addresses 4 GiB, which contain the graph several times
const MAX_MANIFEST_BYTES = 4 << 20;

/** Checked bundle. */
export class Bundle {
  /**
   * @param {string} name Name of the file.
   * @param {Manifest} manifest
   * @param {Map<string, Uint8Array>} members Content by member.
   */
  constructor(name, manifest, members) {
    this.name = name;
    this.manifest = manifest;
    this.members = members;
  }

  /** Labels in the order of the model's outputs. */
  get labels() {
    return this.manifest.labels;
  }

  /** The ONNX that all engines run. */
  get graph() {
    return /** @type {Uint8Array} */ (this.members.get(MODEL));
  }
}

/**
 * Check all members of a bundle.
 *
 * @param {import("./files.js").Source} source Bytes, a `File` that a user has chosen, or an address.
 * @returns {Promise<Bundle>}
 * @throws {BundleError} File that cannot be read or is not a bundle, or member with an unsafe name or compression.
 * @throws {BundleDamagedError} Member that differs from the manifest.
 * @throws {BundleVersionError} Format that this version does not support.
 */
export async function openBundle(source) {
  const { bytes, name } = await readSource(source, "the bundle", MAX_BUNDLE_BYTES);
  const members = readArchive(bytes, name);
  const content = members.get(MANIFEST);
  if (content === undefined) throw new BundleError(`${name} is not a fer-edge bundle: it has no ${MANIFEST}`);
  if (content.length > MAX_MANIFEST_BYTES) {
    throw new BundleError(`${name}: ${MANIFEST} is larger than ${MAX_MANIFEST_BYTES} bytes`);
  }
  const manifest = parseManifest(content, name);
  members.delete(MANIFEST);
  checkList(manifest, members, name);
  for (const [member, data] of members) await checkMember(member, data, manifest.files[member], name);
  return new Bundle(name, manifest, members);
}

/**
 * Check that the manifest lists exactly the members, and that none is missing.
 *
 * @param {Manifest} manifest
 * @param {Map<string, Uint8Array>} members
 * @param {string} name
 */
function checkList({ files, engines }, members, name) {
  const unlisted = [...members.keys()].filter((member) => !Object.hasOwn(files, member));
  const engineFiles = engines.map(({ file }) => file).filter((file) => file !== null);
  const missing = [...new Set([...Object.keys(files), MODEL, ...engineFiles])].filter((member) => !members.has(member));
  if (unlisted.length > 0 || missing.length > 0) {
    throw damaged(name, `members not in the manifest: ${shown(unlisted)}; missing: ${shown(missing)}`);
  }
}

/**
 * @param {string} member
 * @param {Uint8Array} data
 * @param {{size: unknown, sha256: unknown}} expected
 * @param {string} name
 */
async function checkMember(member, data, expected, name) {
  if (data.length !== expected.size) {
    throw new BundleDamagedError(
      `${name}: ${member} has ${data.length} bytes; expected ${shown(expected.size)}, as in the manifest`,
    );
  }
  if ((await sha256(data)) !== expected.sha256) {
    throw new BundleDamagedError(
      `${name}: ${member} differs from the SHA-256 in the manifest; fetch or build it again`,
    );
  }
}
