"""Timelines of people as shapes of SVG drawings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from fer_edge.analysis.people import Person, Timeline
from fer_edge.expression import UNSURE

HEIGHT = 100  # units of a drawing
WIDTH = 1000


@dataclass(frozen=True)
class Band:
    """Area of one label in a stacked timeline."""

    label: str
    color: str
    path: str  # SVG path


@dataclass(frozen=True)
class Span:
    """Time during which a person mainly shows one label."""

    label: str
    color: str
    start: float  # seconds
    end: float
    x: float  # units of the drawing
    width: float


def bands(timeline: Timeline, colors: Mapping[str, str]) -> list[Band]:
    """Return the areas of all labels, stacked, in a drawing of one unit per bin and a height of 100.

    Args:
        timeline: Probabilities of a person over time.
        colors: Color by label.
    """
    tops = HEIGHT * (1 - np.cumsum(timeline.probabilities, axis=1))
    bottoms = np.concatenate([np.full((len(tops), 1), float(HEIGHT)), tops[:, :-1]], axis=1)
    runs = _runs(~np.isnan(tops[:, 0]))
    return [
        Band(label, color, "".join(_area(tops[:, index], bottoms[:, index], *run) for run in runs))
        for index, (label, color) in enumerate(colors.items())
    ]


def _area(tops: npt.NDArray[np.float64], bottoms: npt.NDArray[np.float64], first: int, last: int) -> str:
    """Return the path of an area over the bins from `first` to before `last`, in steps."""
    forth = "".join(f"V{tops[place]:.4g}H{place + 1}" for place in range(first, last))
    back = "".join(f"V{bottoms[place]:.4g}H{place}" for place in reversed(range(first, last)))
    return f"M{first} {bottoms[first]:.4g}{forth}{back}Z"


def spans(person: Person, colors: Mapping[str, str], unsure: str, start: float, seconds: float) -> list[Span]:
    """Return the spans of a person's labels, in a drawing of 1000 units.

    Args:
        person: The person.
        colors: Color by label.
        unsure: Color of the times without a certain label.
        start: Time of the left edge in seconds.
        seconds: Length of the whole drawing.
    """
    timeline = person.timeline
    names, palette = [*colors, UNSURE], [*colors.values(), unsure]
    labels = np.where(timeline.counts.sum(axis=1) > 0, timeline.counts.argmax(axis=1), -1)
    edges = [0, *(np.flatnonzero(np.diff(labels)) + 1).tolist(), len(labels)]
    scale = WIDTH / max(seconds, timeline.step)
    result = []
    for first, last in pairwise(edges):
        label = int(labels[first])
        begin, end = timeline.start + first * timeline.step, min(timeline.start + last * timeline.step, start + seconds)
        if label >= 0 and end > begin:
            x, width = (begin - start) * scale, max((end - begin) * scale, 1.0)
            result.append(Span(names[label], palette[label], begin, end, round(x, 2), round(width, 2)))
    return result


def _runs(mask: npt.NDArray[np.bool_]) -> Sequence[tuple[int, int]]:
    """Return start and end of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
