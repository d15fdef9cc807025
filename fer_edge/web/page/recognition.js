// Recognition in a worker: calls return promises, and pictures are handed over without a copy.

let worker = null;
let lastNumber = 0;
const waiting = new Map(); // by number of the call: { resolve, reject }

// Start the worker, and open the networks of `files` in it; return name, labels and precision of the model.
export async function openRecognition(files, threads) {
  // A worker from a blob inherits the Content Security Policy of this page; one from a file would have none on a host
  // without headers.
  const source = `import ${JSON.stringify(new URL("worker.js", import.meta.url).href)};`;
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  worker = new Worker(url, { type: "module", name: "recognition" });
  worker.onmessage = ({ data: { number, result, message } }) => {
    const call = waiting.get(number);
    waiting.delete(number);
    if (message === undefined) call.resolve(result);
    else call.reject(new Error(message));
  };
  worker.onerror = (event) => {
    event.preventDefault();
    for (const call of waiting.values()) call.reject(new Error(event.message || "the script of the recognition cannot be loaded"));
    waiting.clear();
  };
  await answer(0); // once its scripts are loaded; messages before would be lost
  URL.revokeObjectURL(url);
  return call("open", { files, threads }, Object.values(files).map((file) => file.buffer));
}

// Return people and time of work, in seconds, of one frame; the tracker follows people from frame to frame.
export const recognizeFrame = (bitmap, time) => call("frame", { bitmap, time }, [bitmap]);

// Return the same of a single picture.
export const recognizePhoto = (bitmap) => call("photo", { bitmap }, [bitmap]);

// Forget the people of the frames before.
export const forgetPeople = () => call("forget", {}, []);

function call(name, values, transfer) {
  lastNumber += 1;
  worker.postMessage({ number: lastNumber, name, values }, transfer);
  return answer(lastNumber);
}

function answer(number) {
  return new Promise((resolve, reject) => waiting.set(number, { resolve, reject }));
}
