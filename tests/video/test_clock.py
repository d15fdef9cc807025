"""Times of frames: they increase across breaks, repetitions and wrong timestamps."""

from __future__ import annotations

import pytest

from fer_edge.video.clock import Clock


def times(clock: Clock, *frames: tuple[float | None, float]) -> list[float]:
    return [clock.time(stamp, arrival, 0.04) for stamp, arrival in frames]


def test_recording_begins_at_zero_and_keeps_its_timestamps() -> None:
    clock = Clock(live=False, endless=False)
    assert times(clock, (7.0, 0), (7.1, 50), (7.5, 51)) == pytest.approx([0, 0.1, 0.5])


def test_recording_without_timestamps_has_its_usual_rate() -> None:
    assert times(Clock(live=False, endless=False), (None, 0), (None, 9)) == pytest.approx([0, 0.04])


def test_repetition_continues_after_the_last_frame() -> None:
    clock = Clock(live=False, endless=False)
    times(clock, (1.0, 0), (1.1, 0))
    clock.restart()
    assert times(clock, (1.0, 0), (1.1, 0)) == pytest.approx([0.14, 0.24])


def test_repeated_and_backward_timestamps_still_increase() -> None:
    recording, live = Clock(live=False, endless=False), Clock(live=True, endless=True)
    assert times(recording, (0.0, 0), (0.5, 0), (0.5, 0), (0.2, 0)) == pytest.approx([0, 0.5, 0.54, 0.58])
    assert times(live, (0.0, 0), (0.5, 0.5), (0.3, 0.6), (0.7, 0.7)) == pytest.approx([0, 0.5, 0.501, 0.7])


def test_live_frames_without_timestamps_have_the_time_of_arrival() -> None:
    assert times(Clock(live=True, endless=True), (None, 100), (None, 100.5)) == pytest.approx([0, 0.5])


def test_reconnection_continues_at_the_time_of_arrival() -> None:
    clock = Clock(live=True, endless=True)
    times(clock, (50.0, 100), (50.1, 100.1))
    clock.restart()
    assert times(clock, (3.0, 110), (3.1, 110.1)) == pytest.approx([10, 10.1])


def test_jump_in_the_timestamps_of_a_camera_is_undone() -> None:
    assert times(Clock(live=True, endless=True), (1.0, 0), (9000.0, 0.1)) == pytest.approx([0, 0.1])
    # A recording that arrives through a pipe keeps its timestamps.
    assert times(Clock(live=True, endless=False), (1.0, 0), (901.0, 0.1)) == pytest.approx([0, 900])
