"""`fer-edge bench` and `bench-compare` as their users meet them."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from fer_edge.cli.bench_compare import _environment
from fer_edge.cli.bench_display import _interval, _print_open_loop
from PIL import Image

from fer_edge.benchmark import tune
from fer_edge.benchmark.compare import take_turns
from fer_edge.benchmark.run import SCENARIOS, BenchTarget, Plan, Session, run_bench
from fer_edge.benchmark.scenarios.open_loop import OpenLoop
from fer_edge.benchmark.statistics import Estimate, distribution_from_samples, share_estimate
from fer_edge.bundle import Bundle, EngineEntry, write_bundle
from fer_edge.cli.bench import _with_parity, bench
from fer_edge.engines.base import Runner, RunOptions
from fer_edge.engines.tensorrt import driver
from fer_edge.engines.tensorrt.driver import Driver, Gpu
from fer_edge.errors import EngineError
from tests.benchmark.quiet import on_a_quiet_machine
from tests.command import fer_edge
from tests.tiny import tiny_bundle, tiny_manifest, tiny_onnx
from tests.tiny_model import tiny_checkpoint

NOWHERE = ("--reference", "/nope.safetensors", "--faces", "/nope")
QUICK = ("--queries", 20, "--seconds", 0.1)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return tiny_bundle(tmp_path / "tiny.fer")


def test_tables_for_people(bundle: Path) -> None:
    found = fer_edge("bench", bundle, *QUICK, "--threads", 1)
    assert found.returncode == 0, found.stderr
    for text in (
        "single stream, one face: p90",
        "preprocess",
        "MLPerf asks for 1024 and 60 s",
        "images/s",
        "threads 1",
    ):
        assert text in found.stdout


def test_scenarios_and_figures_as_csv(bundle: Path, tmp_path: Path) -> None:
    image, table = tmp_path / "frame.png", tmp_path / "figures.csv"
    Image.new("RGB", (200, 150), (90, 120, 60)).save(image)
    arguments = ("--scenario", "open-loop", "--rate", 100, "--rate", 200, "--image", image, "--box", "10,10,80,90")
    found = fer_edge("bench", bundle, "--seconds", 0.1, *arguments, "--csv", table, "--json")
    assert found.returncode == 0, found.stderr
    report = json.loads(found.stdout)
    assert [loop["rate"] for loop in report["open_loop"]] == [100, 200]
    assert report["single_stream"] is None and report["batches"] == []
    with table.open() as file:
        rows = list(csv.DictReader(file))
    late = [row for row in rows if row["figure"] == "late"]
    assert [row["setting"] for row in late] == ["100 Hz", "200 Hz"]
    assert all(row["cpu"] and row["date"] and row["numpy"] for row in rows)


def test_engines_are_compared_with_the_first(bundle: Path, tmp_path: Path) -> None:
    table = tmp_path / "figures.csv"
    names = [f"{bundle}@openvino", f"{bundle}@onnxruntime"]
    found = fer_edge("bench-compare", *names, "--rounds", 6, "--turn", 3, "--csv", table, "--json")
    assert found.returncode == 0, found.stderr
    first, second = json.loads(found.stdout)["contenders"]
    assert [first["name"], second["name"]] == names
    assert first["p50_ratio"]["value"] == 1 and second["p50_ratio"]["value"] > 0
    assert second["latency"]["count"] == 18
    assert "ratio of p50" in table.read_text()


def test_a_comparison_names_the_gpu_of_its_contenders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Gpu("NVIDIA RTX A2000", "sm86", 6144, integrated=False)
    monkeypatch.setattr(driver, "read_driver", lambda: Driver((13, 0), (gpu,)))
    path, members = tmp_path / "a.fer", {"model.onnx": tiny_onnx(), "engines/x": b"x"}
    on_gpu = EngineEntry("tensorrt", ("sm86",), "11", "engines/x", None)
    write_bundle(path, tiny_manifest(engines=(EngineEntry("openvino", ("cpu",), "1", None, None), on_gpu)), members)
    assert "GPU" not in _environment([str(path), f"{path}@openvino"])
    found = _environment([str(path), f"{path}@tensorrt"])
    assert (found["GPU device"], found["GPU"], found["GPU target"]) == ("0", "NVIDIA RTX A2000", "sm86")


def interrupted(session: Session) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("as_json", [False, True])
def test_an_interrupt_keeps_what_was_measured(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    monkeypatch.setitem(SCENARIOS, "batches", interrupted)
    table = tmp_path / "figures.csv"
    with pytest.raises(KeyboardInterrupt, match="stopped during batches; done before: single-stream"):
        bench(bundle, queries=20, seconds=0.1, csv=table, json=as_json)
    out = capsys.readouterr().out
    if as_json:
        report = json.loads(out)
        assert report["stopped"] == "batches" and report["single_stream"] and report["batches"] == []
    else:
        assert "single stream, one face: p90" in out
    assert "single-stream" in table.read_text()
    monkeypatch.setitem(SCENARIOS, "single-stream", interrupted)
    with pytest.raises(KeyboardInterrupt, match=r"^$"):  # nothing was measured
        bench(bundle, queries=20, seconds=0.1, csv=tmp_path / "none.csv")
    assert not (tmp_path / "none.csv").exists()


def test_an_interrupt_keeps_the_rounds_of_a_comparison() -> None:
    class Timer:
        name = "a"

        def __init__(self, calls: int) -> None:
            self.calls = calls

        def time(self, queries: int) -> list[int]:
            self.calls -= 1
            if self.calls < 0:
                raise KeyboardInterrupt
            return [5] * queries

    assert take_turns([Timer(9)], 20, 2, keep_rounds=True)["a"].shape == (8, 2)  # the first call is no round
    for timer, keep in ((Timer(9), False), (Timer(4), True)):
        with pytest.raises(KeyboardInterrupt):
            take_turns([timer], 20, 2, keep_rounds=keep)


def test_what_keeping_up_means_is_said_where_something_does_not(capsys: pytest.CaptureFixture[str]) -> None:
    latency = distribution_from_samples(np.full(450, 900_000_000))
    loop = OpenLoop(90, 450, 450, share_estimate(450, 450), 1.0, False, latency)
    _print_open_loop([replace(loop, keeps_up=True)])
    told = "it does not keep up where frames took longer than the time in which they came, or one was a second late"
    assert told not in capsys.readouterr().out
    _print_open_loop([loop])
    assert told in capsys.readouterr().out


def test_wrong_usage_is_told_before_anything_is_measured(bundle: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "tiny.safetensors"
    tiny_checkpoint().save(checkpoint)
    cases: list[tuple[list[object], int, str]] = [
        (["bench", bundle, "--scenario", "offline"], 2, "no scenario 'offline'; expected one of: single-stream"),
        (["bench", bundle, "--box", "1,2,3,4"], 2, "--box goes with --image"),
        (["bench", bundle, "--faces", tmp_path], 2, "--reference and --faces go together"),
        (["bench", tmp_path / "none.fer"], 1, "error: no bundle at"),
        (
            ["bench", bundle, "--engine", "onnxruntime", "--scenario", "single-stream", "--scenario", "roofline"],
            1,
            "error: roofline cannot be measured: onnxruntime has no layer profiler; engines with one: openvino",
        ),
        (
            ["bench", bundle, "--scenario", "on-device"],
            1,
            "on-device cannot be measured: openvino runs on the",
        ),
        (["bench", bundle, *NOWHERE], 1, "error: --reference: no checkpoint at /nope.safetensors; expected the"),
        (["bench", bundle, "--reference", checkpoint, "--faces", "/nope"], 1, "error: no file or folder at /nope"),
        (["bench", bundle, "--rate", "inf"], 2, "inf is too large, or no number; expected one up to 100,000"),
        (["bench", bundle, "--rate", "30", "--rate", "nan"], 2, "Invalid value for '--rate'"),
        (["bench", bundle, "--seconds", "inf"], 2, "inf is too large, or no number; expected one up to 86,400"),
        (["bench", bundle, "--seconds", "nan"], 2, "Invalid value for '--seconds'"),
        (["bench", bundle, "--minutes", "inf"], 2, "inf is too large, or no number; expected one up to 10,080"),
        (["bench", bundle, "--minutes", "nan"], 2, "Invalid value for '--minutes'"),
        (["bench", bundle, "--minutes", "1"], 2, "--minutes is about the scenario sustained; add --scenario sustained"),
        (["bench", bundle, "--rate", "30"], 2, "--rate is about the scenario open-loop; add --scenario open-loop"),
        (
            ["bench", bundle, "--queries", "30", "--scenario", "batches"],
            2,
            "--queries is about the scenario single-stream; add --scenario single-stream, or leave out --queries",
        ),
        (["bench", bundle, "--seconds", "3", "--scenario", "roofline"], 2, "--seconds is about the scenario"),
        (
            ["bench", bundle, "--device", "1"],
            2,
            "--device is about engines on a GPU, and openvino runs on the processor",
        ),
        (["bench", bundle, "--csv", bundle], 2, f"the output {bundle} is also an input; name another file to write"),
        (
            ["bench", "edge", "--tune", "p99=8"],
            2,
            "--tune writes into the bundle, and this is the shipped one; copy it",
        ),
        (["bench", bundle, "--scenario", "batch"], 2, "did you mean batches?"),
        (
            ["bench", bundle, "--reference", bundle, "--faces", tmp_path],
            1,
            "is a fer-edge bundle; expected the checkpoint",
        ),
        (["bench-compare", bundle, f"{bundle}@openvin"], 2, "no engine 'openvin'; expected one of: openvino,"),
        (["bench-compare", bundle, "edgee"], 2, "no bundle at edgee; expected a file, or one that is shipped: edge"),
        (["bench-compare", bundle, f"{bundle}@openvino", "--csv", bundle], 2, "is also an input"),
        (["bench-compare", bundle], 2, "expected two or more different contenders"),
        (["bench-compare", bundle, bundle], 2, "expected two or more different contenders"),
        (["bench-compare", bundle, f"{bundle}@tensorrt-rtx"], 1, "has no engine tensorrt-rtx; it has: openvino"),
    ]
    for arguments, code, message in cases:
        found = fer_edge(*arguments)
        assert found.returncode == code, found.stderr
        assert message in " ".join(found.stderr.split()), found.stderr
        assert "Traceback" not in found.stderr and found.stdout == ""


def test_all_leaves_out_what_an_engine_has_not(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "tiny.fer", max_batch=1)
    short = ("--queries", 10, "--seconds", 0.1, "--minutes", 0.05, "--rate", 200)
    found = fer_edge("bench", bundle, "--engine", "onnxruntime", "--scenario", "all", *short, "--json")
    assert found.returncode == 0, found.stderr
    report = json.loads(found.stdout)
    assert report["left_out"] == {
        "on-device": "onnxruntime runs on the processor, which has no clock of its own; engines on a GPU have one",
        "roofline": "onnxruntime has no layer profiler; engines with one: openvino",
    }
    assert "roofline was left out: onnxruntime has no layer profiler" in found.stderr
    assert report["roofline"] is None and report["sustained"]["windows"] and report["scaling"]
    assert list(report["noise"]) == [
        *("single-stream", "batches", "open-loop", "multi-stream", "cold-start", "scaling", "sustained"),
    ]


def test_what_was_measured_is_told_though_parity_or_tuning_fails(bundle: Path, tmp_path: Path) -> None:
    broken, faces, table = tmp_path / "broken.safetensors", tmp_path / "faces", tmp_path / "figures.csv"
    tiny_checkpoint().save(broken)
    broken.write_bytes(broken.read_bytes()[:-1])
    faces.mkdir()
    Image.new("RGB", (48, 48)).save(faces / "one.png")
    comparison = ("--scenario", "single-stream", "--reference", broken, "--faces", faces, "--csv", table)
    found = fer_edge("bench", bundle, *QUICK, *comparison, "--tune", "p99=0.001", "--json")
    assert found.returncode == 1 and "Traceback" not in found.stderr
    assert "error: no setting certainly reaches p99=0.001 here" in found.stderr
    assert str(broken) in found.stderr
    report = json.loads(found.stdout)
    assert report["single_stream"]["latency"]["count"] >= 20 and report["parity"] is None
    assert report["tuning"] is None and report["tuning_reason"].startswith("no setting certainly reaches p99=0.001")
    assert table.stat().st_size > 1000
    tables = fer_edge("bench", bundle, *QUICK, "--tune", "p99=0.001")
    assert tables.returncode == 1 and "scaling, the engine alone" in tables.stdout
    assert "has an engine p99 of" in tables.stderr


def test_files_are_written_before_anything_is_printed(bundle: Path, tmp_path: Path) -> None:
    table, folder = tmp_path / "figures.csv", tmp_path / "out"
    reader, writer = os.pipe()
    os.close(reader)  # whoever was to read it has gone
    code = "from fer_edge.cli.main import main; main()"
    options = [*QUICK, "--scenario", "single-stream", "--csv", table, "--report", folder]
    try:
        found = subprocess.run(
            [sys.executable, "-c", code, *map(str, ["bench", bundle, *options])],
            stdout=writer, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    finally:
        os.close(writer)
    assert found.returncode == 1 and "Traceback" not in found.stderr
    assert table.stat().st_size > 1000 and (folder / "report.html").stat().st_size > 1000


@pytest.mark.parametrize("failure", [EngineError("out of frames"), OSError(28, "No space left on device")])
def test_a_scenario_that_fails_takes_none_of_the_others_with_it(
    failure: Exception,
    bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(session: Session) -> None:
        raise failure

    monkeypatch.setitem(SCENARIOS, "batches", fail)
    table, scenarios = tmp_path / "figures.csv", ["single-stream", "batches", "open-loop"]
    settings = {"queries": 20, "seconds": 0.1, "rate": [100.0], "csv": table, "report": tmp_path}
    with pytest.raises(typer.Exit) as ended:
        bench(bundle, scenarios, json=True, **settings)  # type: ignore[arg-type]
    assert ended.value.exit_code == 1
    told = capsys.readouterr()
    assert f"error: batches failed: {failure}" in told.err
    report = json.loads(told.out)
    assert report["failed"] == {"batches": str(failure)} and list(report["noise"]) == ["single-stream", "open-loop"]
    assert report["single_stream"]["latency"]["count"] >= 20 and report["open_loop"][0]["frames"] == 10
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert {row["failed"] for row in rows} == {f"batches: {failure}"}
    assert "batches failed:" in (tmp_path / "report.html").read_text()
    with pytest.raises(typer.Exit):
        bench(bundle, scenarios, **settings)  # type: ignore[arg-type]
    told = capsys.readouterr()
    assert "single stream, one face" in told.out and f"error: batches failed: {failure}" in told.err


def test_nothing_is_tuned_where_scaling_fails(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(session: Session) -> None:
        raise EngineError("out of frames")

    monkeypatch.setitem(SCENARIOS, "scaling", fail)
    with pytest.raises(typer.Exit):
        bench(bundle, tune="p99=8", json=True)
    report = json.loads(capsys.readouterr().out)
    assert (report["tuning"], report["tuning_reason"]) == (None, "scaling failed: out of frames")


def test_parity_runs_on_the_device_and_threads_of_the_benchmark(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[RunOptions | None] = []

    def note(self: Bundle, engine: str | None = None, options: RunOptions | None = None) -> Runner:
        given.append(options)
        raise EngineError("enough is known")

    found, _ = run_bench(BenchTarget(bundle, threads=2), Plan((), seconds=0.1))
    monkeypatch.setattr(Bundle, "runner", note)
    with pytest.raises(EngineError, match="enough is known"):
        _with_parity(found, BenchTarget(bundle, device=3), tmp_path / "reference.safetensors", tmp_path)
    assert given == [RunOptions(threads=2, device=3)]


def test_intervals_are_left_open_where_samples_do_not_tell() -> None:
    assert _interval(Estimate(1.23456, 1, 2)) == "1.235 (1.000 to 2.000)"
    assert _interval(Estimate(1.5, 1, None), 1) == "1.5 (from 1.0)"
    assert _interval(Estimate(1.5, None, 2), 0) == "2 (up to 2)"
    assert _interval(Estimate(1.5)) == "1.500"


def test_a_report_beside_the_tables(bundle: Path, tmp_path: Path) -> None:
    found = fer_edge("bench", bundle, *QUICK, "--scenario", "single-stream", "--report", tmp_path / "out")
    assert found.returncode == 0, found.stderr
    assert found.stdout.endswith(f"report: {tmp_path / 'out' / 'report.html'}\n")
    assert (tmp_path / "out" / "figures.csv").stat().st_size > 1000
    taken = tmp_path / "file"
    taken.touch()
    refused = fer_edge("bench", bundle, "--report", taken)
    assert refused.returncode == 1 and "cannot make the folder" in refused.stderr


def test_nothing_is_tuned_on_a_busy_machine_unless_it_is_forced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    on_a_quiet_machine(monkeypatch)
    monkeypatch.setattr(tune, "BUSY_SHARE", -1.0)  # above which any machine is busy
    bundle = tiny_bundle(tmp_path / "tiny.fer", max_batch=1)
    before = bundle.read_bytes()
    with pytest.raises(EngineError, match=r"other processes took \d+ % of .*; the bundle is as it was"):
        bench(bundle, seconds=0.1, tune="p99=5000", json=True)
    report = json.loads(capsys.readouterr().out)
    assert report["tuning"] is None and report["tuning_reason"].startswith("other processes took")
    assert bundle.read_bytes() == before
    bench(bundle, seconds=0.1, tune="p99=5000", force=True)
    assert len(Bundle.open(bundle).manifest.tunings) == 1
    alone = fer_edge("bench", bundle, "--force")
    assert alone.returncode == 2 and "--force goes with --tune" in alone.stderr


def test_tuning_writes_into_the_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    on_a_quiet_machine(monkeypatch)  # whether this one is quiet enough for a setting to be certain is no matter here
    bundle = tiny_bundle(tmp_path / "tiny.fer", max_batch=1)
    bench(bundle, seconds=0.1, tune="p99=5000", json=True)
    report = json.loads(capsys.readouterr().out)
    assert report["tuning"]["target"] == "p99=5000" and len(report["scaling"]) >= 4
    assert json.loads(fer_edge("inspect", bundle, "--json").stdout)["tunings"] == [report["tuning"]]
    used = json.loads(fer_edge("bench", bundle, *QUICK, "--scenario", "single-stream", "--json").stdout)
    assert (used["threads"], used["tuned"]) == (report["tuning"]["threads"], True)
    bench(bundle, seconds=0.1, tune="throughput=1")
    told = capsys.readouterr().out
    assert "engine p99" in told and "images a second of the engine (asked for throughput=1)" in told
    wrong = fer_edge("bench", bundle, "--tune", "fast")
    assert wrong.returncode == 2 and "expected p99=MILLISECONDS" in " ".join(wrong.stderr.split())
