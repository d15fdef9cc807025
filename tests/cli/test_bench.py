"""`fer-edge bench` and `bench-compare` as their users meet them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from fer_edge.bench.statistics import Estimate
from fer_edge.cli.bench_display import _interval
from tests.cli.test_cli import fer_edge
from tests.tiny import tiny_bundle

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
    found = fer_edge("bench", bundle, *QUICK, *arguments, "--csv", table, "--json")
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


def test_wrong_usage_is_told(bundle: Path, tmp_path: Path) -> None:
    cases: list[tuple[list[object], int, str]] = [
        (["bench", bundle, "--scenario", "offline"], 2, "no scenario 'offline'; expected some of: single-stream"),
        (["bench", bundle, "--box", "1,2,3,4"], 2, "--box goes with --image"),
        (["bench", bundle, "--faces", tmp_path], 2, "--reference and --faces go together"),
        (["bench", tmp_path / "none.fer"], 1, "error: no bundle at"),
        (["bench", bundle, "--engine", "onnxruntime", "--scenario", "roofline"], 1, "onnxruntime does not tell"),
        (["bench-compare", bundle], 2, "expected two or more different contenders"),
        (["bench-compare", bundle, bundle], 2, "expected two or more different contenders"),
        (["bench-compare", bundle, f"{bundle}@tensorrt-rtx"], 1, "has no engine tensorrt-rtx; it has: openvino"),
    ]
    for arguments, code, message in cases:
        found = fer_edge(*arguments)
        assert found.returncode == code, found.stderr
        assert message in " ".join(found.stderr.split()), found.stderr
        assert "Traceback" not in found.stderr


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


def test_tuning_writes_into_the_bundle(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "tiny.fer", max_batch=1)
    found = fer_edge("bench", bundle, "--seconds", 0.1, "--tune", "p99=5000", "--json")
    assert found.returncode == 0, found.stderr
    report = json.loads(found.stdout)
    assert report["tuning"]["target"] == "p99=5000" and len(report["scaling"]) >= 4
    assert json.loads(fer_edge("inspect", bundle, "--json").stdout)["tunings"] == [report["tuning"]]
    used = json.loads(fer_edge("bench", bundle, *QUICK, "--scenario", "single-stream", "--json").stdout)
    assert (used["threads"], used["tuned"]) == (report["tuning"]["threads"], True)
    wrong = fer_edge("bench", bundle, "--tune", "fast")
    assert wrong.returncode == 2 and "expected p99=MILLISECONDS" in " ".join(wrong.stderr.split())
