// Loop over the frames of a video: the newest one is recognised when the one before is done, and others are dropped.

import { recognizeFrame } from "./recognition.js";

const MAX_SIDE = 1280; // pixels of a frame; larger ones are made smaller before they are read back from the GPU
const RATE_MILLISECONDS = 2000; // over which the rate of results is measured

export class FrameLoop {
  // Begin with the frames of a playing video; `onResult` gets the result of each, and `onError` ends the loop.
  constructor(video, onResult, onError) {
    Object.assign(this, { video, onResult, onError, stopped: false, busy: false, waiting: false, presented: 0, dropped: 0 });
    this.results = []; // times of those of the last seconds
    this.await();
  }

  stop() {
    this.stopped = true;
  }

  await() {
    const next = (now) => this.receive(now);
    if (this.video.requestVideoFrameCallback) this.video.requestVideoFrameCallback(next);
    else requestAnimationFrame(next);
  }

  receive(now) {
    if (this.stopped) return;
    this.await();
    if (document.hidden || !this.video.videoWidth) return;
    this.presented = Math.max(now, this.presented + 1); // milliseconds; some browsers round them to equal numbers
    if (this.busy) {
      this.dropped += this.waiting;
      this.waiting = true;
    } else {
      this.recognize();
    }
  }

  async recognize() {
    Object.assign(this, { busy: true, waiting: false });
    const presented = this.presented;
    try {
      const bitmap = await createImageBitmap(this.video, smaller(this.video.videoWidth, this.video.videoHeight));
      const size = [bitmap.width, bitmap.height];
      const { people, work } = await recognizeFrame(bitmap, presented / 1000);
      if (this.stopped) return;
      const now = performance.now();
      this.results = [...this.results.filter((moment) => now - moment < RATE_MILLISECONDS), now];
      this.onResult({ people, size, time: presented / 1000, work, latency: (now - presented) / 1000, rate: this.rate(), dropped: this.dropped });
    } catch (error) {
      if (this.stopped) return;
      this.stop();
      this.onError(error);
    }
    this.busy = false;
    if (this.waiting) this.recognize();
  }

  rate() {
    const [first, last] = [this.results[0], this.results[this.results.length - 1]];
    return last > first ? (1000 * (this.results.length - 1)) / (last - first) : 0;
  }
}

// Return the options of createImageBitmap that limit a picture to MAX_SIDE pixels.
export function smaller(width, height) {
  const scale = MAX_SIDE / Math.max(width, height);
  return scale < 1 ? { resizeWidth: Math.round(width * scale), resizeHeight: Math.round(height * scale), resizeQuality: "medium" } : {};
}
