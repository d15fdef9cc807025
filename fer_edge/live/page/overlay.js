// Boxes with names above the picture.

import { colourOfPerson, inkOn } from "./colours.js";

const NARROW = 500; // pixels of a screen on which names are shown without their probability
const screen = document.getElementById("screen");
const overlay = document.getElementById("overlay");
const drawing = overlay.getContext("2d");
let people = [];
let size = null; // width and height of the frame that boxes refer to
let mirrored = false;

// Show the boxes of people; `frameSize` is width and height of their frame, by default of the one before.
export function showBoxes(newPeople, frameSize = size) {
  people = newPeople;
  size = frameSize;
  draw();
}

export function mirrorBoxes(value) {
  mirrored = value;
  draw();
}

// Return scale and position of the picture inside the screen, in which it is centred without distortion.
function placement(width, height) {
  const scale = Math.min(width / size[0], height / size[1]);
  return { scale, left: (width - size[0] * scale) / 2, top: (height - size[1] * scale) / 2 };
}

function draw() {
  const { width, height } = screen.getBoundingClientRect();
  const density = window.devicePixelRatio || 1;
  const pixels = [Math.round(width * density), Math.round(height * density)];
  if (overlay.width !== pixels[0] || overlay.height !== pixels[1]) [overlay.width, overlay.height] = pixels;
  drawing.setTransform(density, 0, 0, density, 0, 0);
  drawing.clearRect(0, 0, width, height);
  if (!size) return;
  const place = placement(width, height);
  for (const person of people) drawPerson(person, place, width);
}

function drawPerson(person, { scale, left, top }, width) {
  const [x, y, w, h] = person.face.box.map((value) => value * scale);
  const boxLeft = mirrored ? width - left - x - w : left + x;
  const boxTop = top + y;
  const colour = colourOfPerson(person);
  drawing.globalAlpha = person.fresh === false ? 0.65 : 1;
  drawing.lineWidth = 2.5;
  drawing.strokeStyle = colour;
  drawing.setLineDash(person.expression.certain ? [] : [7, 5]);
  drawing.beginPath();
  drawing.roundRect(boxLeft, boxTop, w, h, 8);
  drawing.stroke();
  drawing.globalAlpha = 1;
  drawName(person, colour, boxLeft, boxTop, h, width);
}

function drawName(person, colour, boxLeft, boxTop, boxHeight, width) {
  const { label, certain, score } = person.expression;
  const percent = certain && width > NARROW ? ` ${Math.round(100 * score)} %` : "";
  const text = `${person.id}  ${certain ? label : "unsure"}${percent}`;
  drawing.font = "600 13px system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'DejaVu Sans', sans-serif";
  const tagWidth = drawing.measureText(text).width + 16;
  const tagLeft = Math.max(2, Math.min(boxLeft - 1, width - tagWidth - 2));
  const above = boxTop - 26;
  const tagTop = above >= 2 ? above : boxTop + boxHeight + 4;
  drawing.fillStyle = colour;
  drawing.beginPath();
  drawing.roundRect(tagLeft, tagTop, tagWidth, 22, 6);
  drawing.fill();
  drawing.fillStyle = inkOn(colour);
  drawing.textBaseline = "middle";
  drawing.fillText(text, tagLeft + 8, tagTop + 11.5);
}

new ResizeObserver(draw).observe(screen);
