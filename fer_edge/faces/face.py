"""A face in a frame, and its crop for the recognizer: aligned by eyes and mouth corners, or by its box."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from fer_edge.boxes import XYWH
from fer_edge.engines.base import IMAGE_SIZE
from fer_edge.faces.geometry import Points, Similarity, fit_similarity

LEFT_EYE, RIGHT_EYE, NOSE, LEFT_MOUTH, RIGHT_MOUTH = range(5)  # rows of `Face.points`
ALIGNED = [LEFT_EYE, RIGHT_EYE, LEFT_MOUTH, RIGHT_MOUTH]
# Places of these points in a crop of 112 x 112 pixels: their means on FERPlus's validation split, made symmetric, in a
# crop that is 5 % tighter.
TARGET: Points = np.array([(34.4, 42.1), (77.6, 42.1), (38.1, 87.7), (73.9, 87.7)])
MAX_ERROR = 0.5  # RMS distance of the points from the target, in eye distances of the target; a mirrored face has more
BOX_RATIOS = (0.5, 2.0)  # side of an aligned crop divided by that of the face box


@dataclass(frozen=True, eq=False)
class Face:
    """Face that a detector found. Coordinates are in pixels of the frame; left and right are those of the image.

    Attributes:
        box: x, y, width and height of a square from hairline to chin; a good face crop without alignment.
        score: Score of the detector, 0 to 1.
        points: Left eye, right eye, tip of the nose, left and right corner of the mouth, (5, 2). Without landmarks,
            corners of the mouth may be estimated from its middle.
        landmarks: Points of the face mesh, (468, 3): x, y, depth relative to the face's centre, smaller is nearer.
            None if no mesh was fitted.
        presence: Probability by the face mesh that there is a face; None without a mesh.
    """

    box: XYWH
    score: float
    points: Points = field(repr=False)
    landmarks: Points | None = field(default=None, repr=False)
    presence: float | None = None

    @property
    def tilt(self) -> float:
        """Angle of the line between the eyes in degrees, -180 to 180, positive clockwise in the image."""
        return math.degrees(tilt_of(self.points))

    def shift(self, x: float, y: float) -> Face:
        """Return the face moved by a number of pixels to the right and down."""
        left, top, width, height = self.box
        landmarks = None if self.landmarks is None else self.landmarks + np.array((x, y, 0.0))
        return replace(
            self, box=(left + x, top + y, width, height), points=self.points + np.array((x, y)), landmarks=landmarks
        )


def tilt_of(points: Points) -> float:
    """Return the angle of the line between the eyes in radians, for points in the order of `Face.points`."""
    x, y = points[RIGHT_EYE] - points[LEFT_EYE]
    return math.atan2(y, x)


def crop_to_frame(face: Face, size: int = IMAGE_SIZE) -> Similarity | None:
    """Return the similarity from the aligned crop of a face to the frame.

    Args:
        face: The face.
        size: Side of the crop in pixels, 112 by default.

    Returns:
        The similarity; None if the points do not look like a face, so that the box has to be used.
    """
    to_crop = fit_similarity(face.points[ALIGNED], TARGET * (size / IMAGE_SIZE))
    if to_crop is None:
        return None
    distances = to_crop.apply(face.points[ALIGNED]) * (IMAGE_SIZE / size) - TARGET
    error = math.sqrt(float(np.square(distances).sum()) / len(TARGET))
    side = size / to_crop.scale
    if error > MAX_ERROR * (TARGET[1, 0] - TARGET[0, 0]):
        return None
    if not BOX_RATIOS[0] <= side / max(face.box[2:]) <= BOX_RATIOS[1]:
        return None
    return to_crop.inverse()
