"""What the figures are made of; never how large they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fer_edge.bench.latency import bench_recognizer, summarise, synthetic_frame
from fer_edge.recognizer import Recognizer
from tests.tiny import tiny_bundle


def test_percentiles_are_numpys_in_milliseconds() -> None:
    samples = np.arange(1, 101, dtype=np.int64) * 1_000_000
    found = summarise(samples)
    assert (found.mean, found.p50, found.max) == (50.5, 50.5, 100)
    assert found.p99 == np.percentile(np.arange(1, 101), 99)


def test_report_is_complete(tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path / "a.fer")
    frame = synthetic_frame()
    assert frame.shape == (112, 112, 3) and frame.std() > 20
    report = bench_recognizer(lambda: Recognizer.open(path), frame, queries=12, seconds=0.5)
    assert report.queries == 12
    assert set(report.stages) == {"preprocess", "inference", "postprocess"}
    assert [entry.batch for entry in report.sweep] == [1, 2, 4, 8]
    assert {"cpu", "date", "openvino", "python"} <= set(report.environment)


def test_time_ends_a_run_before_its_queries(tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path / "a.fer", max_batch=1)
    report = bench_recognizer(lambda: Recognizer.open(path), synthetic_frame(), queries=10**6, seconds=0.05)
    assert 1 <= report.queries < 10**6
