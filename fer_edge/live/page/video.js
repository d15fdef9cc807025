// The picture of the newest frame.

import { mirrorBoxes, showBoxes } from "./overlay.js";

const video = document.getElementById("video");
const picture = video.getContext("2d", { alpha: false });

export async function showFrame(jpeg, frameSize, people) {
  const bitmap = await createImageBitmap(new Blob([jpeg], { type: "image/jpeg" }));
  if (video.width !== bitmap.width || video.height !== bitmap.height) {
    video.width = bitmap.width;
    video.height = bitmap.height;
  }
  picture.drawImage(bitmap, 0, 0);
  bitmap.close();
  document.getElementById("waiting").hidden = true;
  showBoxes(people, frameSize);
}

export function setMirrored(value) {
  video.classList.toggle("mirrored", value);
  mirrorBoxes(value);
}
