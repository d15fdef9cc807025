"""Timelines of people: bins, spans and areas."""

from __future__ import annotations

import re

import numpy as np
import pytest

from fer_edge.analysis.drawing import bands, spans
from fer_edge.analysis.people import MAX_BINS, Person, Timeline

COLORS = {"calm": "#000001", "smile": "#000002"}


def test_pairs_of_bins_are_merged_when_the_video_is_long() -> None:
    timeline = Timeline(5.0, 2)
    for index in range(1000):
        timeline.add(5.05 + index * 0.2, index % 3, [0.25, 0.75])
    assert timeline.step == pytest.approx(0.8) and len(timeline.counts) == 250 <= MAX_BINS
    assert timeline.counts.sum(axis=0).tolist() == [334, 333, 333]
    assert np.allclose(timeline.counts.sum(axis=1), 4) and np.allclose(timeline.probabilities, [0.25, 0.75])


def person() -> Person:
    """Return a person who is calm for half a second, absent, and then smiles and is uncertain."""
    timeline = Timeline(1.0, 2)
    for index in (*range(10), *range(20, 40)):
        label = 0 if index < 10 else 1 if index < 30 else 2
        timeline.add(1.001 + index * 0.05, label, [1.0, 0.0] if index < 10 else [0.25, 0.75])
    return Person(1, 1.0, 3.0, timeline)


def test_spans_follow_the_labels() -> None:
    shown = [(span.label, span.start, span.end) for span in spans(person(), COLORS, "#cccccc", 0.0, 4.0)]
    assert [label for label, _, _ in shown] == ["calm", "smile", "unsure"]
    assert np.allclose([times for _, *times in shown], [(1, 1.5), (2, 2.5), (2.5, 3)])
    first = spans(person(), COLORS, "#cccccc", 0.0, 4.0)[0]
    assert (first.x, first.width) == (250, 125)
    assert person().shares(["calm", "smile"]) == pytest.approx({"calm": 1 / 3, "smile": 1 / 3, "unsure": 1 / 3})


def test_areas_are_stacked_and_have_gaps() -> None:
    calm, smile = bands(person().timeline, COLORS)
    assert calm.path.count("M") == smile.path.count("M") == 2  # two visits
    assert [*map(float, re.findall(r"(?<=V)[\d.]+", calm.path))][:5] == [0] * 5  # calm fills the height
    assert smile.path.endswith("Z") and "V0H11" in smile.path and "V75H10" in smile.path
