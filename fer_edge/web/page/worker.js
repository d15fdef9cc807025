// Recognition in a thread of its own, so that the page stays smooth.

import * as ort from "../onnxruntime-web/ort.wasm.bundle.min.js";
import { ExpressionTracker, FaceDetector, openBundle, personOf, Recognizer } from "../fer-edge/index.js";

const canvas = new OffscreenCanvas(1, 1);
const drawing = canvas.getContext("2d", { willReadFrequently: true });
let networks = null; // { recognizer, detector }
let tracker = null;

const calls = {
  async open({ files, threads }) {
    ort.env.wasm.wasmBinary = files.runtime;
    ort.env.wasm.numThreads = threads;
    const bundle = await openBundle(files.bundle);
    networks = {
      recognizer: await Recognizer.open({ bundle, ort }),
      detector: await FaceDetector.open({ ort, detector: files.detector, mesh: files.mesh }),
    };
    tracker = await ExpressionTracker.open(networks);
    const { name, labels, precision } = bundle.manifest;
    return { name, labels, precision };
  },

  async frame({ bitmap, time }) {
    const start = performance.now();
    const people = await tracker.update(pixels(bitmap), time);
    return { people, work: (performance.now() - start) / 1000 };
  },

  async photo({ bitmap }) {
    const start = performance.now();
    const image = pixels(bitmap);
    const faces = await networks.detector.detect(image);
    const expressions = await networks.recognizer.recognize(image, faces);
    const people = faces.map((face, index) => ({ ...personOf(expressions[index], face), id: index + 1 }));
    return { people, work: (performance.now() - start) / 1000 };
  },

  async forget() {
    tracker = await ExpressionTracker.open(networks);
  },
};

// Return the pixels of a picture, and release it.
function pixels(bitmap) {
  const { width, height } = bitmap;
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  drawing.globalCompositeOperation = "copy"; // transparent parts would otherwise show the picture before
  drawing.drawImage(bitmap, 0, 0);
  bitmap.close();
  return drawing.getImageData(0, 0, width, height);
}

let queue = Promise.resolve(); // calls run one after another
self.onmessage = ({ data: { number, name, values } }) => {
  queue = queue
    .then(() => calls[name](values))
    .then((result) => self.postMessage({ number, result }))
    .catch((error) => self.postMessage({ number, message: error.message }));
};
self.postMessage({ number: 0 });
