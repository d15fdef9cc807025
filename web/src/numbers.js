/** Rounding and formatting of numbers as in Python. */

/**
 * Round to the nearest whole number, and a half to the even one.
 *
 * @param {number} value
 */
export function roundHalfEven(value) {
  const floor = Math.floor(value);
  const part = value - floor;
  if (part !== 0.5) return part < 0.5 ? floor : floor + 1;
  return floor % 2 === 0 ? floor : floor + 1;
}

/**
 * Format a number with at most some significant digits, without trailing zeros.
 *
 * @param {number} value
 * @param {number} digits
 */
export function general(value, digits) {
  if (!Number.isFinite(value)) return String(value);
  const exponent = value === 0 ? 0 : Number(value.toExponential(digits - 1).split("e")[1]);
  if (exponent >= -4 && exponent < digits) return String(Number(value.toPrecision(digits)));
  const [mantissa, power] = value.toExponential(digits - 1).split("e");
  const sign = power.startsWith("-") ? "-" : "+";
  return `${Number(mantissa)}e${sign}${power.replace(/^[+-]/, "").padStart(2, "0")}`;
}

/**
 * Return the remainder of a division with the smallest absolute value.
 *
 * @param {number} value
 * @param {number} divisor
 */
export function remainder(value, divisor) {
  return value - divisor * roundHalfEven(value / divisor);
}

/**
 * Return the logistic function.
 *
 * @param {number} value
 */
export function sigmoid(value) {
  return 1 / (1 + Math.exp(-Math.min(80, Math.max(-80, value))));
}
