"""Tracks of faces: prediction by constant velocity, and association of candidates by overlap."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fer_edge.faces.face import Face
from fer_edge.faces.networks import overlap
from fer_edge.faces.smoothing import Smoother

if TYPE_CHECKING:
    from fer_edge.expression import Expression

VELOCITY_SECONDS = 0.1  # time constant of the mean velocity
MIN_OVERLAP = 0.2  # intersection over union above which a candidate is the face of a track


class Track:
    """One person's face over time.

    Args:
        face: First candidate.
        time: Time of its frame in seconds.
        smoother: Filter of the expression.

    Attributes:
        face: Face at its last certain place.
        track_id: Number of the track; 0 until the mesh has confirmed the candidate.
        alive: Time of the last frame in which there was a face, in seconds.
        turn: Number of the frame in which the mesh was last fitted; -1 before.
        is_lost: Whether the mesh has lost the face, which only a new candidate can change.
        misses: Number of searches in a row without a candidate for this face.
        raw: Expression of the last crop.
        expression: Smoothed expression.
    """

    raw: Expression
    expression: Expression

    def __init__(self, face: Face, time: float, smoother: Smoother) -> None:
        self.face = face
        self.track_id = 0
        self.alive = time
        self.turn = -1
        self.is_lost = False
        self.misses = 0
        self.smoother = smoother
        self._time = time
        self._velocity = (0.0, 0.0)  # pixels per second

    def predict(self, time: float, longest: float) -> Face:
        """Return the face where it is expected.

        Args:
            time: Time in seconds.
            longest: Longest time in seconds of movement at constant velocity.
        """
        seconds = min(time - self._time, longest)
        x, y = self._velocity
        return self.face if x == y == 0 or seconds == 0 else self.face.shift(x * seconds, y * seconds)

    def move(self, face: Face, time: float) -> None:
        """Store the face of a new frame, and update the velocity."""
        seconds = time - self._time
        if seconds > 0 and not self.is_lost and self.face.landmarks is not None:
            weight = -math.expm1(-seconds / VELOCITY_SECONDS)
            (x0, y0), (x1, y1), (vx, vy) = _center(self.face), _center(face), self._velocity
            self._velocity = vx + weight * ((x1 - x0) / seconds - vx), vy + weight * ((y1 - y0) / seconds - vy)
        self.place(face, time)

    def place(self, face: Face, time: float) -> None:
        """Store the face of a new frame without a change of the velocity."""
        self.face, self._time, self.alive, self.is_lost = face, time, max(self.alive, time), False

    def stop(self) -> None:
        """Set the velocity to zero."""
        self._velocity = (0.0, 0.0)


def _center(face: Face) -> tuple[float, float]:
    x, y, width, height = face.box
    return x + width / 2, y + height / 2


def corners(faces: Sequence[Face]) -> npt.NDArray[np.float64]:
    """Return left, top, right and bottom of face boxes, (N, 4)."""
    boxes = np.array([face.box for face in faces], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def associate(places: Mapping[Track, Face], candidates: Sequence[Face]) -> dict[Track, Face]:
    """Assign candidates to tracks, the pair with the largest overlap first.

    Args:
        places: Face of each track in the frame of the candidates.
        candidates: Faces that the detector found.

    Returns:
        Candidate of each track that has one.
    """
    tracks, boxes, others = list(places), corners(list(places.values())), corners(candidates)
    if not tracks or not candidates:
        return {}
    overlaps = np.stack([overlap(box, others) for box in boxes])
    pairs: dict[Track, Face] = {}
    while overlaps.max() > MIN_OVERLAP:
        row, column = divmod(int(overlaps.argmax()), len(candidates))
        pairs[tracks[row]] = candidates[column]
        overlaps[row], overlaps[:, column] = 0, 0
    return pairs
