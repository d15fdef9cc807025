"""`fer-edge bench` and `fer-edge compare`."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from fer_edge.benchmark.registry import SCENARIOS
from fer_edge.cli.bench import bench
from fer_edge.errors import EngineError
from tests.benchmark.failing_scenario import replace_run
from tests.command import fer_edge
from tests.tiny import tiny_bundle

QUICK = ("--queries", 20, "--seconds", 0.1)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return tiny_bundle(tmp_path / "tiny.fer", max_batch=1)


def test_tables_and_page(bundle: Path, tmp_path: Path) -> None:
    result = fer_edge(
        "bench", bundle, *QUICK, "--threads", 1, "--scenario", "single-stream", "--report", tmp_path / "out"
    )
    assert result.returncode == 0, result.stderr
    for text in ("single stream, one face: p90", "preprocess", "MLPerf requires 1024 and 60 s", "threads 1"):
        assert text in result.stdout
    assert result.stdout.endswith(f"report: {tmp_path / 'out' / 'report.html'}\n")
    assert (tmp_path / "out" / "figures.csv").stat().st_size > 1000


def test_json_and_csv_of_chosen_scenarios(bundle: Path, tmp_path: Path) -> None:
    image, table = tmp_path / "frame.png", tmp_path / "figures.csv"
    Image.new("RGB", (200, 150), (90, 120, 60)).save(image)
    arguments = ("--scenario", "open-loop", "--rate", 100, "--rate", 200, "--image", image, "--box", "10,10,80,90")
    result = fer_edge("bench", bundle, "--seconds", 0.1, *arguments, "--csv", table, "--json")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert [loop["rate"] for loop in report["open_loop"]] == [100, 200]
    assert report["single_stream"] is None and report["batches"] == []
    assert report["plan"]["box"] == [10, 10, 80, 90]
    with table.open() as file:
        rows = list(csv.DictReader(file))
    late = [row for row in rows if row["figure"] == "late"]
    assert [row["setting"] for row in late] == ["100 Hz", "200 Hz"]
    assert all(row["cpu"] and row["date"] and row["numpy"] for row in rows)


def test_compare_prints_ratios_to_the_first(bundle: Path, tmp_path: Path) -> None:
    table = tmp_path / "figures.csv"
    names = [f"{bundle}@openvino", f"{bundle}@onnxruntime"]
    settings = ("--rounds", 6, "--queries-per-turn", 3, "--csv", table)
    result = fer_edge("compare", *names, *settings, "--json")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    first, second = report["contenders"]
    assert (report["rounds"], report["queries_per_turn"]) == (6, 3)
    assert [first["name"], second["name"]] == names
    assert first["p50_ratio"]["value"] == 1 and second["p50_ratio"]["value"] > 0
    assert second["latency"]["count"] == 18
    assert "ratio of p50" in table.read_text()


@pytest.mark.parametrize("as_json", [False, True])
def test_interrupt_prints_finished_scenarios(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    replace_run(monkeypatch, "batches", KeyboardInterrupt())
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


def test_wrong_usage_exits_with_2_before_measuring(bundle: Path) -> None:
    cases: list[tuple[list[object], str]] = [
        (["bench", bundle, "--scenario", "batch"], "did you mean batches?"),
        (["bench", bundle, "--box", "1,2,3,4"], "a box needs an image"),
        (["bench", bundle, "--box", "1,2,3", "--image", bundle], "expected X,Y,W,H"),
        (["bench", bundle, "--images", bundle], "needs a checkpoint and images"),
        (["bench", bundle, "--rate", "inf"], "--rate"),
        (["bench", bundle, "--scenario", "open-loop", "--rate", "30", "--rate", "nan"], "rate"),
        (["bench", bundle, "--seconds", "inf"], "--seconds"),
        (["bench", bundle, "--seconds", "nan"], "seconds"),
        (["bench", bundle, "--scenario", "sustained", "--minutes", "inf"], "--minutes"),
        (["bench", bundle, "--scenario", "sustained", "--minutes", "nan"], "minutes"),
        (["bench", bundle, "--minutes", "1"], "minutes applies only to the scenario sustained"),
        (["bench", bundle, "--device", "1"], "a device applies only to engines that run on a GPU, not to openvino"),
        (["bench", bundle, "--csv", bundle], f"the output {bundle} is also an input; name another file to write"),
        (["compare", bundle, f"{bundle}@openvin"], "did you mean openvino?"),
        (["compare", bundle, "edgee"], "no bundle at edgee; expected a file, or one"),
        (["compare", bundle], "expected two or more different contenders"),
        (["compare", bundle, f"{bundle}@openvino", "--rounds", "5"], "--rounds"),
    ]
    for arguments, message in cases:
        result = fer_edge(*arguments)
        assert result.returncode == 2, result.stderr
        assert message in " ".join(result.stderr.split()), result.stderr
        assert "Traceback" not in result.stderr and result.stdout == ""


def test_wrong_files_exit_with_1_before_measuring(bundle: Path, tmp_path: Path) -> None:
    cases: list[tuple[list[object], str]] = [
        (["bench", tmp_path / "none.fer"], "error: no bundle at"),
        (["bench", bundle, "--scenario", "on-device"], "error: on-device is not supported: openvino runs on the CPU"),
        (["bench", bundle, "--checkpoint", "/nope.safetensors", "--images", "/nope"], "error: no checkpoint at /nope"),
        (["compare", bundle, f"{bundle}@tensorrt-rtx"], "tensorrt-rtx"),
    ]
    for arguments, message in cases:
        result = fer_edge(*arguments)
        assert result.returncode == 1, result.stderr
        assert message in " ".join(result.stderr.split()), result.stderr
        assert "Traceback" not in result.stderr and result.stdout == ""


@pytest.mark.slow
def test_failures_are_printed_and_exit_with_1(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_run(monkeypatch, "batches", EngineError("out of frames"))
    result = fer_edge("bench", bundle, *QUICK, "--json")
    assert result.returncode == 1 and "error: batches failed: out of frames" in result.stderr
    report = json.loads(result.stdout)
    assert report["failed"] == {"batches": "out of frames"} and report["single_stream"]


def test_skipped_scenarios_are_listed(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for scenario in SCENARIOS.values():
        monkeypatch.setattr(scenario, "run", lambda session: None)
    result = fer_edge("bench", bundle, "--engine", "onnxruntime", "--scenario", "all")
    assert result.returncode == 0, result.stderr
    assert "skipped roofline: " in result.stderr and "skipped: on-device, roofline" in result.stdout


def test_files_are_written_before_anything_is_printed(bundle: Path, tmp_path: Path) -> None:
    table, folder = tmp_path / "figures.csv", tmp_path / "out"
    reader, writer = os.pipe()
    os.close(reader)
    code = "from fer_edge.cli.main import main; main()"
    options = [*QUICK, "--scenario", "single-stream", "--csv", table, "--report", folder]
    try:
        result = subprocess.run(
            [sys.executable, "-c", code, *map(str, ["bench", bundle, *options])],
            stdout=writer, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    finally:
        os.close(writer)
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert table.stat().st_size > 1000 and (folder / "report.html").stat().st_size > 1000
