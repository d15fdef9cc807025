// Connection to fer-edge: receives updates, shows them, and acknowledges each, so that a slow page skips frames.

import { showBoxes } from "./overlay.js";
import { clearPeople, showPeople } from "./people.js";
import { extendTimelines, setTimelines } from "./timeline.js";
import { setMirrored, showFrame } from "./video.js";

const RETRY_MILLISECONDS = 1000;
const FIGURE_MILLISECONDS = 250; // between two changes of the figures, which are unreadable at 30 Hz
const STATUS = {
  live: "Live", recording: "Playing", reconnecting: "Reconnecting", ended: "Ended", connecting: "Connecting", lost: "Not connected",
};
const decoder = new TextDecoder();
let socket = null;
let lastNumber = null;
let skipped = 0;
let skippedShare = 0; // of the latest results
let slow = false;
let ended = false;
let figuresShown = 0;

const byId = (id) => document.getElementById(id);

function showStatus(status, notice = "", text = STATUS[status]) {
  byId("status").dataset.status = status;
  if (byId("status-text").textContent !== text) byId("status-text").textContent = text;
  byId("screen").classList.toggle("stale", status !== "connected" && status !== "ended");
  const sentence = notice.charAt(0).toUpperCase() + notice.slice(1);
  byId("notice").hidden = !notice;
  if (byId("notice").textContent !== sentence) byId("notice").textContent = sentence;
}

function connect() {
  if (socket) return;
  const url = new URL("updates", location.href);
  url.protocol = "ws:";
  socket = new WebSocket(url);
  socket.binaryType = "arraybuffer";
  let queue = Promise.resolve(); // messages are shown one after another, since decoding a picture takes time
  socket.onmessage = ({ data }) => {
    const current = socket;
    queue = queue.then(() => receive(data, current)).catch((error) => console.error(error));
  };
  socket.onclose = () => {
    socket = null;
    if (ended || document.hidden) return;
    showStatus("lost", "The connection to fer-edge is lost. If it was stopped, start it again and open its new address.");
    setTimeout(connect, RETRY_MILLISECONDS);
  };
}

async function receive(data, connection) {
  if (typeof data === "string") {
    const hello = JSON.parse(data);
    document.title = `${hello.title} - fer-edge live`;
    byId("title").textContent = hello.title;
    setTimelines(hello.timelines);
    lastNumber = null;
    return;
  }
  const length = new DataView(data).getUint32(0);
  const update = JSON.parse(decoder.decode(new Uint8Array(data, 4, length)));
  await show(update, new Uint8Array(data, 4 + length));
  if (connection.readyState === WebSocket.OPEN) connection.send(String(update.number));
}

async function show(update, jpeg) {
  if (lastNumber !== null) countSkipped(Math.max(update.number - lastNumber - 1, 0));
  lastNumber = update.number;
  if (jpeg.length) await showFrame(jpeg, update.size, update.people);
  else showBoxes(update.people);
  const { source } = update.live;
  if (source.status === "reconnecting") clearPeople("No picture");
  else showPeople(update.people, update.time);
  extendTimelines(update.people, update.time);
  ended = source.status === "ended";
  const playing = source.status === "connected" && (source.live ? STATUS.live : STATUS.recording);
  showStatus(source.status, noticeOf(source), playing || undefined);
  showFigures(update.live);
}

function countSkipped(count) {
  skipped += count;
  skippedShare = 0.9 * skippedShare + (0.1 * count) / (count + 1);
  slow = skippedShare > (slow ? 0.3 : 0.6);
}

function noticeOf(source) {
  if (source.status === "connected" && slow) {
    return "This page is slow: most results are skipped, and the newest are shown.";
  }
  if (source.status === "reconnecting") return `${source.message}. Trying to connect again.`;
  return source.status === "ended" ? source.message : "";
}

function showFigures({ latency, rate, source }) {
  const now = performance.now();
  if (now - figuresShown < FIGURE_MILLISECONDS && source.status === "connected") return;
  figuresShown = now;
  if (latency !== null) byId("latency").textContent = milliseconds(latency);
  byId("rate").textContent = rate.toFixed(1);
  byId("dropped").textContent = source.dropped.toLocaleString("en");
  byId("damaged").textContent = source.damaged.toLocaleString("en");
  byId("damaged").parentElement.classList.toggle("zero", source.damaged === 0);
  byId("skipped").textContent = skipped.toLocaleString("en");
}

function milliseconds(seconds) {
  const value = 1000 * seconds;
  return `${value.toFixed(value < 100 ? 1 : 0)} ms`;
}

function mirror(value) {
  byId("mirror").setAttribute("aria-pressed", String(value));
  setMirrored(value);
  localStorage.setItem("mirror", String(value));
}

byId("mirror").onclick = () => mirror(byId("mirror").getAttribute("aria-pressed") !== "true");
mirror(localStorage.getItem("mirror") === "true");

// A hidden page needs no video; when it is shown again, the server sends the timelines of the time between.
document.addEventListener("visibilitychange", () => {
  if (document.hidden && socket) socket.close();
  else if (!document.hidden && !ended) connect();
});
connect();
