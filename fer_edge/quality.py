"""Signs that a face crop gives no trustworthy label: too few pixels, no contrast, noise, a face beyond the frame."""

from __future__ import annotations

import numpy as np

from fer_edge.boxes import Region
from fer_edge.engines.base import Images

# Pixels of a face's smaller side. Of 600 faces of FERPlus's validation split, 85.7 % are labelled right at 48 pixels,
# 72.8 % at 24, 58.7 % at 16 and 37.2 % at 10, where the mean score is still 0.78.
LEAST_FACE = 24
# Standard deviation of luma, of 255 levels. The least of FERPlus's validation split is 14.9, of a quarter of its
# training split 14.4.
LEAST_CONTRAST = 10.0
# Mean squared difference of neighbouring samples over their variance: 2 where neighbours have nothing in common. The
# largest of FERPlus's validation split is 1.07, of its training split 1.09; of noise in boxes of 40 pixels and more,
# with grains of 1 to 6 pixels, the least is 1.79.
MOST_NOISE = 1.4
LEAST_SHARE = 0.5  # of the box inside the frame
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
STEP = 4  # every so many pixels of a crop are looked at, across and down
FEWEST_SAMPLES = 6  # across and down; smaller parts say nothing about noise


def face_warning(region: Region, crop: Images) -> str:
    """Name the reasons not to trust the label of a face.

    Args:
        region: Where the face lies in its frame.
        crop: Its crop, uint8 RGB (size, size, 3).

    Returns:
        Reasons, joined by "; ". Empty where there is none.
    """
    reasons = []
    if min(region.face_width, region.face_height) < LEAST_FACE:
        reasons.append(
            f"face of {region.face_width:.3g} x {region.face_height:.3g} pixels; below {LEAST_FACE} the label is often "
            "wrong"
        )
    if region.share < LEAST_SHARE:
        reasons.append(f"only {100 * region.share:.0f} % of the face box lies inside the frame")
    contrast, noise = contrast_and_noise(_inside(region, crop))
    if contrast < LEAST_CONTRAST:
        reasons.append("no contrast: there may be no face")
    elif noise > MOST_NOISE:
        reasons.append("noise in place of a picture: there may be no face")
    return "; ".join(reasons)


def contrast_and_noise(crop: Images) -> tuple[float, float]:
    """Measure luma on every fourth pixel, across and down.

    Args:
        crop: uint8 RGB (H, W, 3).

    Returns:
        Standard deviation, 0 to 128, and mean squared difference of neighbouring samples over their variance: 0 for a
        smooth picture, 2 for noise; 0 where there are too few samples.
    """
    samples = crop[::STEP, ::STEP]
    luma = samples.astype(np.float32).reshape(-1, 3).dot(LUMA).reshape(samples.shape[:2])
    luma -= np.add.reduce(luma, None) / luma.size
    variance = float(np.vdot(luma, luma)) / luma.size
    if min(luma.shape) < FEWEST_SAMPLES or variance < 1:
        return variance**0.5, 0.0
    across, down = luma[:, 1:] - luma[:, :-1], luma[1:] - luma[:-1]
    squares = float(np.vdot(across, across)) / across.size + float(np.vdot(down, down)) / down.size
    return variance**0.5, squares / (2 * variance)


def _inside(region: Region, crop: Images) -> Images:
    """Part of a crop that shows the frame, and not the black beyond it; at least one pixel."""
    if region.x1 - region.x0 == region.side == region.y1 - region.y0:
        return crop
    scale = len(crop) / region.side
    left, top = round((region.x0 - region.left) * scale), round((region.y0 - region.top) * scale)
    right, bottom = round((region.x1 - region.left) * scale), round((region.y1 - region.top) * scale)
    left, top = min(left, len(crop) - 1), min(top, len(crop) - 1)
    return crop[top : max(bottom, top + 1), left : max(right, left + 1)]
