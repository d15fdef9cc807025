"""`bench`: the benchmark of a bundle as one call."""

from __future__ import annotations

import csv
import json
import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fer_edge.benchmark.formatting import interval, with_interval
from fer_edge.benchmark.registry import SCENARIOS
from fer_edge.benchmark.run import _add_parity, bench, run_scenarios
from fer_edge.benchmark.scenario import Plan
from fer_edge.benchmark.scenarios import open_loop
from fer_edge.benchmark.statistics import Estimate, distribution_from_samples, share_estimate
from fer_edge.bundle import Bundle
from fer_edge.engines.base import Runner, RunOptions
from fer_edge.errors import BundleError, CheckpointError, ConfigError, EngineError, FerEdgeError
from fer_edge.progress import silent
from tests.benchmark.failing_scenario import replace_run
from tests.benchmark.progress_recorder import ProgressRecorder
from tests.tiny import tiny_bundle
from tests.tiny_model import tiny_checkpoint

QUICK: dict[str, Any] = {"queries": 20, "seconds": 0.1}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return tiny_bundle(tmp_path / "tiny.fer", max_batch=1)


def test_report_prints_tables_and_converts_to_json(bundle: Path) -> None:
    progress = ProgressRecorder()
    report = bench(str(bundle), threads=1, progress=progress, **QUICK)
    text, data = str(report), json.loads(report.to_json())
    for part in (
        "single stream, one face: p90",
        "preprocess",
        "MLPerf requires 1024 and 60 s",
        "images/s",
        "threads 1",
    ):
        assert part in text
    assert data["single_stream"]["latency"]["count"] >= 20 and data["open_loop"] == []
    assert data["plan"]["queries"] == 20 and data["file"] == str(bundle) and data["report"] is None
    assert progress.done == {"single-stream": 100, "batches": 100}
    assert report.measured == ("single-stream", "batches") and report.passed
    assert repr(report) == "BenchReport(bundle='tiny', engine='openvino', measured=('single-stream', 'batches'))"


def test_frame_and_box_come_from_the_caller(bundle: Path, tmp_path: Path) -> None:
    image = tmp_path / "frame.png"
    Image.new("RGB", (200, 150), (90, 120, 60)).save(image)
    report = bench(bundle, scenarios=["batches"], seconds=0.1, image=image, box=np.array([10, 10, 80, 90]))
    assert (report.plan.image, report.plan.width, report.plan.box) == (str(image), 200, (10, 10, 80, 90))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"box": (1, 2, 3, 4)}, ConfigError, "a box needs an image"),
        ({"images": "x"}, ConfigError, "the comparison with PyTorch needs a checkpoint and images"),
        ({"minutes": 1}, ConfigError, "minutes applies only to the scenario sustained; add one, or omit minutes"),
        ({"rates": [30.0]}, ConfigError, "rates applies only to the scenario open-loop"),
        ({"seconds": float("nan")}, ConfigError, "seconds is nan; expected a finite number from 0.1 to 86400"),
        ({"seconds": float("inf")}, ConfigError, "seconds is inf"),
        (
            {"scenarios": ["open-loop"], "rates": [30.0, 0.5]},
            ConfigError,
            r"rates\[1\] is 0.5; expected a finite number",
        ),
        ({"device": 1}, ConfigError, "a device applies only to engines that run on a GPU, not to openvino"),
        ({"checkpoint": "/nope.safetensors", "images": "/nope"}, CheckpointError, "no checkpoint at /nope"),
        ({"scenarios": ["on-device"]}, EngineError, "on-device is not supported: openvino runs on the CPU"),
        (
            {"engine": "onnxruntime", "scenarios": ["single-stream", "roofline"]},
            EngineError,
            "roofline is not supported: .*; nothing was measured, omit roofline",
        ),
    ],
)
def test_wrong_arguments_are_refused(
    bundle: Path, arguments: dict[str, Any], error: type[FerEdgeError], message: str
) -> None:
    with pytest.raises(error, match=message):
        bench(bundle, **arguments)


def test_wrong_files_are_refused(bundle: Path, tmp_path: Path) -> None:
    checkpoint, file = tmp_path / "tiny.safetensors", tmp_path / "file"
    tiny_checkpoint().save(checkpoint)
    file.touch()
    with pytest.raises(BundleError, match="no bundle at"):
        bench(tmp_path / "none.fer")
    with pytest.raises(ConfigError, match="is also an input; name another file to write"):
        bench(bundle, csv=bundle)
    with pytest.raises(CheckpointError, match="is a fer-edge bundle; expected the checkpoint"):
        bench(bundle, checkpoint=bundle, images=tmp_path)
    with pytest.raises(FerEdgeError, match="no file or folder at /nope"):
        bench(bundle, checkpoint=checkpoint, images="/nope")
    with pytest.raises(FerEdgeError, match=r"file\b"):
        bench(bundle, report=file)


@pytest.mark.slow
def test_all_skips_unsupported_scenarios(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # A cold start takes seconds; the fixture `report` has one.
    monkeypatch.setattr(SCENARIOS["cold-start"], "run", lambda session: None)
    settings: dict[str, Any] = {"queries": 10, "seconds": 0.1, "minutes": 0.05, "rates": [200.0]}
    with caplog.at_level(logging.INFO, "fer_edge"):
        report = bench(bundle, engine="onnxruntime", scenarios=["all"], **settings)
    assert list(report.left_out) == ["on-device", "roofline"]
    assert report.left_out["on-device"] == "onnxruntime runs on the CPU; on-device timing needs a GPU engine"
    assert f"skipped roofline: {report.left_out['roofline']}" in caplog.messages
    assert "skipped: on-device, roofline" in report.notes()
    assert report.roofline is None and report.sustained is not None and report.scaling
    assert list(report.noise) == [name for name in SCENARIOS if name not in report.left_out]


@pytest.mark.slow
def test_results_are_kept_when_parity_fails(bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    broken, faces, table = tmp_path / "broken.safetensors", tmp_path / "faces", tmp_path / "figures.csv"
    tiny_checkpoint().save(broken)
    broken.write_bytes(broken.read_bytes()[:-1])
    faces.mkdir()
    Image.new("RGB", (48, 48)).save(faces / "a.png")
    report = bench(bundle, scenarios=["single-stream"], checkpoint=broken, images=faces, csv=table, **QUICK)
    assert report.single_stream is not None and report.parity is None and not report.passed
    assert list(report.failed) == ["parity"] and str(broken) in report.failed["parity"]
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert errors == [f"parity failed: {report.failed['parity']}"]
    assert table.stat().st_size > 1000


@pytest.mark.parametrize("failure", [EngineError("out of frames"), OSError(28, "No space left on device")])
def test_failed_scenario_does_not_stop_the_others(
    failure: Exception, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_run(monkeypatch, "batches", failure)
    table = tmp_path / "figures.csv"
    report = bench(
        bundle,
        scenarios=["single-stream", "batches", "open-loop"],
        rates=[100.0],
        csv=table,
        report=tmp_path,
        **QUICK,
    )
    assert report.failed == {"batches": str(failure)} and list(report.noise) == ["single-stream", "open-loop"]
    assert report.single_stream is not None and report.open_loop[0].frames == 10 and not report.passed
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert {row["failed"] for row in rows} == {f"batches: {failure}"}
    assert report.report == str(tmp_path / "report.html") and "batches failed:" in Path(report.report).read_text()
    assert "failed: batches" in report.notes()


def test_interrupt_keeps_finished_scenarios(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_run(monkeypatch, "batches", KeyboardInterrupt())
    table = tmp_path / "figures.csv"
    report = bench(bundle, csv=table, **QUICK)
    assert (report.stopped, report.measured) == ("batches", ("single-stream",))
    assert "single-stream" in table.read_text() and not report.passed
    replace_run(monkeypatch, "single-stream", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        bench(bundle, csv=tmp_path / "none.csv", **QUICK)
    assert not (tmp_path / "none.csv").exists()


def test_parity_uses_device_and_threads_of_the_benchmark(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: list[RunOptions | None] = []

    def record(self: Bundle, engine: str | None = None, run_options: RunOptions | None = None) -> Runner:
        options.append(run_options)
        raise EngineError("stop here")

    opened, files = Bundle.open(bundle), {"checkpoint": tmp_path / "a.safetensors", "images": tmp_path}
    report, _ = run_scenarios(opened, Plan((), seconds=0.1))
    monkeypatch.setattr(Bundle, "runner", record)
    with pytest.raises(EngineError, match="stop here"):
        _add_parity(report, opened, RunOptions(threads=2, device=3), files, silent)
    assert options == [RunOptions(threads=2, device=3)]


@pytest.mark.slow
def test_parity_is_a_part_of_the_report(tmp_path: Path, hashed: Counter[str]) -> None:
    from fer_edge.export.build import build

    checkpoint, faces, bundle = tmp_path / "tiny.safetensors", tmp_path / "faces", tmp_path / "tiny.fer"
    tiny_checkpoint().save(checkpoint)
    build(checkpoint, bundle)
    faces.mkdir()
    Image.new("RGB", (48, 48)).save(faces / "a.png")
    hashed.clear()
    report = bench(bundle, scenarios=["single-stream"], checkpoint=checkpoint, images=faces, **QUICK)
    assert set(hashed.values()) == {1}, "parity uses the bundle that is open"
    assert report.parity is not None and report.parity.passed and report.passed
    assert "top-1 agreement" in str(report)


def test_keeps_up_is_explained_where_a_rate_does_not() -> None:
    latency = distribution_from_samples(np.full(450, 900_000_000))
    late = open_loop.OpenLoop(90, 450, 450, share_estimate(450, 450), 1.0, False, latency)
    assert open_loop.SCENARIO.notes([replace(late, keeps_up=True)]) == []
    assert open_loop.SCENARIO.notes([late]) == [open_loop.KEEPS_UP]
    assert open_loop.SCENARIO.tables([late])[0].rows[0][-1] == "NO"


def test_intervals_without_a_bound_are_open() -> None:
    assert with_interval(Estimate(1.23456, 1, 2)) == "1.235 (1.000 to 2.000)"
    assert with_interval(Estimate(1.5, 1, None), 1) == "1.5 (from 1.0)"
    assert with_interval(Estimate(1.5, None, 2), 0) == "2 (up to 2)"
    assert with_interval(Estimate(1.5)) == "1.500" and interval(Estimate(1.5)) == "-"
