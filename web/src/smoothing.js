/** Smoothing of one person's probabilities over time, and hysteresis of the label. */

import { ConfigError, shown } from "./errors.js";
import { MIN_SCORE } from "./quality.js";

// With this lead and the default filter, still faces keep their labels for a minute.
export const HYSTERESIS = 0.2;
const NOISE_FACTOR = 15; // relative increase of this lead per unit of the noise's standard deviation
const NOISE_CUTOFF = 0.3; // cut-off frequency of the noise's variance in Hz
const MARGIN = 0.05; // change of the bound for certain labels, so that certainty does not flicker

/**
 * Settings of the One Euro filter (Casiez et al., CHI 2012): smooth while nothing changes, fast on a change.
 *
 * @typedef {object} OneEuro
 * @property {number} cutoff Cut-off frequency of unchanging probabilities in Hz, 1 by default; lower values smooth
 *   more.
 * @property {number} beta Increase of the cut-off frequency with the speed of the fastest probability, in Hz per 1/s, 1
 *   by default.
 * @property {number} speedCutoff Cut-off frequency of these speeds in Hz, 1 by default.
 */

/** @type {Readonly<OneEuro>} */
const DEFAULTS = Object.freeze({ cutoff: 1, beta: 1, speedCutoff: 1 });

/**
 * Check settings, and fill in the missing ones.
 *
 * @param {Partial<OneEuro>} settings
 * @returns {OneEuro}
 * @throws {ConfigError} Setting that is unknown or out of range.
 */
export function oneEuro(settings) {
  for (const [name, value] of Object.entries(settings)) {
    if (!(name in DEFAULTS)) {
      throw new ConfigError(`smoothing has no setting ${shown(name)}; expected: ${Object.keys(DEFAULTS).join(", ")}`);
    }
    const least = name === "beta" ? "of at least 0" : "above 0";
    if (!Number.isFinite(value) || value < 0 || (value === 0 && name !== "beta")) {
      throw new ConfigError(`${name} of smoothing is ${shown(value)}; expected a number ${least}`);
    }
  }
  return { ...DEFAULTS, ...settings };
}

/**
 * Filter of one person's probabilities.
 *
 * All labels have the same weight of the new frame, that of the fastest probability, so that the sum stays 1. Weights
 * are exponential in the time between frames, so that the result does not depend on the frame rate.
 */
export class Smoother {
  label = -1; // index of the label; -1 before the first frame
  since = 0; // time in seconds at which the label began
  minScore = MIN_SCORE; // score below which the label is not certain
  #settings;
  #hysteresis;
  #time = 0;
  #isCertain = false;
  #last;
  #smooth;
  #speeds;
  #changes;
  #noise; // variance of each probability: minus the covariance of two changes in succession

  /**
   * @param {OneEuro | null} settings Settings of the filter; null: no smoothing.
   * @param {number} hysteresis Lead of another label's probability that changes the label, 0 to 1; it grows with
   *   the noise of the probabilities.
   * @param {number} count Number of labels.
   */
  constructor(settings, hysteresis, count) {
    this.#settings = settings;
    this.#hysteresis = hysteresis;
    this.#last = new Float64Array(count);
    this.#smooth = new Float64Array(count);
    this.#speeds = new Float64Array(count);
    this.#changes = new Float64Array(count);
    this.#noise = new Float64Array(count);
  }

  /** Start again with the next frame, as after a gap. */
  reset() {
    [this.label, this.since, this.minScore] = [-1, 0, MIN_SCORE];
  }

  /**
   * Return the smoothed probabilities, in an array that the next call overwrites.
   *
   * @param {readonly number[]} scores Probability of each label in a frame.
   * @param {number} time Time of the frame in seconds, later than that of the last one.
   * @returns {Float64Array}
   */
  update(scores, time) {
    const [last, smooth, speeds] = [this.#last, this.#smooth, this.#speeds];
    if (this.label < 0) for (const values of [speeds, this.#changes, this.#noise]) values.fill(0);
    else this.#measureNoise(scores, time - this.#time);
    if (this.label < 0 || this.#settings === null) {
      smooth.set(scores);
    } else {
      const seconds = time - this.#time;
      const weight = weightOf(this.#settings.speedCutoff, seconds);
      let fastest = 0;
      for (let index = 0; index < scores.length; index++) {
        speeds[index] += weight * ((scores[index] - last[index]) / seconds - speeds[index]);
        fastest = Math.max(fastest, Math.abs(speeds[index]));
      }
      const share = weightOf(this.#settings.cutoff + this.#settings.beta * fastest, seconds);
      for (let index = 0; index < scores.length; index++) smooth[index] += share * (scores[index] - smooth[index]);
    }
    last.set(scores);
    this.#time = time;
    this.#chooseLabel(time);
    return smooth;
  }

  /**
   * @param {readonly number[]} scores
   * @param {number} seconds Time since the last frame.
   */
  #measureNoise(scores, seconds) {
    const weight = weightOf(NOISE_CUTOFF, seconds);
    for (let index = 0; index < scores.length; index++) {
      const change = scores[index] - this.#last[index];
      this.#noise[index] += weight * (-change * this.#changes[index] - this.#noise[index]);
      this.#changes[index] = change;
    }
  }

  /** @param {number} time */
  #chooseLabel(time) {
    const scores = this.#smooth;
    const best = scores.indexOf(Math.max(...scores));
    const lead = this.#hysteresis * (1 + NOISE_FACTOR * Math.sqrt(Math.max(...this.#noise, 0)));
    if (this.label < 0 || (best !== this.label && scores[best] >= scores[this.label] + lead)) {
      [this.label, this.since, this.minScore] = [best, time, MIN_SCORE];
    } else {
      this.minScore = MIN_SCORE + (this.#isCertain ? -MARGIN : MARGIN);
    }
    this.#isCertain = scores[this.label] >= this.minScore;
  }
}

/**
 * Return the weight of a value that was constant for some seconds, in a low-pass filter of first order.
 *
 * @param {number} cutoff
 * @param {number} seconds
 */
function weightOf(cutoff, seconds) {
  return -Math.expm1(-2 * Math.PI * cutoff * seconds);
}
