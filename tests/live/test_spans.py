"""Timelines: spans of expressions by person."""

from __future__ import annotations

import numpy as np

from fer_edge.expression import Expression
from fer_edge.faces.face import Face
from fer_edge.faces.tracker import TrackedFace
from fer_edge.live import Update
from fer_edge.live.spans import MAX_PEOPLE, Timelines
from fer_edge.video import SourceState


def person(number: int, label: str, since: float, warning: str = "") -> TrackedFace:
    expression = Expression(label, 0.9, {label: 0.9, "other": 0.1}, warning)
    return TrackedFace(number, Face((0, 0, 9, 9), 1, np.zeros((5, 2))), expression, expression, since, True)


def update(time: float, *people: TrackedFace) -> Update:
    return Update(people, time, None, None, 0, SourceState())


def test_label_extends_its_span_and_another_begins_one() -> None:
    timelines = Timelines()
    timelines.add(update(0, person(1, "calm", 0)))
    timelines.add(update(1, person(1, "calm", 0)))
    timelines.add(update(2, person(1, "other", 1.6), person(2, "calm", 2)))
    assert timelines.to_dict() == {
        "1": [["calm", True, 0, 1.6], ["other", True, 1.6, 2]],  # frames between 1 and 1.6 were dropped
        "2": [["calm", True, 2, 2]],
    }


def test_uncertain_time_is_a_span_of_its_own() -> None:
    timelines = Timelines()
    timelines.add(update(0, person(1, "calm", 0)))
    timelines.add(update(1, person(1, "calm", 0, "face of 10 x 10 pixels")))
    assert [span[:2] for span in timelines.to_dict()["1"]] == [["calm", True], ["calm", False]]


def test_old_spans_and_people_are_dropped() -> None:
    timelines = Timelines()
    timelines.add(update(0, person(1, "calm", 0)))
    assert timelines.period(0) == 16
    timelines.add(update(30, person(2, "calm", 30)))
    assert timelines.period(30) == 32
    timelines.add(update(61, person(2, "calm", 30)))
    assert list(timelines.people) == [2]
    for number in range(3, 3 + MAX_PEOPLE):
        timelines.add(update(62, person(number, "calm", 62)))
    assert len(timelines.people) == MAX_PEOPLE and 2 not in timelines.people


def test_no_people_have_the_shortest_period() -> None:
    assert Timelines().period(5) == 16 and Timelines().to_dict() == {}


def test_absence_is_a_gap() -> None:
    timelines = Timelines()
    timelines.add(update(0, person(1, "calm", 0)))
    timelines.add(update(2, person(1, "other", 2)))
    assert timelines.to_dict() == {"1": [["calm", True, 0, 0], ["other", True, 2, 2]]}
