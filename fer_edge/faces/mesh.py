"""MediaPipe's face mesh: 468 points of a face, and the probability that there is one."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fer_edge.boxes import XYWH
from fer_edge.engines.graph import Execution, Graph
from fer_edge.faces.face import tilt_of
from fer_edge.faces.geometry import Points, Similarity, Square, resample
from fer_edge.faces.networks import sigmoid

SIZE = 192  # side of the input in pixels
MARGIN = 1.5  # side of the input's square divided by that of the points
MIN_PRESENCE = 0.5  # probability of a face below which there is none
MAX_REPEATS = 2  # fits after the first
# Input's square from the face box: factor of its side, and shift down the face as a part of its side.
BOX_SCALE, BOX_SHIFT = 1.4, 0.05
# Indices of landmarks: corners of the eyes, whose mean is the eye; tip of the nose; corners of the mouth.
EYES = ((33, 133), (362, 263))
NOSE_AND_MOUTH = (1, 61, 291)
FRAMING = 1.04, -0.05  # side of the face box from the extent of the points, and its vertical shift as a part of it


class Tolerance(NamedTuple):
    """Differences between the input's square and that of the points above which the mesh is fitted again."""

    turn: float  # radians
    shift: float  # parts of the side
    growth: float


# The points move a little with the square they are fitted in; a single image is worth more fits than a frame of video.
FOLLOWING, SINGLE = Tolerance(0.1, 0.08, 0.15), Tolerance(0.02, 0.02, 0.03)


class Mesh(NamedTuple):
    """Landmarks of one face, in pixels of the frame."""

    landmarks: Points  # (468, 3)
    presence: float  # probability that there is a face, 0 to 1

    @property
    def points(self) -> Points:
        """Left eye, right eye, nose, left and right corner of the mouth, (5, 2)."""
        landmarks = self.landmarks[:, :2]
        eyes = [landmarks[list(corners)].mean(axis=0) for corners in EYES]
        return np.array([*eyes, *landmarks[list(NOSE_AND_MOUTH)]])

    @property
    def box(self) -> XYWH:
        """Face box: x, y, width, height."""
        low, high = self.landmarks[:, :2].min(axis=0), self.landmarks[:, :2].max(axis=0)
        scale, shift = FRAMING
        side = scale * float((high - low).max())
        x, y = ((low + high) / 2).tolist()
        return x - side / 2, y - side / 2 + shift * side, side, side

    @property
    def square(self) -> Square:
        """Square around the points, turned with the face: the input for the same face in the next frame."""
        angle = tilt_of(self.points)
        upright = Similarity(math.cos(angle), -math.sin(angle), 0.0, 0.0)
        turned = upright.apply(self.landmarks[:, :2])
        low, high = turned.min(axis=0), turned.max(axis=0)
        x, y = upright.inverse().apply((low + high)[None] / 2)[0].tolist()
        return Square(x, y, MARGIN * float((high - low).max()), angle)


class MeshNetwork:
    """Face mesh, compiled for one face at a time."""

    def __init__(self, graph: Graph) -> None:
        self._execution: Execution = graph.compile((1, SIZE, SIZE, 3))

    def fit(
        self,
        frame: npt.NDArray[np.uint8],
        square: Square,
        *,
        color: str = "rgb",
        tolerance: Tolerance = FOLLOWING,
    ) -> Mesh:
        """Fit the mesh to the face in a square of the frame; again to its own square if that differs.

        Args:
            frame: uint8 (H, W, 3), with channels in the order of `color`.
            square: Square around the face, of about 1.5 times its size, turned with it.
            color: Channel order of the frame: "rgb", the default, or "bgr".
            tolerance: Difference of the squares below which one fit is enough.
        """
        mesh = self._run(frame, square, color)
        for _ in range(MAX_REPEATS):
            if mesh.presence < MIN_PRESENCE or _are_close(square, mesh.square, tolerance):
                break
            square = mesh.square
            again = self._run(frame, square, color)
            if again.presence < MIN_PRESENCE:
                break
            mesh = again
        return mesh

    def _run(self, frame: npt.NDArray[np.uint8], square: Square, color: str) -> Mesh:
        to_frame = square.from_input(SIZE)
        resample(frame, to_frame, self._execution.input[0], color=color)
        outputs = self._execution.run()
        landmarks = to_frame.apply(outputs["landmarks"][0].astype(np.float64))
        return Mesh(landmarks, sigmoid(outputs["presence"].astype(np.float64)).item())


def _are_close(first: Square, second: Square, tolerance: Tolerance) -> bool:
    turn = math.remainder(first.angle - second.angle, math.tau)
    shift = math.hypot(first.x - second.x, first.y - second.y)
    return (
        abs(turn) <= tolerance.turn
        and shift <= tolerance.shift * second.side
        and abs(first.side / second.side - 1) <= tolerance.growth
    )


def square_around(box: XYWH, angle: float) -> Square:
    """Return the mesh's input for a face whose box is known.

    Args:
        box: Face box.
        angle: Tilt of the face in radians.
    """
    x, y, width, height = box
    side = max(width, height)
    down = BOX_SHIFT * side
    x, y = x + width / 2 - down * math.sin(angle), y + height / 2 + down * math.cos(angle)
    return Square(x, y, BOX_SCALE * side, angle)
