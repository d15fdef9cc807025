import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { BundleDamagedError, BundleError, BundleVersionError, ConfigError, openBundle, Recognizer } from "fer-edge";
import { readSource } from "../src/files.js";
import { bundle, ort, weights } from "./vectors.js";

const bytes = weights("edge.fer");
/** @type {any} */
const manifest = bundle.manifest;

/**
 * Return a zip archive.
 *
 * @param {[string, Uint8Array][]} members
 * @param {{method?: number, stored?: number}} [settings] Compression method and stored size in the directory.
 */
function zip(members, { method = 0, stored } = {}) {
  const [local, directory] = [[], []].map(() => /** @type {Buffer[]} */ ([]));
  let offset = 0;
  for (const [name, content] of members) {
    const text = Buffer.from(name);
    const fields = Buffer.alloc(26); // from the version to the length of the extra field
    fields.writeUInt16LE(method, 4);
    fields.writeUInt32LE(crc32(content), 10);
    fields.writeUInt32LE(stored ?? content.length, 14);
    fields.writeUInt32LE(content.length, 18);
    fields.writeUInt16LE(text.length, 22);
    const place = Buffer.alloc(14);
    place.writeUInt32LE(offset, 10);
    local.push(Buffer.from("PK\x03\x04"), fields, text, Buffer.from(content));
    directory.push(Buffer.from("PK\x01\x02\0\0"), fields, place, text);
    offset += 30 + text.length + content.length;
  }
  const end = Buffer.alloc(18);
  end.writeUInt16LE(members.length, 4);
  end.writeUInt16LE(members.length, 6);
  end.writeUInt32LE(Buffer.concat(directory).length, 8);
  end.writeUInt32LE(offset, 12);
  return new Uint8Array(Buffer.concat([...local, ...directory, Buffer.from("PK\x05\x06"), end]));
}

/** @param {Uint8Array} content */
function crc32(content) {
  return gzipSync(content).readUInt32LE(gzipSync(content).length - 8); // Node 20 has no zlib.crc32
}

/**
 * Return a bundle with a changed manifest and a graph of a few bytes.
 *
 * @param {Record<string, unknown>} [changes]
 * @param {[string, Uint8Array][]} [others] Members that the manifest lists too.
 */
function small(changes = {}, others = []) {
  /** @type {[string, Uint8Array][]} */
  const members = [["model.onnx", Buffer.from("graph")], ...others];
  const files = Object.fromEntries(
    members.map(([name, data]) => [
      name,
      { sha256: createHash("sha256").update(data).digest("hex"), size: data.length },
    ]),
  );
  const values = Object.entries({ ...manifest, files, ...changes }).filter(([, value]) => value !== undefined);
  return zip([["manifest.json", Buffer.from(JSON.stringify(Object.fromEntries(values)))], ...members]);
}

test("the shipped bundle opens from bytes, a file and an address", async () => {
  const server = createServer((_, response) => response.end(bytes)).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const address = /** @type {import("node:net").AddressInfo} */ (server.address());
  const url = `http://127.0.0.1:${address.port}/edge.fer?key=secret`;
  try {
    for (const source of [bytes, bytes.slice().buffer, new Blob([bytes]), url, new URL(url)]) {
      const opened = await openBundle(source);
      assert.deepEqual(opened.labels, bundle.labels);
      assert.deepEqual(opened.graph, bundle.graph);
      assert.doesNotMatch(opened.name, /secret/);
    }
  } finally {
    server.close();
  }
  assert.equal(bundle.labels.length, 8);
  assert.equal(bundle.manifest.format, 1);
});

test("a bundle with provenance opens", async () => {
  const recipe = { name: "cpu-int8", sha256: "ab", overrides: ["max_batch"] };
  const data = [{ use: "calibration", name: "FERPlus train", count: 512, sha256: "cd" }];
  for (const provenance of [
    { ranges: "ef", data, recipe },
    { ranges: "", data: [], recipe: null },
  ]) {
    const opened = await openBundle(small({ provenance }));
    assert.deepEqual(opened.manifest.provenance, provenance);
  }
});

test("an address that cannot be fetched, or another object, is an error", async () => {
  await assert.rejects(
    openBundle("http://127.0.0.1:9/edge.fer"),
    /cannot fetch the bundle from http:.*check the address/,
  );
  const server = createServer((_, response) => response.writeHead(404).end()).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
  await assert.rejects(openBundle(`http://127.0.0.1:${port}/edge.fer`), /HTTP 404/);
  server.close();
  await assert.rejects(openBundle(/** @type {any} */ (7)), ConfigError);
});

test("sources above their limit are refused, with a stated size or without", async () => {
  const server = createServer(({ url }, response) => {
    if (url === "/stated") response.setHeader("content-length", 100);
    response.end(Buffer.alloc(100));
  }).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
  const address = `http://127.0.0.1:${port}`;
  for (const source of [
    Buffer.alloc(100),
    new ArrayBuffer(100),
    new Blob(["a".repeat(100)]),
    `${address}/stated`,
    address,
  ]) {
    await assert.rejects(readSource(source, "the file", 99), /has at least 100 bytes; expected at most 99/);
    assert.equal((await readSource(source, "the file", 100)).bytes.length, 100);
  }
  server.close();
});

test("a page without SHA-256 gets the remedy", async () => {
  const descriptor = /** @type {PropertyDescriptor} */ (Object.getOwnPropertyDescriptor(globalThis, "crypto"));
  Object.defineProperty(globalThis, "crypto", { value: {}, configurable: true }); // as on a page without https
  try {
    await assert.rejects(openBundle(bytes), /no crypto.subtle.*serve it by https, or from localhost/);
  } finally {
    Object.defineProperty(globalThis, "crypto", descriptor);
  }
});

test("a changed byte anywhere in a small bundle is found", async () => {
  const original = small({ checkpoint: {} });
  await openBundle(original);
  let changes = 0;
  for (let index = 0; index < original.length; index++) {
    const changed = original.slice();
    changed[index] ^= 0x55;
    try {
      const opened = await openBundle(changed);
      assert.equal(Buffer.from(opened.graph).toString(), "graph"); // the byte is in a field without meaning, or a text
      assert.deepEqual(opened.labels, bundle.labels);
      changes += 1;
    } catch (error) {
      assert.ok(error instanceof BundleError, `byte ${index}: ${error}`);
      assert.doesNotMatch(error.message, /\n/);
    }
  }
  assert.ok(changes < 200);
});

test("a truncated bundle is refused at any length", async () => {
  const original = small();
  for (let length = 0; length < original.length; length += 7) {
    await assert.rejects(openBundle(original.subarray(0, length)), BundleError);
  }
});

for (const [cause, file, kind, message] of /** @type {[string, Uint8Array, typeof BundleError, RegExp][]} */ ([
  ["an empty file", Buffer.alloc(0), BundleDamagedError, /is empty/],
  ["a web page", Buffer.from("<!doctype html>"), BundleError, /is a web page/],
  ["an ONNX file", Buffer.from("\x08\x08graph"), BundleError, /is not a fer-edge bundle/],
  ["a zip without manifest", zip([["a.txt", Buffer.from("a")]]), BundleError, /has no manifest.json/],
  ["a path", zip([["../a", Buffer.from("a")]]), BundleError, /unsafe member name "..\/a"/],
  ["an unprintable name", zip([["a\x1b[2J", Buffer.from("a")]]), BundleError, /unsafe member name/],
  [
    "two members of one name",
    zip([
      ["a", Buffer.from("a")],
      ["a", Buffer.from("b")],
    ]),
    BundleError,
    /two members/,
  ],
  ["compression", zip([["a", Buffer.from("a")]], { method: 8 }), BundleError, /is compressed \(zip method 8\)/],
  ["contradicting sizes", zip([["a", Buffer.from("a")]], { stored: 9 }), BundleDamagedError, /stored size 9/],
  [
    "many members",
    zip(Array.from({ length: 65 }, (_, index) => [`${index}`, Buffer.from("")])),
    BundleError,
    /at most 64/,
  ],
  ["another format", small({ format: 2 }), BundleVersionError, /bundle format 2; this version reads 1/],
  ["another precision", small({ precision: "fp8" }), BundleVersionError, /precision "fp8"/],
  ["another input", small({ input: { name: "x" } }), BundleVersionError, /needs input \{"name":"x"\}/],
  ["an unknown field", small({ surprise: 1 }), BundleDamagedError, /unknown field "surprise"/],
  ["provenance of another type", small({ provenance: [] }), BundleDamagedError, /provenance is \[\]; expected a table/],
  ["a missing field", small({ name: undefined }), BundleDamagedError, /missing field name/],
  ["labels of numbers", small({ labels: [1, 2] }), BundleDamagedError, /labels is \[1,2\]; expected a list of strings/],
  ["one label", small({ labels: ["a"], words: [] }), BundleDamagedError, /expected at least 2/],
  ["a repeated label", small({ labels: ["a", "a"], words: [] }), BundleDamagedError, /expected unique labels/],
  ["missing words", small({ words: ["a"] }), BundleDamagedError, /1 words for 8 labels/],
  ["a terminal sequence", small({ name: "a\x1b[2J" }), BundleDamagedError, /unprintable/],
  [
    "a prototype",
    small({ files: { __proto__: null, constructor: { size: 1, sha256: "" } } }),
    BundleDamagedError,
    /missing/,
  ],
  ["a huge batch", small({ max_batch: 1e9 }), BundleDamagedError, /max_batch is 1000000000/],
  [
    "a missing member",
    small({ files: { ...manifest.files, "b.bin": { size: 1, sha256: "" } } }),
    BundleDamagedError,
    /b.bin/,
  ],
  ["a damaged member", small({ files: { "model.onnx": { size: 5, sha256: "0" } } }), BundleDamagedError, /SHA-256/],
  [
    "a shorter member",
    small({ files: { "model.onnx": { size: 6, sha256: "0" } } }),
    BundleDamagedError,
    /has 5 bytes; expected 6/,
  ],
])) {
  test(`${cause} instead of a bundle is refused`, async () => {
    await assert.rejects(openBundle(file), (error) => {
      assert.ok(error instanceof kind && message.test(error.message), String(error));
      return true;
    });
  });
}

test("a bundle without a usable graph is refused by the recognizer", async () => {
  const opened = await openBundle(small({}, [["notes.txt", Buffer.from("a")]]));
  await assert.rejects(Recognizer.open({ bundle: opened, ort }), /ONNX Runtime cannot load the model/);
});

test("a bundle with another number of labels than its model is refused", async () => {
  const labels = ["a", "b"];
  const file = small({ labels, words: [], files: manifest.files });
  const other = await openBundle(
    zip([
      ["manifest.json", content(file)],
      ["model.onnx", bundle.graph],
    ]),
  );
  await assert.rejects(Recognizer.open({ bundle: other, ort }), /2 labels, but its model gives .* \[1,8\].* \[1,2\]/);
});

/** @param {Uint8Array} file Archive whose first member is the manifest. */
function content(file) {
  const view = new DataView(file.buffer);
  const start = 30 + view.getUint16(26, true);
  return file.subarray(start, start + view.getUint32(22, true));
}
