"""Warnings about face crops with unreliable labels: few pixels, low contrast, noise, a face beyond the frame."""

from __future__ import annotations

import numpy as np

from fer_edge.boxes import Region
from fer_edge.engines.base import Images

# Pixels of the smaller side of a face. Accuracy on 600 faces of FERPlus's validation split: 85.7 % at 48 pixels, 72.8 %
# at 24, 58.7 % at 16 and 37.2 % at 10, where the mean score is still 0.78.
MIN_FACE = 24
# Standard deviation of luma in levels of 255. Minimum of FERPlus's validation split: 14.9; of a quarter of its training
# split: 14.4.
MIN_CONTRAST = 10.0
# Mean squared difference of neighbouring samples divided by their variance: 2 for independent neighbours. Maximum of
# FERPlus's validation split: 1.07, of its training split: 1.09. Minimum of noise in boxes of at least 40 pixels, with
# grains of 1 to 6 pixels: 1.79.
MAX_NOISE = 1.4
MIN_SHARE = 0.5  # share of the box inside the frame
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
STEP = 4  # distance of the sampled pixels of a crop
MIN_SAMPLES = 6  # samples horizontally and vertically; fewer are not enough to measure noise


def face_warning(region: Region, crop: Images) -> str:
    """Return the reasons not to trust the label of a face.

    Args:
        region: Region of the face in its frame.
        crop: Its crop, uint8 RGB, (size, size, 3).

    Returns:
        Reasons separated by "; "; empty without one.
    """
    reasons = []
    if min(region.face_width, region.face_height) < MIN_FACE:
        reasons.append(
            f"face of {region.face_width:.3g} x {region.face_height:.3g} pixels; below {MIN_FACE} the label is often "
            "wrong"
        )
    if region.share < MIN_SHARE:
        reasons.append(f"only {100 * region.share:.0f} % of the face box is inside the frame")
    contrast, noise = contrast_and_noise(_visible_part(region, crop))
    if contrast < MIN_CONTRAST:
        reasons.append("no contrast: there may be no face")
    elif noise > MAX_NOISE:
        reasons.append("noise instead of an image: there may be no face")
    return "; ".join(reasons)


def contrast_and_noise(crop: Images) -> tuple[float, float]:
    """Measure contrast and noise of luma, on every fourth pixel in both directions.

    Args:
        crop: uint8 RGB, (H, W, 3).

    Returns:
        Contrast: standard deviation, 0 to 128. Noise: mean squared difference of neighbouring samples divided by their
        variance, 0 for a smooth image, 2 for noise, and 0 with too few samples.
    """
    samples = crop[::STEP, ::STEP]
    luma = samples.astype(np.float32).reshape(-1, 3).dot(LUMA).reshape(samples.shape[:2])
    luma -= np.add.reduce(luma, None) / luma.size
    variance = float(np.vdot(luma, luma)) / luma.size
    if min(luma.shape) < MIN_SAMPLES or variance < 1:
        return variance**0.5, 0.0
    across, down = luma[:, 1:] - luma[:, :-1], luma[1:] - luma[:-1]
    squares = float(np.vdot(across, across)) / across.size + float(np.vdot(down, down)) / down.size
    return variance**0.5, squares / (2 * variance)


def _visible_part(region: Region, crop: Images) -> Images:
    """Return the part of a crop that shows the frame, without the black border; at least one pixel."""
    if region.x1 - region.x0 == region.side == region.y1 - region.y0:
        return crop
    scale = len(crop) / region.side
    left, top = round((region.x0 - region.left) * scale), round((region.y0 - region.top) * scale)
    right, bottom = round((region.x1 - region.left) * scale), round((region.y1 - region.top) * scale)
    left, top = min(left, len(crop) - 1), min(top, len(crop) - 1)
    return crop[top : max(bottom, top + 1), left : max(right, left + 1)]
