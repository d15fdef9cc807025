// The page: loads the model, then recognises the camera, a photo or a video.

import { announce, clearAnnouncement } from "./announcement.js";
import { closeCamera, facesUser, listCameras, openCamera } from "./camera.js";
import { loadFiles } from "./files.js";
import { FrameLoop, smaller } from "./frames.js";
import { mirrorBoxes, showBoxes } from "./overlay.js";
import { clearPeople, showPeople } from "./people.js";
import { forgetPeople, openRecognition, recognizePhoto } from "./recognition.js";
import { showNotice, showState } from "./states.js";
import { extendTimelines, setTimelines } from "./timeline.js";

const FIGURE_MILLISECONDS = 250; // between two changes of the figures, which are unreadable at 30 Hz
const MAX_THREADS = 4;
const byId = (id) => document.getElementById(id);
const video = byId("video");
const photo = byId("photo");
let loop = null;
let source = 0; // number of the camera, photo or video; results of an earlier one are not shown
let isOpen = false;
let figuresShown = 0;

async function start() {
  showNotice("");
  if (!window.isSecureContext) return showState("insecure");
  showState("loading");
  try {
    const { site, files } = await loadFiles(new URL("..", import.meta.url), showProgress);
    showState("opening");
    forbidConnections();
    const threads = window.crossOriginIsolated ? Math.min(MAX_THREADS, Math.max(navigator.hardwareConcurrency >> 1, 1)) : 1;
    showModel(site, await openRecognition(files, threads), threads);
  } catch (error) {
    return showState("failed", sentence(error));
  }
  isOpen = true;
  showState("ready");
}

// Forbid every connection from now on; the worker of the recognition inherits the rule.
function forbidConnections() {
  const rule = document.createElement("meta");
  rule.httpEquiv = "Content-Security-Policy";
  rule.content = "connect-src 'none'";
  document.head.append(rule);
}

function showProgress(loaded, total) {
  byId("progress").value = loaded / total;
  byId("explanation").textContent = `${(loaded / 1e6).toFixed(1)} of ${(total / 1e6).toFixed(1)} MB. It is loaded once, and then runs on this device.`;
}

function showModel(site, model, threads) {
  document.title = `${model.name} - fer-edge`;
  byId("title").textContent = model.name;
  byId("model-name").textContent = `${model.name}, ${model.precision}, ${model.labels.length} expressions`;
  byId("model-hash").textContent = site.files[site.load.bundle].sha256;
  byId("engine").textContent = `${site.runtime}, WebAssembly, ${threads} thread${threads > 1 ? "s" : ""}`;
}

async function startCamera(deviceId) {
  const number = leave();
  showState("asking");
  try {
    const stream = await openCamera(deviceId);
    if (number !== source) return closeCamera(stream);
    stream.getVideoTracks()[0].onended = () => number === source && leaveFor("unplugged");
    video.srcObject = stream;
    await play(facesUser(stream), "live");
    showCameras(await listCameras(stream));
  } catch (error) {
    if (number === source) showState(error.state || "busy");
  }
}

function showCameras(cameras) {
  byId("cameras").hidden = cameras.length < 2;
  byId("camera").replaceChildren(...cameras.map(({ id, name, current }) => new Option(name, id, current, current)));
}

async function openFile(file) {
  if (!isOpen || !file) return;
  const number = leave();
  try {
    if (file.type.startsWith("video/")) await openVideo(file);
    else await openPhoto(file, number);
    showNotice("");
  } catch (error) {
    if (number !== source) return;
    console.warn(error);
    showState("ready");
    showNotice(`${file.name} is not a photo or video that this browser can read.`);
  }
}

async function openVideo(file) {
  video.src = URL.createObjectURL(file);
  video.controls = true;
  await play(false, "playing");
}

async function play(mirrored, state) {
  video.hidden = false;
  mirror(mirrored);
  await video.play();
  showState(state);
  loop = new FrameLoop(video, showResult, (error) => leaveFor("failed", `${sentence(error)} Load the page again.`));
}

async function openPhoto(file, number) {
  const bitmap = await createImageBitmap(file);
  const scaled = await createImageBitmap(bitmap, smaller(bitmap.width, bitmap.height));
  bitmap.close();
  if (number !== source) return;
  [photo.width, photo.height] = [scaled.width, scaled.height];
  photo.getContext("2d").drawImage(scaled, 0, 0);
  photo.hidden = false;
  mirror(false);
  showState("photo");
  const result = await recognizePhoto(scaled);
  if (number === source) showResult({ ...result, size: [photo.width, photo.height] });
}

function showResult({ people, size, time = null, work, latency, rate, dropped }) {
  showBoxes(people, size);
  showPeople(people, time);
  announce(people);
  if (time !== null) extendTimelines(people, time);
  const now = performance.now();
  if (now - figuresShown < FIGURE_MILLISECONDS) return;
  figuresShown = now;
  byId("work").textContent = milliseconds(work);
  byId("latency").textContent = latency === undefined ? "-" : milliseconds(latency);
  byId("rate").textContent = rate === undefined ? "-" : rate.toFixed(1);
  byId("dropped").textContent = dropped === undefined ? "-" : dropped.toLocaleString("en");
}

function leaveFor(state, explanation) {
  leave();
  showState(state, explanation);
}

// Leave the present camera, photo or video, and return the number of the next.
function leave() {
  source += 1;
  if (loop) loop.stop();
  loop = null;
  if (video.srcObject) closeCamera(video.srcObject);
  video.pause();
  if (video.src) URL.revokeObjectURL(video.src);
  video.removeAttribute("src");
  video.srcObject = null;
  video.hidden = photo.hidden = byId("cameras").hidden = true;
  video.controls = false;
  showBoxes([]);
  clearPeople("Nothing to recognise yet");
  clearAnnouncement();
  setTimelines({});
  figuresShown = 0;
  for (const id of ["work", "latency", "rate", "dropped"]) byId(id).textContent = "-";
  showNotice("");
  forgetPeople().catch(() => {}); // a worker that has failed has no people
  return source;
}

function mirror(value) {
  byId("mirror").setAttribute("aria-pressed", String(value));
  for (const picture of [video, photo]) picture.classList.toggle("mirrored", value);
  mirrorBoxes(value);
}

function milliseconds(seconds) {
  const value = 1000 * seconds;
  return `${value.toFixed(value < 100 ? 1 : 0)} ms`;
}

function sentence(error) {
  return `${error.message.charAt(0).toUpperCase()}${error.message.slice(1)}.`;
}

byId("start").onclick = () => startCamera();
byId("camera").onchange = () => startCamera(byId("camera").value);
byId("open").onclick = () => byId("file").click();
byId("file").onchange = () => openFile(byId("file").files[0]).finally(() => (byId("file").value = ""));
byId("stop").onclick = () => leaveFor("ready");
byId("mirror").onclick = () => mirror(byId("mirror").getAttribute("aria-pressed") !== "true");
video.onended = () => showState("ended");
video.onplaying = () => document.body.dataset.state === "ended" && showState("playing");

// A file is dropped on any part of the page.
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  byId("screen").classList.add("dropping");
});
document.addEventListener("dragleave", (event) => event.relatedTarget || byId("screen").classList.remove("dropping"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  byId("screen").classList.remove("dropping");
  openFile(event.dataTransfer.files[0]);
});

// A hidden page recognises nothing.
document.addEventListener("visibilitychange", () => {
  const state = document.body.dataset.state;
  if (document.hidden && (state === "live" || state === "playing")) {
    video.pause();
    showState("paused");
  } else if (!document.hidden && state === "paused") {
    video.play().then(() => showState(video.srcObject ? "live" : "playing"));
  }
});
start();
