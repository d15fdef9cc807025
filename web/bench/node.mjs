/**
 * Times in Node.js, as JSON: node bench/node.mjs FRAME WIDTH HEIGHT REPEATS, where FRAME is a file of RGBA pixels.
 */

import { readFileSync } from "node:fs";
import * as ort from "onnxruntime-web";
import { measure } from "./measure.js";

const [path, width, height, repeats] = process.argv.slice(2);
/** @param {string} name */
const weights = (name) => new Uint8Array(readFileSync(new URL(`../../fer_edge/weights/${name}`, import.meta.url)));
const cpu = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};

ort.env.wasm.numThreads = 1;
const times = await measure({
  ort,
  bundle: weights("edge.fer"),
  detector: weights("faces/detector.onnx"),
  mesh: weights("faces/landmarks.onnx"),
  image: { data: new Uint8Array(readFileSync(path)), width: Number(width), height: Number(height) },
  repeats: Number(repeats),
  cpu,
});
console.log(JSON.stringify(times));
