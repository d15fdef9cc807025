"""All scenarios on a tiny real model: what the figures are made of, never how large they are."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

from fer_edge.bench.records import csv_from_records, description, records_from_report
from fer_edge.bench.run import QUICK, SCENARIOS, BenchReport, Plan, Subject, run_bench
from fer_edge.bench.scenarios.cold_start import _import_times
from fer_edge.bench.workload import synthetic_workload
from tests.tiny import tiny_bundle


def test_every_scenario_reports(report: BenchReport) -> None:
    assert report.single_stream is not None and report.single_stream.latency.count >= 30
    assert set(report.single_stream.stages) == {"preprocess", "inference", "postprocess"}
    assert [entry.batch for entry in report.batches] == [1, 2]
    assert {(entry.streams, entry.batch) for entry in report.scaling} == {(1, 1), (1, 2), (2, 1), (2, 2)}
    assert [(loop.rate, loop.frames) for loop in report.open_loop] == [(200, 10)]
    assert [entry.streams for entry in report.multi_stream] == [1, 2]
    assert report.sustained is not None and len(report.sustained.windows) == 24
    assert report.roofline is not None and report.roofline.layers
    assert (report.bundle, report.engine, report.precision, report.threads) == ("tiny", "openvino", "fp32", 1)


def test_a_cold_start_is_told_in_steps(report: BenchReport) -> None:
    found = report.cold_start
    assert found is not None and found.runs == 1
    parts = found.python.value + found.imports.value + found.load.value + found.first_query.value
    assert 0 < parts <= found.first_result.value
    assert 0 < found.own_imports < found.imports.value
    assert found.predict_command.value > 0
    memory = [found.memory.imported, found.memory.loaded, found.memory.peak]
    assert None in memory or memory == sorted(memory)  # type: ignore[type-var]


def test_import_times_are_read_from_pythons_report() -> None:
    text = "import time: self [us] | cumulative | imported package\nimport time:       120 |        300 |   fer_edge.a"
    assert _import_times(text) == [("fer_edge.a", 120)]


def test_records_have_every_scenario_and_the_environment(report: BenchReport) -> None:
    rows = list(csv.DictReader(io.StringIO(csv_from_records(records_from_report(report), description(report)))))
    assert {row["scenario"] for row in rows} == {"load", *SCENARIOS} - {"on-device"}  # this engine has no device
    assert all(row["cpu"] and row["openvino"] and row["engine"] == "openvino" for row in rows)
    p90 = next(row for row in rows if row["setting"] == "total" and row["figure"] == "p90")
    assert report.single_stream is not None
    assert float(p90["value"]) == report.single_stream.latency.p90.value


def test_quick_is_the_default(tmp_path: Path) -> None:
    assert Plan().scenarios == QUICK
    path = tiny_bundle(tmp_path / "a.fer", max_batch=1)
    found, _ = run_bench(Subject(path, "onnxruntime"), Plan(queries=10, seconds=0.02))
    assert found.engine == "onnxruntime" and [entry.batch for entry in found.batches] == [1]
    assert found.cold_start is None and found.sustained is None and found.open_loop == []


def test_the_synthetic_frame_is_neither_flat_nor_all_face() -> None:
    workload = synthetic_workload()
    assert workload.frame.shape == (480, 640, 3) and workload.frame.std() > 20
    assert workload.box == (240, 160, 160, 160)
    assert np.array_equal(workload.frame, synthetic_workload().frame)
