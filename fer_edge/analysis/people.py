"""People of a video: how long each is visible, with which expressions, and pictures of the most certain moments."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from fer_edge.boxes import XYWH
from fer_edge.crop import crop_and_resize
from fer_edge.engines.base import Images
from fer_edge.expression import UNSURE

if TYPE_CHECKING:
    from fer_edge.faces.tracker import TrackedFace

MAX_BINS = 400  # of a timeline; more do not fit a screen
FIRST_BIN = 0.1  # seconds
THUMBNAIL = 144  # pixels of a side
THUMBNAIL_MARGIN = 1.3  # side of a thumbnail divided by that of the face box
MIN_GAIN = 0.02  # increase of the score from which a thumbnail is replaced


class Timeline:
    """Labels and mean probabilities of a person over time, in bins of equal length.

    The memory is the same for every length of the video: when a time is beyond the last bin, pairs of bins are merged.

    Args:
        start: Time of the first bin in seconds.
        classes: Number of labels.
    """

    def __init__(self, start: float, classes: int) -> None:
        self.start = start
        self.step = FIRST_BIN
        self._counts = np.zeros((MAX_BINS, classes + 1))
        self._sums = np.zeros((MAX_BINS, classes))
        self._used = 0

    def add(self, time: float, index: int, scores: Sequence[float]) -> None:
        """Add a frame.

        Args:
            time: Time of the frame in seconds, not before `start`.
            index: Index of the label; the number of labels for an uncertain face.
            scores: Probabilities.
        """
        place = int((time - self.start) / self.step)
        while place >= MAX_BINS:
            self._merge_pairs()
            place = int((time - self.start) / self.step)
        self._counts[place, index] += 1
        self._sums[place] += scores
        self._used = max(self._used, place + 1)

    def _merge_pairs(self) -> None:
        for values in (self._counts, self._sums):
            values[: MAX_BINS // 2] = values[::2] + values[1::2]
            values[MAX_BINS // 2 :] = 0
        self.step *= 2
        self._used = -(-self._used // 2)

    @property
    def counts(self) -> npt.NDArray[np.float64]:
        """Frames by bin and label, the uncertain ones last: (bins, labels + 1)."""
        return self._counts[: self._used]

    @property
    def probabilities(self) -> npt.NDArray[np.float64]:
        """Mean probabilities by bin: (bins, labels); NaN where the person is not visible."""
        counts = self.counts.sum(axis=1, keepdims=True)
        sums = self._sums[: self._used]
        return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)


@dataclass(frozen=True)
class Moment:
    """Moment at which a person shows an expression with the highest score."""

    label: str
    score: float
    time: float  # seconds
    picture: bytes = field(repr=False)  # JPEG, 144 x 144


@dataclass
class Person:
    """A tracked person.

    Attributes:
        track_id: Number of the person, from 1.
        start: Time of the first frame in seconds.
        end: Time of the last frame in seconds.
        timeline: Labels and probabilities over time.
        moments: Most certain moment of each label.
    """

    track_id: int
    start: float
    end: float
    timeline: Timeline
    moments: dict[str, Moment] = field(default_factory=dict)

    @property
    def frames(self) -> int:
        """Number of frames in which the person is visible."""
        return int(self.timeline.counts.sum())

    def shares(self, labels: Sequence[str]) -> dict[str, float]:
        """Return the share of the person's frames by label, and that of uncertain ones as "unsure"; 0 to 1."""
        totals = self.timeline.counts.sum(axis=0) / max(self.frames, 1)
        return dict(zip((*labels, UNSURE), totals.tolist(), strict=True))


class People:
    """All people of a video.

    Args:
        labels: Labels of the model.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        self._by_id: dict[int, Person] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def add(self, image: Images, time: float, tracked: TrackedFace) -> None:
        """Add the face of a person in one frame.

        Args:
            image: Frame, uint8 RGB.
            time: Time of the frame in seconds.
            tracked: Face.
        """
        expression = tracked.expression
        person = self._by_id.get(tracked.track_id)
        if person is None:
            person = Person(tracked.track_id, time, time, Timeline(time, len(self.labels)))
            self._by_id[tracked.track_id] = person
        person.end = time
        index = self.labels.index(expression.label) if expression.certain else len(self.labels)
        person.timeline.add(time, index, list(expression.scores.values()))
        best = person.moments.get(expression.label)
        if tracked.fresh and expression.certain and (best is None or expression.score > best.score + MIN_GAIN):
            picture = _thumbnail(image, tracked.face.box)
            person.moments[expression.label] = Moment(expression.label, expression.score, time, picture)

    def by_length(self) -> list[Person]:
        """Return all people, those with the most frames first."""
        return sorted(self._by_id.values(), key=lambda person: (-person.frames, person.track_id))


def _thumbnail(image: Images, box: XYWH) -> bytes:
    """Return a face with some surroundings as JPEG."""
    x, y, width, height = box
    side = THUMBNAIL_MARGIN * max(width, height)
    around = (x + width / 2 - side / 2, y + height / 2 - side / 2, side, side)
    buffer = io.BytesIO()
    Image.fromarray(crop_and_resize(image, around, THUMBNAIL)).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()
