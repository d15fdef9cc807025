/** Results of the npm package in a browser, for `test_chromium.py`. */

import { ExpressionTracker, FaceDetector, makeDocument, openBundle, Recognizer } from "fer-edge";

const [vectors, arrays] = await Promise.all([
  fetch("vectors/vectors.json").then((response) => response.json()),
  fetch("vectors/arrays.bin").then((response) => response.arrayBuffer()),
]);
const files = { detector: "weights/faces/detector.onnx", mesh: "weights/faces/landmarks.onnx" };
const canvas = document.createElement("canvas");
const context = canvas.getContext("2d", { willReadFrequently: true });

/** Return a frame as a canvas gives it: `ImageData` that was drawn and read again. */
function imageOf({ at, shape: [height, width] }) {
  const rgb = new Uint8Array(arrays, at, 3 * width * height);
  const image = new ImageData(width, height);
  for (let index = 0; index < width * height; index++) {
    for (let channel = 0; channel < 3; channel++) image.data[4 * index + channel] = rgb[3 * index + channel];
    image.data[4 * index + 3] = 255;
  }
  [canvas.width, canvas.height] = [width, height];
  context.putImageData(image, 0, 0);
  return context.getImageData(0, 0, width, height);
}

async function open(build) {
  const ort = await import(`./ort/${build}`);
  ort.env.wasm.wasmPaths = new URL("ort/", location.href).href;
  ort.env.wasm.numThreads = 1;
  return { ort, bundle: await openBundle("weights/edge.fer") };
}

/** Return the expressions of the first face crops. */
async function recognize(build, count, executionProviders) {
  const recognizer = await Recognizer.open({ ...(await open(build)), executionProviders });
  const expressions = [];
  for (const { frame, box } of vectors.recognition.slice(0, count)) {
    expressions.push((await recognizer.recognize(imageOf(frame), [box]))[0]);
  }
  await recognizer.close();
  return expressions;
}

/** Return the faces of the first photographs. */
async function detect(build, count) {
  const { ort } = await open(build);
  const detector = await FaceDetector.open({ ort, ...files });
  const faces = [];
  for (const { frame } of vectors.detection.slice(0, count)) {
    faces.push((await detector.detect(imageOf(frame))).map(({ landmarks, ...face }) => face));
  }
  await detector.close();
  return faces;
}

/** Return the documents of the clip's first frames. */
async function track(build, count) {
  const tracker = await ExpressionTracker.open({ ...(await open(build)), ...files });
  const { frames, rate } = vectors.tracking;
  const documents = [];
  for (let frame = 0; frame < count; frame++) {
    const [image, time] = [imageOf(frames[frame]), frame / rate];
    const people = await tracker.update(image, time);
    documents.push(makeDocument({ source: "clip", people, frame, time, size: [image.width, image.height] }));
  }
  await tracker.close();
  return documents;
}

window.fer = { recognize, detect, track };
