import assert from "node:assert/strict";
import { test } from "node:test";
import { checkPlausible, findRegion, parseBox } from "../src/boxes.js";
import { Cropper, parseFrame } from "../src/crop.js";
import { InputError } from "../src/errors.js";
import { Resampler } from "../src/geometry.js";
import { assertClose } from "./close.js";
import { bytesOf, imageOf, skip, vectors } from "./vectors.js";

const SIZE = 112;

test("crops equal Python's to the last bit", { skip }, () => {
  const [cropper, resampler] = [new Cropper(), new Resampler()];
  const out = new Uint8Array(3 * SIZE * SIZE);
  for (const [index, { frame, box, similarity, crop }] of vectors.crops.entries()) {
    for (const withAlpha of [false, true]) {
      const view = parseFrame(imageOf(frame, withAlpha));
      out.fill(77);
      if (similarity === null) {
        cropper.crop(view, findRegion(box, view.width, view.height), out, SIZE);
      } else {
        resampler.resample(view, similarity, out, SIZE);
      }
      assert.deepEqual(out, bytesOf(crop), `crop ${index} of ${view.width} x ${view.height}, ${box ?? similarity}`);
    }
  }
});

/** @param {() => unknown} call */
function refusal(call) {
  try {
    call();
  } catch (error) {
    assert.ok(error instanceof InputError);
    return error.message.replace("boxFromCorners", "box_from_corners");
  }
  return null;
}

test("boxes select Python's regions, or are refused with its messages", { skip }, () => {
  for (const { box, region, refused, implausible } of vectors.boxes) {
    const place = () => findRegion(parseBox(box), 320, 240);
    assert.equal(refusal(place), refused);
    assert.equal(
      refusal(() => checkPlausible(parseBox(box), 320, 240)),
      implausible,
    );
    if (region === null) continue;
    const { face_width: faceWidth, face_height: faceHeight, share, ...rest } = region;
    assertClose(place(), { ...rest, faceWidth, faceHeight, share }, 1e-12, `region of ${box}`);
  }
});

test("other objects than four finite numbers are refused", () => {
  for (const box of [[1, 2, 3], [1, 2, 3, NaN], "1234", { 0: 1 }, [1, 2, 3, "4"], null]) {
    assert.throws(() => parseBox(/** @type {any} */ (box)), /is not a box; expected four finite numbers/);
  }
  assert.deepEqual(parseBox(new Float32Array([1, 2, 3, 4])), [1, 2, 3, 4]);
});
