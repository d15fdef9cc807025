// Timelines, one lane per person: of the last 16 seconds at first, and of the last minute in the end.

import { colourOf, inkOn, UNSURE } from "./colours.js";

const PERIODS = [16, 32, 60]; // seconds
const GAP = 1; // seconds between two spans that are one without a gap: frames were skipped between
const history = document.getElementById("history");
const list = document.getElementById("lanes");
const legend = document.getElementById("legend");
const lanes = new Map(); // by number of the person: { element, canvas, spans }
let now = 0;
let period = 0;

// Replace all timelines by those of the server: { person: [[label, certain, start, end], ...] }.
export function setTimelines(timelines) {
  for (const lane of lanes.values()) lane.element.remove();
  lanes.clear();
  for (const [id, spans] of Object.entries(timelines)) {
    laneOf(Number(id)).spans = spans.map(([label, certain, start, end]) => ({ label, certain, start, end }));
  }
}

export function extendTimelines(people, time) {
  if (time < now) setTimelines({}); // the server has started again
  now = time;
  choosePeriod();
  for (const { id, since, expression: { label, certain, scores } } of people) {
    showLegend(scores);
    const spans = laneOf(id).spans;
    const last = spans[spans.length - 1];
    if (last && last.label === label && last.certain === certain && since <= last.end) {
      last.end = time;
    } else {
      const start = last ? Math.max(since, last.end) : time;
      if (last && start - last.end < GAP) last.end = start;
      spans.push({ label, certain, start, end: time });
    }
  }
  for (const [id, lane] of lanes) {
    while (lane.spans.length && lane.spans[0].end < now - PERIODS[PERIODS.length - 1]) lane.spans.shift();
    if (!lane.spans.length) {
      lane.element.remove();
      lanes.delete(id);
    }
  }
  history.hidden = lanes.size === 0;
  for (const lane of lanes.values()) draw(lane);
}

function choosePeriod() {
  const start = Math.min(now, ...[...lanes.values()].map((lane) => lane.spans[0]?.start ?? now));
  const chosen = PERIODS.find((seconds) => now - start <= seconds) || PERIODS[PERIODS.length - 1];
  if (chosen === period) return;
  period = chosen;
  document.getElementById("period").textContent = `Last ${period} seconds`;
  const marks = [4, 3, 2, 1].map((quarter) => `${(period * quarter) / 4} s`.replace(".5", "½"));
  document.getElementById("axis").replaceChildren(...[...marks, "now"].map((mark) => {
    const label = document.createElement("span");
    label.textContent = mark;
    return label;
  }));
}

function laneOf(id) {
  if (lanes.has(id)) return lanes.get(id);
  const item = document.createElement("li");
  item.dataset.id = id;
  const badge = document.createElement("span");
  badge.className = "badge";
  badge.textContent = id;
  badge.title = `Person ${id}`;
  const canvas = document.createElement("canvas");
  canvas.setAttribute("role", "img");
  item.append(badge, canvas);
  const after = [...list.children].find((other) => Number(other.dataset.id) > id);
  list.insertBefore(item, after || null);
  const lane = { element: item, canvas, spans: [] };
  lanes.set(id, lane);
  return lane;
}

function draw({ canvas, spans }) {
  const density = window.devicePixelRatio || 1;
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * density)) canvas.width = Math.round(width * density);
  if (canvas.height !== Math.round(height * density)) canvas.height = Math.round(height * density);
  const drawing = canvas.getContext("2d");
  drawing.setTransform(density, 0, 0, density, 0, 0);
  drawing.clearRect(0, 0, width, height);
  const place = (time) => width * (1 - (now - time) / period);
  for (const span of spans) {
    const left = Math.max(place(span.start), 0);
    const right = place(span.end);
    const colour = span.certain ? colourOf(span.label) : UNSURE;
    drawing.fillStyle = colour;
    drawing.globalAlpha = span.certain ? 1 : 0.4;
    drawing.fillRect(left, 0, Math.max(right - left, 1), height);
    drawing.globalAlpha = 1;
    const name = span.certain ? span.label : "unsure";
    drawing.font = "600 12px system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'DejaVu Sans', sans-serif";
    if (drawing.measureText(name).width + 12 < right - left) {
      drawing.fillStyle = span.certain ? inkOn(colour) : getComputedStyle(canvas).color;
      drawing.textBaseline = "middle";
      drawing.fillText(name, left + 6, height / 2 + 0.5);
    }
  }
  canvas.setAttribute("aria-label", spans.map((span) => (span.certain ? span.label : "unsure")).join(", "));
}

function showLegend(scores) {
  if (legend.childElementCount) return;
  for (const label of [...Object.keys(scores), "unsure"]) {
    const item = document.createElement("li");
    const sample = document.createElement("i");
    sample.style.background = label === "unsure" ? UNSURE : colourOf(label);
    sample.style.opacity = label === "unsure" ? 0.4 : 1;
    item.append(sample, label);
    legend.append(item);
  }
}
