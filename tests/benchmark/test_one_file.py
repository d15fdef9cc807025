"""A scenario is one file, and a benchmark reads and checks its bundle once."""

from __future__ import annotations

import csv
import hashlib
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from fer_edge.benchmark.run import bench
from fer_edge.bundle import Bundle, EngineEntry, write_bundle
from fer_edge.errors import BundleDamagedError
from fer_edge.recognizer import Recognizer
from tests.tiny import tiny_bundle, tiny_manifest, tiny_onnx

SCENARIO = '''
"""Crops: time to crop and resize a face."""

from dataclasses import dataclass
from typing import Annotated

from fer_edge.benchmark.drawing import Plot, new_figure
from fer_edge.benchmark.scenario import Scenario
from fer_edge.benchmark.workload import clock
from fer_edge.crop import crop_and_resize
from fer_edge.results import Quantity, Table


@dataclass(frozen=True)
class Crops:
    count: Annotated[int, Quantity(key="{} faces")]
    microseconds: Annotated[float, Quantity("time of one crop", "us")]


class CropsScenario(Scenario[list[Crops]]):
    title = "Crops of a face"
    several = True
    settings = frozenset({"queries"})

    def run(self, session):
        frame, box = session.plan.workload.frame, session.plan.workload.box
        started = clock()
        for _ in range(session.plan.queries):
            crop_and_resize(frame, box)
        return [Crops(session.plan.queries, (clock() - started) / 1e3 / session.plan.queries)]

    def tables(self, result):
        rows = tuple((crops.count, f"{crops.microseconds:.1f}") for crops in result)
        return [Table("crops of one face", ("faces", "us"), rows)]

    def plots(self, result, stamps):
        def draw():
            figure, axes = new_figure(2.0)
            axes.bar([crops.count for crops in result], [crops.microseconds for crops in result], color="blue")
            return figure

        return [Plot(draw, "Time of one crop.")]


SCENARIO = CropsScenario()
'''
# The command, with one more folder of scenarios.
COMMAND = """
import sys
from fer_edge.benchmark import scenarios
scenarios.__path__.append(sys.argv.pop(1))
from fer_edge.cli.entry import main
main()
"""


def run_with(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", COMMAND, str(folder), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_scenario_of_one_file_runs_and_is_reported_everywhere(tmp_path: Path) -> None:
    folder, bundle, table = tmp_path / "more", tiny_bundle(tmp_path / "a.fer", max_batch=1), tmp_path / "figures.csv"
    folder.mkdir()
    (folder / "face_crops.py").write_text(SCENARIO)
    options = ("--scenario", "face-crops", "--queries", 20, "--csv", table, "--report", tmp_path / "page")
    result = run_with(folder, "bench", bundle, *options)
    assert result.returncode == 0, result.stderr
    assert "crops of one face" in result.stdout and "│    20 │" in result.stdout
    rows = [row for row in csv.DictReader(table.read_text().splitlines()) if row["scenario"] == "face-crops"]
    assert [row["setting"] for row in rows if row["figure"] == "time of one crop" and row["unit"] == "us"] == [
        "20 faces"
    ]
    page = (tmp_path / "page" / "report.html").read_text()
    assert "<h2>Crops of a face</h2>" in page and 'alt="Time of one crop."' in page and "<td>20</td>" not in page
    as_json = run_with(folder, "bench", bundle, "--scenario", "face-crops", "--queries", 20, "--json")
    assert [crops["count"] for crops in json.loads(as_json.stdout)["face_crops"]] == [20]
    assert "face-crops" in run_with(folder, "bench", "--help").stdout
    unused = run_with(folder, "bench", bundle, "--scenario", "face-crops", "--minutes", 1)
    assert unused.returncode == 2 and "minutes applies only to the scenario sustained" in unused.stderr


@pytest.mark.slow
def test_benchmark_hashes_each_member_once(tmp_path: Path, hashed: Counter[str]) -> None:
    path = tmp_path / "a.fer"
    other = EngineEntry("tensorrt", ("sm86",), "11", "engines/x", "linux-x86_64")
    members = {"model.onnx": tiny_onnx(), "engines/x": b"x", "calibration.json": b"{}"}
    write_bundle(path, tiny_manifest(engines=(*tiny_manifest().engines, other), max_batch=2), members)
    scenarios = ["single-stream", "batches", "open-loop", "multi-stream", "scaling", "roofline"]
    settings: dict[str, Any] = {"queries": 10, "seconds": 0.1, "rates": [200.0]}
    report = bench(path, scenarios=scenarios, engine="openvino", **settings)
    assert report.passed and len(report.measured) == len(scenarios)
    assert hashed == {hashlib.sha256(content).hexdigest(): 1 for content in members.values()}


def test_bundle_in_memory_is_checked_before_its_bytes_are_used(tmp_path: Path, hashed: Counter[str]) -> None:
    path = tiny_bundle(tmp_path / "a.fer")
    bundle, content = Bundle.open(path, in_memory=True), path.read_bytes()
    path.write_bytes(content.replace(tiny_onnx(), tiny_onnx(seed=1)))
    assert bundle.read("model.onnx") == tiny_onnx() and hashed.total() == 1, "the bytes that were checked"
    with Recognizer.open(bundle, "onnxruntime"), pytest.raises(BundleDamagedError, match=r"model\.onnx"):
        Bundle.open(path, in_memory=True)
