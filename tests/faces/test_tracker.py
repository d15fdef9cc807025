"""Tracking of faces in short clips, made from photographs."""

from __future__ import annotations

import copy
import gc
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fer_edge import (
    ConfigError,
    EngineError,
    ExpressionTracker,
    Face,
    FaceDetector,
    InputError,
    OneEuro,
    Recognizer,
    TrackedFace,
)
from fer_edge.errors import BundleError, CopyError
from fer_edge.faces.searcher import OwnThread, Request
from fer_edge.faces.smoothing import Smoother
from fer_edge.faces.tracks import Track, associate
from tests.faces.conftest import Frame
from tests.tiny import LABELS, tiny_bundle

RATE = 30
HEADS = {"happiness": (140, 30, 310, 200), "neutral": (130, 20, 430, 320)}  # corners in the photographs


@pytest.fixture(scope="module")
def finder(networks: None) -> Iterator[FaceDetector]:
    with FaceDetector.open() as detector:
        yield detector


@pytest.fixture(scope="module")
def heads(photos: dict[str, Frame]) -> dict[str, Image.Image]:
    """Return two heads of 150 pixels."""
    return {name: Image.fromarray(photos[name]).crop(box).resize((150, 150)) for name, box in HEADS.items()}


def scene(*heads: tuple[Image.Image, int, int]) -> Frame:
    """Return a frame of 480 x 360 pixels with heads at places."""
    canvas = Image.new("RGB", (480, 360), (90, 100, 110))
    for head, x, y in heads:
        canvas.paste(head, (x, y))
    return np.asarray(canvas)


def open_tracker(finder: FaceDetector, recognizer: Recognizer, **settings: Any) -> ExpressionTracker:
    return ExpressionTracker.open(detector=finder, recognizer=recognizer, **{"background": False} | settings)


def track(tracker: ExpressionTracker, frames: Sequence[Frame], start: float = 0.0) -> list[list[TrackedFace]]:
    return [tracker.update(frame, start + index / RATE) for index, frame in enumerate(frames)]


def center(face: Face) -> tuple[float, float]:
    x, y, side, _ = face.box
    return x + side / 2, y + side / 2


def test_moving_people_keep_their_numbers(
    finder: FaceDetector, recognizer: Recognizer, heads: dict[str, Image.Image]
) -> None:
    happy, neutral = heads.values()
    frames = [scene((happy, 8 * k, 10), (neutral, 320, 200 - 9 * k)) for k in range(16)]
    with open_tracker(finder, recognizer) as tracker:
        results = track(tracker, frames)
    assert [sorted(person.track_id for person in people) for people in results] == [[1, 2]] * 16
    assert all(person.fresh for people in results for person in people)
    labels = {person.track_id: person.expression.label for person in results[-1]}
    assert set(labels.values()) == {"happiness", "neutral"}
    for people in results:
        assert {person.track_id: person.expression.label for person in people} == labels
        assert all(person.since == 0 and person.expression.certain for person in people)
    places = [{person.track_id: center(person.face)[0] for person in people} for people in results]
    (mover,) = [number for number, label in labels.items() if label == "happiness"]
    assert places[-1][mover] - places[0][mover] == pytest.approx(8 * 15, abs=4)


def test_hidden_face_keeps_its_number_for_less_than_a_second(
    finder: FaceDetector, recognizer: Recognizer, heads: dict[str, Image.Image]
) -> None:
    shown, empty = scene((heads["happiness"], 100, 50)), scene()
    with open_tracker(finder, recognizer, patience=0.5) as tracker:
        results = track(tracker, [shown] * 3 + [empty] * 10 + [shown] * 2)
        assert [len(people) for people in results] == [1] * 15
        assert [people[0].fresh for people in results] == [True] * 3 + [False] * 10 + [True] * 2
        assert {people[0].track_id for people in results} == {1}
        hidden = results[5][0]
        assert hidden.raw is results[2][0].raw and hidden.expression is results[2][0].expression
        assert center(hidden.face) == pytest.approx(center(results[2][0].face), abs=2)
        gone = track(tracker, [empty] * 17, start=0.49)
        assert [bool(people) for people in gone] == [True] * 15 + [False] * 2
        (again,) = tracker.update(shown, 3.0)
        assert (again.track_id, again.since, again.fresh) == (2, 3.0, True)


def test_more_faces_than_the_budget_take_turns(
    finder: FaceDetector, recognizer: Recognizer, heads: dict[str, Image.Image]
) -> None:
    happy, neutral = heads.values()
    frame = scene((happy, 0, 0), (neutral.resize((130, 130)), 160, 0), (happy, 320, 0), (neutral, 0, 180))
    with open_tracker(finder, recognizer, faces=2) as tracker:
        results = track(tracker, [frame] * 8)
        assert [len(people) for people in results] == [2] + [4] * 7  # the others wait for the second frame
        for people in results:
            assert sum(person.fresh for person in people) == 2
        turns = [{person.track_id for person in people if person.fresh} for people in results]
        assert all(first | second == {1, 2, 3, 4} for first, second in pairwise(turns))
        sides = {person.track_id: person.face.box[2] for person in results[-1]}
        assert min(sides[1], sides[2]) > max(sides[3], sides[4]) - 8  # the largest come first


def test_recorded_video_gives_the_same_result_at_any_speed(
    finder: FaceDetector, recognizer: Recognizer, heads: dict[str, Image.Image]
) -> None:
    frames = [scene((heads["happiness"], 5 * k, 20)) for k in range(5)] + [scene()] * 2
    runs = []
    for pause in (0.0, 0.02):
        with open_tracker(finder, recognizer) as tracker:
            rows = []
            for index, frame in enumerate(frames):
                time.sleep(pause)
                for person in tracker.update(frame, index / RATE):
                    rows.append((person.track_id, person.face.box, person.expression.scores, person.fresh))
            runs.append(rows)
    assert runs[0] == runs[1] and len(runs[0]) == 7


def test_smoothed_expression_changes_with_the_face(
    finder: FaceDetector, recognizer: Recognizer, heads: dict[str, Image.Image]
) -> None:
    before, after = (scene((head, 100, 50)) for head in heads.values())
    with open_tracker(finder, recognizer) as tracker:
        results = track(tracker, [before] * 5 + [after] * 6)
    people = [people[0] for people in results]
    assert people[4].expression.label == "happiness" and people[-1].expression.label == "neutral"
    assert 5 / RATE <= people[-1].since <= 5 / RATE + 0.1
    for person in people:
        assert sum(person.expression.scores.values()) == pytest.approx(1)
        assert person.expression.score == person.expression.scores[person.expression.label]
        assert person.raw.quality is not None and person.raw.quality.has_face


def test_detector_searches_every_15th_frame_and_when_a_face_is_lost(
    finder: FaceDetector, recognizer: Recognizer, heads: dict[str, Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    searches: list[int] = []
    search = finder.search

    def count(frame: Frame, *, color: str) -> list[Face]:
        searches.append(index)
        return search(frame, color=color)

    monkeypatch.setattr(finder, "search", count)
    shown = scene((heads["happiness"], 100, 50))
    frames = [shown] * 18 + [scene()] * 2 + [shown] * 2
    with open_tracker(finder, recognizer) as tracker:
        for index, frame in enumerate(frames):
            tracker.update(frame, index / RATE)
    assert searches == [0, 15, 18, 19, 20]


def test_long_gap_starts_the_smoothing_again(
    finder: FaceDetector, recognizer: Recognizer, heads: dict[str, Image.Image]
) -> None:
    before, after = (scene((head, 100, 50)) for head in heads.values())
    with open_tracker(finder, recognizer, smoothing=OneEuro(0.01, 0)) as tracker:
        tracker.update(before, 0.0)
        (slow,) = tracker.update(after, 0.1)
        (fresh,) = tracker.update(after, 10.0)
    assert slow.expression.label == "happiness" and slow.raw.label == "neutral"
    assert (fresh.track_id, fresh.since) == (1, 10.0)
    assert fresh.expression.scores == pytest.approx(fresh.raw.scores)


def test_reload_starts_the_smoothing_again_and_people_keep_their_numbers(
    finder: FaceDetector, heads: dict[str, Image.Image], tmp_path: Path
) -> None:
    frame = scene((heads["happiness"], 100, 50))
    bundles = [tiny_bundle(tmp_path / f"{seed}.fer", seed=seed) for seed in (0, 1)]
    labels = LABELS[::-1]
    bundles.append(tiny_bundle(tmp_path / "labels.fer", seed=2, labels=labels, words=labels))
    with (
        Recognizer.open(bundles[0], threads=1) as recognizer,
        open_tracker(finder, recognizer, smoothing=OneEuro(0.01, 0)) as tracker,
    ):
        (former,) = track(tracker, [frame] * 3)[-1]
        tracker.reload(bundles[1])
        (new,) = tracker.update(frame, 1.0)
        assert new.track_id == former.track_id
        assert new.expression.model_hash == recognizer.model_hash != former.expression.model_hash
        assert new.expression.scores == new.raw.scores != former.expression.scores
        assert (former.since, new.since) == (0.0, 1.0)
        with pytest.raises(BundleError, match="has the labels"):
            tracker.reload(bundles[2])
        tracker.reload(bundles[2], other_labels=True)
        assert tracker.labels == labels
        (other,) = tracker.update(frame, 1.1)
        assert tuple(other.expression.scores) == labels and other.expression.scores == other.raw.scores


def test_thread_finds_faces_and_ends(recognizer: Recognizer, networks: None, heads: dict[str, Image.Image]) -> None:
    frame = scene((heads["happiness"], 100, 50))[:, :, ::-1].copy()
    with ExpressionTracker.open(recognizer=recognizer) as tracker:
        assert tracker.update(frame, color="bgr") == []  # the search has begun
        deadline = time.monotonic() + 20
        while not (people := tracker.update(frame, color="bgr")) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert people[0].expression.label == "happiness"
        assert "fer-edge-search" in {thread.name for thread in threading.enumerate()}
    assert "fer-edge-search" not in {thread.name for thread in threading.enumerate()}
    with pytest.raises(EngineError, match="the tracker is closed; open it again"):
        tracker.update(frame)
    tracker.close()


def test_search_waits_until_the_frame_is_processed(finder: FaceDetector, heads: dict[str, Image.Image]) -> None:
    searcher = OwnThread(finder)
    searcher.request(Request(scene((heads["neutral"], 100, 100)), "rgb", 0.0, {}))
    time.sleep(0.1)
    assert searcher.take() is None
    searcher.begin()
    candidates, end = None, time.monotonic() + 20
    while candidates is None and time.monotonic() < end:
        candidates = searcher.take()
    searcher.close()
    assert candidates is not None and len(candidates.faces) == 1


def test_thread_ends_with_a_tracker_that_is_not_closed(finder: FaceDetector, recognizer: Recognizer) -> None:
    tracker = open_tracker(finder, recognizer, background=True)
    tracker.update(scene())
    del tracker
    gc.collect()
    assert "fer-edge-search" not in {thread.name for thread in threading.enumerate()}


def test_errors_of_the_thread_reach_the_caller(recognizer: Recognizer, networks: None) -> None:
    detector = FaceDetector.open()
    with ExpressionTracker.open(detector=detector, recognizer=recognizer) as tracker:
        detector.close()
        with pytest.raises(EngineError, match="the face detector is closed"):
            for _ in range(1000):
                tracker.update(scene())
                time.sleep(0.01)


def test_borrowed_networks_stay_open(finder: FaceDetector, recognizer: Recognizer) -> None:
    open_tracker(finder, recognizer).close()
    assert finder.detect(scene()) == [] and not recognizer.runner.is_closed


def test_times_must_increase(finder: FaceDetector, recognizer: Recognizer) -> None:
    with open_tracker(finder, recognizer) as tracker:
        tracker.update(scene(), 1.0)
        for early in (1.0, 0.5, -1):
            with pytest.raises(InputError, match=r"time is .* s; expected more than 1 s, the time of the last frame"):
                tracker.update(scene(), early)
        for wrong in (float("nan"), float("inf"), "now"):
            with pytest.raises(InputError, match=r"time is .*; expected the time of the frame in seconds"):
                tracker.update(scene(), wrong)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="the frame is uint8"):
            tracker.update(np.zeros((5, 5), np.uint8), 2.0)
        tracker.update(scene(), np.float64(2.0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"faces": 0}, "faces is 0; expected a whole number from 1 on"),
        ({"detect_every": 1.5}, "detect_every is 1.5; expected a whole number"),
        ({"smoothing": 3}, r"smoothing is 3; expected OneEuro\(...\) or None"),
        ({"hysteresis": 1}, "hysteresis is 1; expected a number from 0 to below 1"),
        ({"patience": 0}, "patience is 0; expected a number of seconds above 0"),
        ({"bundle": "other.fer"}, "bundle is set beside recognizer"),
    ],
)
def test_wrong_settings_are_refused(
    finder: FaceDetector, recognizer: Recognizer, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        open_tracker(finder, recognizer, **settings)


def test_detector_without_landmarks_is_refused(recognizer: Recognizer, networks: None) -> None:
    with (
        FaceDetector.open(landmarks=False, detail="fast") as detector,
        pytest.raises(ConfigError, match="the detector has no landmarks, which follow faces"),
    ):
        ExpressionTracker.open(detector=detector, recognizer=recognizer)


def test_tracker_cannot_be_copied(finder: FaceDetector, recognizer: Recognizer) -> None:
    with open_tracker(finder, recognizer) as tracker:
        assert repr(tracker) == "<ExpressionTracker BlazeFace, 0 tracks, open>"
        with pytest.raises(CopyError):
            copy.copy(tracker)


def face_at(x: float, y: float, side: float = 100.0) -> Face:
    return Face((x, y, side, side), 0.9, np.zeros((5, 2)), np.zeros((468, 3)))


def test_candidates_are_assigned_by_overlap() -> None:
    places = {Track(face, 0.0, Smoother(None, 0.1)): face for face in (face_at(0, 0), face_at(80, 0), face_at(300, 0))}
    near, far, other = face_at(60, 0), face_at(10, 0), face_at(500, 0)
    pairs = associate(places, [near, far, other])
    first, second, third = places
    assert pairs[first] is far and pairs[second] is near and third not in pairs
    assert associate(places, []) == {} and associate({}, [near]) == {}


def test_place_is_predicted_at_constant_velocity() -> None:
    track = Track(face_at(0, 0), 0.0, Smoother(None, 0.1))
    for frame in range(1, 31):
        track.move(face_at(2.0 * frame, -frame), frame / RATE)
    assert track.predict(1.5, 1.0).box[:2] == pytest.approx((90, -45), abs=1)
    assert track.predict(9.0, 1.0).box[:2] == pytest.approx((120, -60), abs=1)
    track.stop()
    assert track.predict(9.0, 1.0) is track.face
