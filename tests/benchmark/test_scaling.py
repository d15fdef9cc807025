"""Combinations of threads, streams and batch size, and the recommended ones."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from fer_edge import Recognizer
from fer_edge.benchmark.scenarios import scaling
from fer_edge.benchmark.scenarios.multi_stream import MultiStream
from fer_edge.benchmark.scenarios.scaling import ScalingPoint, recommend, run_scaling, thread_counts
from fer_edge.benchmark.statistics import distribution_from_samples
from fer_edge.benchmark.workload import synthetic_workload
from fer_edge.hardware.cpu import cores
from tests.tiny import tiny_bundle


def point(threads: int, streams: int, batch: int, ms: float, rate: float) -> ScalingPoint:
    return ScalingPoint(threads, streams, batch, rate, distribution_from_samples(np.full(10, ms * 1e6)))


POINTS = [
    point(1, 1, 1, 3.0, 330),
    point(2, 1, 1, 2.0, 500),
    point(1, 2, 1, 3.2, 620),
    point(1, 2, 8, 24.0, 640),
    point(2, 1, 8, 15.0, 530),
]


def test_settings_are_recommended_for_two_kinds_of_apps() -> None:
    best = recommend(POINTS)
    assert str(best.fastest) == "threads 2, streams 1, batch 1"
    # 640 and 620 images per second count as equal: the smaller batch is preferred.
    assert str(best.most) == "threads 1, streams 2, batch 1"
    close = point(1, 1, 1, 2.05, 330)
    assert recommend([close, *POINTS]).fastest.threads == 1


@pytest.mark.slow
def test_all_combinations_are_measured(tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path / "a.fer", max_batch=2)
    opened: list[int] = []

    def open_recognizer(threads: int) -> Recognizer:
        opened.append(threads)
        return Recognizer.open(path, "onnxruntime", threads)

    points = run_scaling(open_recognizer, synthetic_workload(), 0.1, (1, 2), (1, 2), batches=(1, 2, 4))
    assert [(point.threads, point.streams, point.batch) for point in points] == [
        (threads, streams, batch) for threads in (1, 2) for streams in (1, 2) for batch in (1, 2)
    ]
    assert opened == [1, 1, 1, 2, 2, 2]
    assert all(point.images_per_second > 0 for point in points)


def test_point_is_unsteady_if_its_run_was(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run = MultiStream(1, 1, 140, 1.0, POINTS[0].latency, steady=False)
    monkeypatch.setattr(scaling, "run_streams", mock.Mock(return_value=run))
    with Recognizer.open(tiny_bundle(tmp_path / "a.fer"), "onnxruntime") as recognizer:
        points = run_scaling(lambda threads: recognizer, synthetic_workload(), 0.1, (1,), (1,), batches=(1,))
    assert [point.steady for point in points] == [False]


def test_thread_counts_reach_all_cores() -> None:
    counts = thread_counts("openvino")
    assert counts[0] == 1 and counts[-1] == cores() and list(counts) == sorted(set(counts))
