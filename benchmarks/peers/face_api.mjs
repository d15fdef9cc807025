// The expression network of @vladmandic/face-api on its WebAssembly backend, as the package runs in Node.
// See protocol.py for requests and answers.
import { createRequire } from "node:module";
import fs from "node:fs";
import path from "node:path";
import readline from "node:readline";

const options = Object.fromEntries(process.argv.slice(2).map((word, index, all) => [word, all[index + 1]]));
const threads = Number(options["--threads"]);
const modules = path.join(options["--node"], "node_modules");
const require = createRequire(path.join(options["--node"], "index.js"));
const tf = require("@tensorflow/tfjs");
const wasm = require("@tensorflow/tfjs-backend-wasm");
const faceapi = require("@vladmandic/face-api/dist/face-api.node-wasm.js");

const SIDE = 48;
const SIZE = SIDE * SIDE * 3;
// In the order of the network's outputs, by their names in the data set.
const LABELS = ["neutral", "happiness", "sadness", "anger", "fear", "disgust", "surprise"];

wasm.setWasmPaths(path.join(modules, "@tensorflow/tfjs-backend-wasm/dist/"));
wasm.setThreadsCount(threads);
await tf.setBackend("wasm");
await tf.ready();
const network = faceapi.nets.faceExpressionNet;
const folder = path.join(modules, "@vladmandic/face-api/model");
await network.loadFromDisk(folder);
const faces = fs.readFileSync(options["--faces"]);
const count = faces.length / SIZE;

async function recognise(index) {
  const pixels = faces.subarray(index * SIZE, (index + 1) * SIZE);
  const face = tf.tensor3d(pixels, [SIDE, SIDE, 3], "int32");
  const expressions = await network.predictExpressions(face);
  face.dispose();
  const scores = Object.values(expressions);
  return scores.indexOf(Math.max(...scores));
}

const print = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`);
const version = (name) => require(`${name}/package.json`).version;
await recognise(0);
print({
  ready: {
    labels: LABELS,
    bytes: fs.statSync(path.join(folder, "face_expression_model.bin")).size,
    versions: `@vladmandic/face-api ${version("@vladmandic/face-api")}, tfjs ${tf.version_core} wasm with ${wasm.getThreadsCount()} thread(s), Node ${process.versions.node}`,
  },
});
let next = 0;
for await (const line of readline.createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  if (request.time !== undefined) {
    const nanoseconds = [];
    for (let query = 0; query < request.time; query += 1) {
      const index = next++ % count;
      const started = process.hrtime.bigint();
      await recognise(index);
      nanoseconds.push(Number(process.hrtime.bigint() - started));
    }
    print({ nanoseconds });
  } else {
    const predictions = [];
    for (let index = 0; index < Math.min(request.predict, count); index += 1) predictions.push(await recognise(index));
    print({ predictions });
  }
}
