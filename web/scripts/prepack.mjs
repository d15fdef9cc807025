/** Copy licences, the shipped bundle and the face networks into the package, before npm packs it. */

import { copyFileSync, mkdirSync } from "node:fs";

const folder = new URL("../", import.meta.url);
const root = new URL("../", folder);
const files = {
  LICENSE: "LICENSE",
  "fer_edge/weights/edge.fer": "weights/edge.fer",
  "fer_edge/weights/faces/detector.onnx": "weights/detector.onnx",
  "fer_edge/weights/faces/landmarks.onnx": "weights/landmarks.onnx",
  "fer_edge/weights/faces/LICENSE": "weights/LICENSE",
  "fer_edge/weights/faces/README.md": "weights/README.md",
};

mkdirSync(new URL("weights/", folder), { recursive: true });
for (const [source, target] of Object.entries(files)) copyFileSync(new URL(source, root), new URL(target, folder));
