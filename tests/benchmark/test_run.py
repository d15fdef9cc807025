"""All scenarios on a tiny real model: what the figures are made of, never how large they are."""

from __future__ import annotations

import csv
import importlib
import io
import itertools
import json
import re
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_edge.benchmark import first_result, run
from fer_edge.benchmark.csv_rows import csv_from_records, description, records_from_report
from fer_edge.benchmark.gpu import GpuState, Spread
from fer_edge.benchmark.noise import Noise, NoiseMonitor
from fer_edge.benchmark.report import page_from_report
from fer_edge.benchmark.run import QUICK, SCENARIOS, BenchReport, BenchTarget, Plan, run_bench
from fer_edge.benchmark.scenarios import cold_start
from fer_edge.benchmark.scenarios.cold_start import _import_times, run_cold_start
from fer_edge.benchmark.scenarios.on_device import DeviceBatch, OnDevice
from fer_edge.benchmark.statistics import Histogram
from fer_edge.benchmark.workload import synthetic_workload
from fer_edge.bundle import Tuning
from fer_edge.engines.base import Runner
from fer_edge.engines.tensorrt import driver
from fer_edge.engines.tensorrt.driver import Driver, Gpu
from fer_edge.evaluation.parity import GATES, ParityReport, Stage
from fer_edge.machine import machine_name
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


def test_a_cold_start_is_timed_on_a_fine_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, frame, asked = tiny_bundle(tmp_path / "a.fer", max_batch=1), tmp_path / "frame.npy", tmp_path / "asked.json"
    # A clock that hardly moves, as on Windows before Python 3.13, and is far ahead: who looks at it is found out.
    monkeypatch.setattr(time, "monotonic_ns", lambda: 1 << 62)
    found = run_cold_start(bundle, "onnxruntime", 1, synthetic_workload(), runs=1)
    assert 0 < found.python.value < found.first_result.value and found.predict_command.value > 0
    np.save(frame, synthetic_workload().frame)
    settings = {"engine": "onnxruntime", "threads": 1, "box": None, "allow_host_code": False}
    asked.write_text(json.dumps({**settings, "bundle": str(bundle), "frame": str(frame)}))
    monkeypatch.setattr(sys, "argv", ["first_result", str(asked)])
    importlib.reload(first_result).main()
    steps = json.loads(capsys.readouterr().out)["steps"]
    assert 0 < steps["python"] < steps["numpy"] < steps["fer_edge"] < steps["load"] < steps["first query"]


def test_a_first_start_is_told_of_engines_that_keep_compiled_kernels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, given, starts = tiny_bundle(tmp_path / "a.fer", max_batch=1), [], cold_start._first_result

    def compiling(asked: Path, settings: Mapping[str, str] | None = None) -> dict[str, Any]:
        """As TensorRT-RTX does."""
        given.append(settings)
        if settings is not None:
            assert not list(Path(settings["FER_EDGE_CACHE"]).iterdir()), "kernels of starts before"
            (Path(settings["FER_EDGE_CACHE"]) / "kernels.cache").touch()
        return starts(asked, settings)

    def first_start(*, on_gpu: bool) -> float | None:
        return run_cold_start(bundle, "onnxruntime", 1, synthetic_workload(), on_gpu=on_gpu, runs=1).first_start

    assert first_start(on_gpu=True) is None, "nothing is kept, so nothing was compiled"
    monkeypatch.setattr(cold_start, "_first_result", compiling)
    assert first_start(on_gpu=False) is None and given == [None]
    assert (first_start(on_gpu=True) or 0) > 0 and given[1] is None and len(given) == 3


def test_import_times_are_read_from_pythons_report() -> None:
    text = "import time: self [us] | cumulative | imported package\nimport time:       120 |        300 |   fer_edge.a"
    assert _import_times(text) == [("fer_edge.a", 120)]


def test_records_have_every_scenario_and_the_environment(report: BenchReport) -> None:
    rows = list(csv.DictReader(io.StringIO(csv_from_records(records_from_report(report), description(report)))))
    assert {row["scenario"] for row in rows} == {"load", *SCENARIOS} - {"on-device"}  # this engine has no device
    assert len({row["bundle SHA-256"] for row in rows}) == 1 and len(rows[0]["bundle SHA-256"]) == 64
    assert {(row["asked queries"], row["asked image"], row["asked box"]) for row in rows} == {
        ("30", "synthetic", "240 160 160 160")
    }
    assert all(row["cpu"] and row["openvino"] and row["engine"] == "openvino" for row in rows)
    p90 = next(row for row in rows if row["setting"] == "total" and row["figure"] == "p90")
    assert report.single_stream is not None
    assert float(p90["value"]) == report.single_stream.latency.p90.value


def test_warnings_are_in_the_rows_of_their_scenario(report: BenchReport) -> None:
    noise = {**report.noise, "batches": Noise(None, 0.31, 0.0, None, None)}
    rows = records_from_report(replace(report, noise=noise))
    figures = [row for row in rows if row.setting != "noise"]
    assert {row.scenario for row in figures if row.warnings == "other processes took 31 % of the processors' time"} == {
        "batches"
    }
    assert ("batches", "noise", "other processes", 0.31) in {
        (row.scenario, row.setting, row.figure, row.value) for row in rows
    }


def test_every_number_of_a_report_is_among_the_records(report: BenchReport) -> None:
    count = itertools.count(1000)
    full = numbered(filled(report), count)
    described = [str(value) for value in description(full).values()]
    rows = records_from_report(full)
    told = {
        found
        for text in (*described, *(row.setting for row in rows), *(str(row.value) for row in rows))
        for found in re.findall(r"\d{4}", text)
    } | {str(bound) for row in rows for bound in (row.low, row.high)}
    numbers = next(count) - 1000
    assert numbers > 500
    assert [number for number in range(1000, 1000 + numbers) if str(number) not in told] == []


def filled(report: BenchReport) -> BenchReport:
    """With what this machine or engine does not have."""
    total = report.batches[0].latency
    spread = Spread(1, 2, 3)
    gpu = GpuState("RTX", "580.65", 3, spread, spread, spread, spread, spread, ("SwPowerCap",))
    long, cold = report.sustained, report.cold_start
    assert long is not None and cold is not None
    windows = [replace(window, mhz=1.0, celsius=1.0, throttled=1) for window in long.windows]
    return replace(
        report,
        threads=1,
        noise={name: Noise(1.0, 1.0, 1.0, 1.0, 1) for name in report.noise},
        sustained=replace(long, windows=windows),
        cold_start=replace(cold, first_start=1.0),
        on_device=OnDevice((DeviceBatch(1, True, total, total, total, total),), gpu, ""),
        parity=ParityReport(1, GATES["fp32"], (Stage("names", True, ""),)),
        operators={"Conv": {"float": 1}},
        proven={"int8": 1.0},
    )


def numbered(value: Any, count: Iterator[int]) -> Any:
    """The same with a number of its own in place of each; bins of histograms and what describes the system stay."""
    if isinstance(value, (bool, str, Histogram)) or value is None:
        return value
    if isinstance(value, (int, float)):
        return next(count)
    if isinstance(value, dict):
        return {name: numbered(each, count) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)([numbered(each, count) for each in value])
    return replace(value, **{each.name: numbered(getattr(value, each.name), count) for each in fields(value)})


def test_tuned_threads_are_used_by_every_scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tuning = Tuning("onnxruntime", machine_name(), 3, 1, 1, "p99=8", 5.0, 300.0)
    path = tiny_bundle(tmp_path / "a.fer", max_batch=1, tunings=(tuning,))
    given: dict[str, object] = {}
    monkeypatch.setattr(run, "measurable", lambda scenarios, *rest: (scenarios, {}))
    for name in ("measure_roofline", "run_cold_start"):

        def note(bundle: object, engine: str, threads: int, *rest: object, name: str = name, **more: object) -> None:
            given[name] = threads

        monkeypatch.setattr(run, name, note)
    plan = Plan(("multi-stream", "cold-start", "roofline"), seconds=0.02, streams=(1, 2))
    found, _ = run_bench(BenchTarget(path, "onnxruntime"), plan)
    assert (found.threads, found.tuned) == (3, True)
    assert [each.threads for each in found.multi_stream] == [3, 3]
    assert given == {"measure_roofline": 3, "run_cold_start": 3}
    told, _ = run_bench(BenchTarget(path, "onnxruntime", threads=1), plan)
    assert (told.threads, told.tuned, told.multi_stream[0].threads, given["measure_roofline"]) == (1, False, 1, 1)


def test_each_scenario_is_watched_alone(report: BenchReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(report.noise) == [name for name in SCENARIOS if name not in report.left_out]
    assert list(report.left_out) == ["on-device"]
    shares = iter((0.0, 0.5))

    class Burst(NoiseMonitor):
        def __exit__(self, *error: Any) -> None:
            super().__exit__(*error)
            self.noise = replace(self.noise, others_share=next(shares))

    monkeypatch.setattr(run, "NoiseMonitor", Burst)
    path = tiny_bundle(tmp_path / "a.fer", max_batch=1)
    found, _ = run_bench(BenchTarget(path), Plan(("single-stream", "batches"), queries=10, seconds=0.02))
    assert {name: noise.others_share for name, noise in found.noise.items()} == {"single-stream": 0.0, "batches": 0.5}
    assert found.noise["batches"].load_before is None, "the load of the minute before is the single stream's"


def test_figures_of_a_gpu_name_it_wherever_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Gpu("NVIDIA RTX A2000", "sm86", 6144, integrated=False)
    monkeypatch.setattr(driver, "read_driver", lambda: Driver((13, 0), (gpu,)))
    path, plan = tiny_bundle(tmp_path / "a.fer", max_batch=1), Plan(("single-stream",), queries=10, seconds=0.02)
    found, _ = run_bench(BenchTarget(path), plan)
    assert not [name for name in found.environment if "GPU" in name], "a processor's"
    monkeypatch.setattr(Runner, "has_device", True)
    found, _ = run_bench(BenchTarget(path), plan)
    told = {"GPU device": "0", "GPU": "NVIDIA RTX A2000", "GPU target": "sm86", "CUDA of the driver": "13.0"}
    assert told.items() <= found.environment.items() and told.items() <= description(found).items()
    page = page_from_report(found, {}).decode()
    assert all(name in page and value in page for name, value in told.items())


def test_quick_is_the_default(tmp_path: Path) -> None:
    assert Plan().scenarios == QUICK
    path = tiny_bundle(tmp_path / "a.fer", max_batch=1)
    found, _ = run_bench(BenchTarget(path, "onnxruntime"), Plan(queries=10, seconds=0.02))
    assert found.engine == "onnxruntime" and [entry.batch for entry in found.batches] == [1]
    assert found.cold_start is None and found.sustained is None and found.open_loop == []


def test_the_synthetic_frame_is_neither_flat_nor_all_face() -> None:
    workload = synthetic_workload()
    assert workload.frame.shape == (480, 640, 3) and workload.frame.std() > 20
    assert workload.box == (240, 160, 160, 160)
    assert np.array_equal(workload.frame, synthetic_workload().frame)
