"""All scenarios on a tiny real model: structure of the results, not their size."""

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

from fer_edge.benchmark import run
from fer_edge.benchmark.noise import Noise, NoiseMonitor
from fer_edge.benchmark.page import page_from_report
from fer_edge.benchmark.registry import SCENARIOS
from fer_edge.benchmark.report import BenchReport
from fer_edge.benchmark.rows import csv_from_rows, rows_from_report, run_columns
from fer_edge.benchmark.run import run_scenarios
from fer_edge.benchmark.scenario import Plan, Session
from fer_edge.benchmark.scenarios import _first_result, cold_start, roofline
from fer_edge.benchmark.scenarios.cold_start import ColdStart, _import_times, run_cold_start
from fer_edge.benchmark.scenarios.on_device import DeviceBatch, OnDevice
from fer_edge.benchmark.statistics import Histogram
from fer_edge.benchmark.worker import write_settings
from fer_edge.benchmark.workload import synthetic_workload
from fer_edge.bundle import Bundle
from fer_edge.engines.base import Runner, RunOptions
from fer_edge.engines.capabilities import Peak
from fer_edge.errors import EngineError
from fer_edge.evaluation.parity import GATES, ParityReport, Stage
from fer_edge.hardware import gpu as nvidia
from fer_edge.hardware.gpu import Driver, Gpu
from fer_edge.hardware.gpu_state import GpuState, Spread
from fer_edge.recognizer import Recognizer
from tests.tiny import tiny_bundle

pytestmark = pytest.mark.xdist_group("benchmark report")


def test_every_scenario_reports(report: BenchReport) -> None:
    assert report.single_stream is not None and report.single_stream.latency.count >= 30
    assert set(report.single_stream.stages) == {"preprocess", "inference", "postprocess"}
    assert [batch.batch for batch in report.batches] == [1, 2]
    assert {(point.streams, point.batch) for point in report.scaling} == {(1, 1), (1, 2), (2, 1), (2, 2)}
    assert [(loop.rate, loop.frames) for loop in report.open_loop] == [(200, 10)]
    assert [run.streams for run in report.multi_stream] == [1, 2]
    assert report.sustained is not None and len(report.sustained.windows) == 24
    assert report.roofline is not None and report.roofline.layers
    assert (report.bundle, report.engine, report.precision, report.threads) == ("tiny", "openvino", "fp32", 1)


def test_steps_of_a_cold_start_add_up(report: BenchReport) -> None:
    start = report.cold_start
    assert start is not None and start.runs == 1
    parts = start.python.value + start.imports.value + start.load.value + start.first_query.value
    assert 0 < parts <= start.first_result.value
    assert 0 < start.own_imports < start.imports.value
    assert start.predict_command.value > 0
    memory = [start.memory.imported, start.memory.loaded, start.memory.peak]
    assert None in memory or memory == sorted(memory)


def cold_start_of(path: Path) -> ColdStart:
    """Measure one cold start of a bundle."""
    bundle, options = Bundle.open(path), RunOptions(1)
    with Recognizer.open(bundle, "onnxruntime", options=options) as recognizer:
        plan = Plan(cold_starts=1)
        return run_cold_start(Session(bundle, "onnxruntime", options, plan, recognizer, lambda share: None, {}))


def test_cold_start_uses_the_clock_with_fine_resolution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, options = tiny_bundle(tmp_path / "a.fer", max_batch=1), RunOptions(1)
    # The coarse clock is far ahead, so that its use shows in the results.
    monkeypatch.setattr(time, "monotonic_ns", lambda: 1 << 62)
    start = cold_start_of(bundle)
    assert 0 < start.python.value < start.first_result.value and start.predict_command.value > 0
    file = write_settings(tmp_path / "settings.json", bundle, "onnxruntime", options, synthetic_workload())
    monkeypatch.setattr(sys, "argv", ["program", str(file)])
    importlib.reload(_first_result).main()
    steps = json.loads(capsys.readouterr().out)["steps"]
    assert 0 < steps["python"] < steps["numpy"] < steps["fer_edge"] < steps["load"] < steps["first query"]


@pytest.mark.slow
def test_first_start_is_reported_for_engines_with_a_kernel_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, environments, run_worker = tiny_bundle(tmp_path / "a.fer", max_batch=1), [], cold_start._time_first_result

    def compile_kernels(settings: Path, variables: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Write into the cache as TensorRT-RTX does."""
        environments.append(variables)
        if variables is not None:
            assert not list(Path(variables["FER_EDGE_CACHE"]).iterdir()), "kernels of earlier starts"
            (Path(variables["FER_EDGE_CACHE"]) / "kernels.cache").touch()
        return run_worker(settings, variables)

    def first_start(*, on_gpu: bool) -> float | None:
        monkeypatch.setattr(Runner, "has_device", on_gpu)
        return cold_start_of(bundle).first_start

    assert first_start(on_gpu=True) is None, "the cache stays empty"
    monkeypatch.setattr(cold_start, "_time_first_result", compile_kernels)
    assert first_start(on_gpu=False) is None and environments == [None]
    assert (first_start(on_gpu=True) or 0) > 0 and environments[1] is None and len(environments) == 3


def test_import_times_are_parsed() -> None:
    text = "import time: self [us] | cumulative | imported package\nimport time:       120 |        300 |   fer_edge.a"
    assert _import_times(text) == [("fer_edge.a", 120)]


def test_csv_has_every_scenario_and_the_environment(report: BenchReport) -> None:
    rows = list(csv.DictReader(io.StringIO(csv_from_rows(rows_from_report(report), run_columns(report)))))
    assert {row["scenario"] for row in rows} == {"load", *SCENARIOS} - {"on-device"}  # this engine runs on the CPU
    assert len({row["bundle SHA-256"] for row in rows}) == 1 and len(rows[0]["bundle SHA-256"]) == 64
    assert {(row["plan queries"], row["plan image"], row["plan box"]) for row in rows} == {
        ("30", "synthetic", "240 160 160 160")
    }
    assert all(row["cpu"] and row["openvino"] and row["engine"] == "openvino" for row in rows)
    p90 = next(row for row in rows if row["setting"] == "total" and row["figure"] == "p90")
    assert report.single_stream is not None
    assert float(p90["value"]) == report.single_stream.latency.p90.value


def test_warnings_are_in_the_rows_of_their_scenario(report: BenchReport) -> None:
    noise = {**report.noise, "batches": Noise(None, 0.31, 0.0, None, None)}
    rows = rows_from_report(replace(report, noise=noise))
    figures = [row for row in rows if row.setting != "noise"]
    assert {row.scenario for row in figures if row.warnings == "other processes used 31 % of the CPU time"} == {
        "batches"
    }
    assert ("batches", "noise", "other processes", 0.31) in {
        (row.scenario, row.setting, row.figure, row.value) for row in rows
    }


def test_every_number_of_a_report_is_in_the_csv(report: BenchReport) -> None:
    count = itertools.count(1000)
    full = number_all(fill(report), count)
    columns = [str(value) for value in run_columns(full).values()]
    rows = rows_from_report(full)
    present = {
        digits
        for text in (*columns, *(row.setting for row in rows), *(str(row.value) for row in rows))
        for digits in re.findall(r"\d{4}", text)
    } | {str(bound) for row in rows for bound in (row.low, row.high)}
    numbers = next(count) - 1000
    assert numbers > 500
    assert [number for number in range(1000, 1000 + numbers) if str(number) not in present] == []


def fill(report: BenchReport) -> BenchReport:
    """Add results that this machine or engine does not have."""
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
        results={
            **report.results,
            "sustained": replace(long, windows=windows),
            "cold-start": replace(cold, first_start=1.0),
            "on-device": OnDevice((DeviceBatch(1, True, total, total, total, total),), gpu, ""),
        },
        parity=ParityReport(1, GATES["fp32"], (Stage("names", True, ""),)),
        operators={"Conv": {"float": 1}},
        proven={"int8": 1.0},
    )


def number_all(value: Any, count: Iterator[int]) -> Any:
    """Replace every number by a unique one, except in histograms and texts."""
    if isinstance(value, (bool, str, Histogram)) or value is None:
        return value
    if isinstance(value, (int, float)):
        return next(count)
    if isinstance(value, dict):
        return {name: number_all(item, count) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)([number_all(item, count) for item in value])
    return replace(value, **{field.name: number_all(getattr(value, field.name), count) for field in fields(value)})


def test_threads_are_used_by_every_scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = Bundle.open(tiny_bundle(tmp_path / "a.fer", max_batch=1), in_memory=True)
    used: list[object] = []

    class Profiler:
        def peaks(self, options: RunOptions, repeats: int) -> list[Peak]:
            used.append(options)
            raise EngineError("stop here")

    def record(session: Session) -> None:
        used.append(session.options)

    monkeypatch.setattr(roofline, "get_profiler", lambda engine: Profiler())
    monkeypatch.setattr(cold_start, "run_cold_start", record)
    plan = Plan(("multi-stream", "cold-start", "roofline"), seconds=0.02, streams=(1, 2))
    result, _ = run_scenarios(bundle, plan, "onnxruntime", RunOptions(3))
    assert result.threads == 3 and [streams.threads for streams in result.multi_stream] == [3, 3]
    assert used == [RunOptions(3), RunOptions(3)]


def test_noise_is_measured_for_each_scenario(
    report: BenchReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(report.noise) == [name for name in SCENARIOS if name not in report.left_out]
    assert list(report.left_out) == ["on-device"]
    shares = iter((0.0, 0.5))

    class Burst(NoiseMonitor):
        def __exit__(self, *error: Any) -> None:
            super().__exit__(*error)
            self.noise = replace(self.noise, others_share=next(shares))

    monkeypatch.setattr(run, "NoiseMonitor", Burst)
    path = tiny_bundle(tmp_path / "a.fer", max_batch=1)
    result, _ = run_scenarios(Bundle.open(path), Plan(("single-stream", "batches"), queries=10, seconds=0.02))
    assert {name: noise.others_share for name, noise in result.noise.items()} == {"single-stream": 0.0, "batches": 0.5}
    assert result.noise["batches"].load_before is None, "the load average includes the single stream"


def test_results_of_a_gpu_name_it_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Gpu("NVIDIA RTX A2000", "sm86", 6144, integrated=False)
    monkeypatch.setattr(nvidia, "read_driver", lambda: Driver((13, 0), (gpu,)))
    path, plan = tiny_bundle(tmp_path / "a.fer", max_batch=1), Plan(("single-stream",), queries=10, seconds=0.02)
    result, _ = run_scenarios(Bundle.open(path), plan)
    assert not [name for name in result.environment if "GPU" in name]
    monkeypatch.setattr(Runner, "has_device", True)
    result, _ = run_scenarios(Bundle.open(path), plan)
    facts = {"GPU device": "0", "GPU": "NVIDIA RTX A2000", "GPU architecture": "sm86", "CUDA of the driver": "13.0"}
    assert facts.items() <= result.environment.items() and facts.items() <= run_columns(result).items()
    page = page_from_report(result, {}).decode()
    assert all(name in page and value in page for name, value in facts.items())


def test_quick_scenarios_are_the_default(tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path / "a.fer", max_batch=1)
    result, _ = run_scenarios(Bundle.open(path), Plan(queries=10, seconds=0.02), "onnxruntime")
    assert result.engine == "onnxruntime" and [batch.batch for batch in result.batches] == [1]
    assert result.cold_start is None and result.sustained is None and result.open_loop == []


def test_synthetic_frame_has_contrast_and_a_face_box() -> None:
    workload = synthetic_workload()
    assert workload.frame.shape == (480, 640, 3) and workload.frame.std() > 20
    assert workload.box == (240, 160, 160, 160)
    assert np.array_equal(workload.frame, synthetic_workload().frame)
