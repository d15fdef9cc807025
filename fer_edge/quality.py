"""Quality of face crops: size, contrast, noise, sharpness, and the bounds beyond which a label is not certain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fer_edge.boxes import Region
from fer_edge.engines.base import Images
from fer_edge.faces.face import Face
from fer_edge.faces.mesh import MIN_PRESENCE

# Score below which a label is not certain. It holds for every model with calibrated probabilities (`fer-edge checkpoint
# fit-temperature`). Of FERPlus's validation split, 93.2 % have at least this score; 92.1 % of their labels are right,
# and 57 % of the others. `benchmarks/certainty.py` measures it.
MIN_SCORE = 0.58
# Pixels of the smaller side of a face. Accuracy on FERPlus's validation split in int8: 89.5 % at 48 pixels, 86.6 % at
# 24, 82.5 % at 16 and 76.4 % at 12.
MIN_FACE = 24
# Standard deviation of luma in levels of 255. Minimum of FERPlus's validation split: 14.9; of a quarter of its training
# split: 14.4.
MIN_CONTRAST = 10.0
# Mean squared difference of neighbouring samples divided by their variance: 2 for independent neighbours. Maximum of
# FERPlus's validation split: 1.07, of its training split: 1.09. Minimum of noise in boxes of at least 40 pixels, with
# grains of 1 to 6 pixels: 1.79.
MAX_NOISE = 1.4
# Mean square of second differences divided by the variance. Minimum of FERPlus's validation split: 0.031; of an eighth
# of its training split: 0.023. If its images of 48 pixels are blurred by a Gaussian of 1 pixel, the median is 0.024 and
# accuracy is 86 %; of 2 pixels, accuracy is 77 %.
MIN_SHARPNESS = 0.015
MIN_SHARE = 0.5  # share of the box inside the frame
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
GREEN = 1  # channel for sharpness, whose differences are those of luma, for a third of the time
STEP = 2  # distance of the pixels for sharpness in one direction; twice as large in the other, and for noise
MIN_SAMPLES = 6  # samples horizontally and vertically; fewer are not enough to measure noise and sharpness


@dataclass(frozen=True)
class FaceQuality:
    """Measurements of a face and its crop.

    Attributes:
        width: Width of the part of the face box inside the frame, in pixels.
        height: Height of this part, in pixels.
        share: Share of the face box's area inside the frame, 0 to 1.
        contrast: Standard deviation of luma, 0 to 128.
        noise: 0 for a smooth image, 2 for noise.
        sharpness: 0 for a blurred image; at least 0.03 on FERPlus's validation split.
        detection: Score of the face detector, 0 to 1; None for a box or crop of the caller.
        presence: Probability by the face mesh that there is a face; None without a mesh.
        tilt: Angle of the line between the eyes in degrees, positive clockwise; None for a box or crop.
    """

    width: float
    height: float
    share: float
    contrast: float
    noise: float
    sharpness: float
    detection: float | None = None
    presence: float | None = None
    tilt: float | None = None

    @property
    def size(self) -> float:
        """Smaller side of the visible part of the face box, in pixels."""
        return min(self.width, self.height)

    @property
    def has_face(self) -> bool | None:
        """True if detector or mesh has found a face; None if neither has searched for it."""
        if self.presence is not None:
            return self.presence >= MIN_PRESENCE
        return None if self.detection is None else True

    @property
    def warning(self) -> str:
        """Reasons not to trust a label, separated by "; "; empty without one."""
        reasons = []
        if self.has_face is False:
            reasons.append(f"the face mesh finds no face: its probability is {self.presence:.2f}")
        if self.size < MIN_FACE:
            reasons.append(
                f"face of {self.width:.3g} x {self.height:.3g} pixels; below {MIN_FACE} the label is often wrong"
            )
        if self.share < MIN_SHARE:
            reasons.append(f"only {100 * self.share:.0f} % of the face box is inside the frame")
        if self.contrast < MIN_CONTRAST:
            reasons.append("no contrast: there may be no face")
        elif self.noise > MAX_NOISE:
            reasons.append("noise instead of an image: there may be no face")
        elif self.sharpness < MIN_SHARPNESS and self.size >= MIN_FACE:
            reasons.append("blurred: the label is often wrong")
        return "; ".join(reasons)


def measure_quality(region: Region, crop: Images, face: Face | None = None) -> FaceQuality:
    """Measure a face and its crop.

    Args:
        region: Region of the face in its frame.
        crop: Its crop, uint8 RGB, (size, size, 3).
        face: The detected face; None for a box or crop.
    """
    measurements = (region.face_width, region.face_height, region.share, *measure_crop(_visible_part(region, crop)))
    if face is None:
        return FaceQuality(*measurements)
    return FaceQuality(*measurements, face.score, face.presence, face.tilt)


def measure_crop(crop: Images) -> tuple[float, float, float]:
    """Measure contrast, noise and sharpness of luma.

    Args:
        crop: uint8 RGB, (H, W, 3).

    Returns:
        Contrast: standard deviation, 0 to 128.
        Noise: mean squared difference of every fourth pixel and its neighbour, divided by their variance, 0 for a
            smooth image, 2 for noise.
        Sharpness: mean square of the second differences of every second pixel, horizontally and vertically, in green,
            divided by its variance. With too few pixels, noise and sharpness are 0.
    """
    samples = crop[:: 2 * STEP, :: 2 * STEP]
    luma = samples.astype(np.float32).reshape(-1, 3).dot(LUMA).reshape(samples.shape[:2])
    luma -= np.add.reduce(luma, None) / luma.size
    variance = _mean_square(luma)
    if min(luma.shape) < MIN_SAMPLES or variance < 1:
        return variance**0.5, 0.0, 0.0
    noise = _mean_square(luma[:, 1:] - luma[:, :-1]) + _mean_square(luma[1:] - luma[:-1])
    rows, columns = crop[:: 2 * STEP, ::STEP, GREEN], crop[::STEP, :: 2 * STEP, GREEN].T
    green = max(1.0, float(np.var(rows[:, ::2], dtype=np.float32)))
    return variance**0.5, noise / (2 * variance), (_curvature(rows) + _curvature(columns)) / green


def _curvature(rows: npt.NDArray[np.uint8]) -> float:
    """Return the mean square of the second differences of rows."""
    values = rows.astype(np.int16, "C")
    differences = values[:, 2:] + values[:, :-2]
    differences -= values[:, 1:-1]
    differences -= values[:, 1:-1]
    return _mean_square(differences.astype(np.float32))


def _mean_square(values: npt.NDArray[np.float32]) -> float:
    return float(np.vdot(values, values)) / values.size


def _visible_part(region: Region, crop: Images) -> Images:
    """Return the part of a crop that shows the frame, without the black border; at least one pixel."""
    if region.x1 - region.x0 == region.side == region.y1 - region.y0:
        return crop
    scale = len(crop) / region.side
    left, top = round((region.x0 - region.left) * scale), round((region.y0 - region.top) * scale)
    right, bottom = round((region.x1 - region.left) * scale), round((region.y1 - region.top) * scale)
    left, top = min(left, len(crop) - 1), min(top, len(crop) - 1)
    return crop[top : max(bottom, top + 1), left : max(right, left + 1)]
