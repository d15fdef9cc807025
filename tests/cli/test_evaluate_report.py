"""`fer-edge evaluate`: results, and the HTML report."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from fer_edge._files import sha256
from fer_edge.evaluation.evaluate import evaluate
from fer_edge.results import WIDTH
from tests.browser import show
from tests.command import fer_edge
from tests.tiny import LABELS, tiny_bundle
from tests.tiny_model import tiny_checkpoint

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for label in LABELS:
        (tmp_path / "faces" / label).mkdir(parents=True)
        for index in range(5):
            pixels = random.integers(0, 256, (48, 48, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "faces" / label / f"{index}.png")
    return tmp_path / "faces"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    tiny_checkpoint(classes=len(LABELS)).save(path)
    return path


@pytest.mark.slow
def test_report_of_a_checkpoint(tmp_path: Path, faces: Path, checkpoint: Path, browser: Browser) -> None:
    (faces / "surprise" / "2.png").write_bytes(b"no image")
    arguments = ("evaluate", checkpoint, faces, "--skip-damaged", "--threads", 1)
    first, _ = (fer_edge(*arguments, "--report", tmp_path / name, "--json") for name in ("a", "b"))
    assert first.returncode == 0, first.stderr
    assert "skipped: " in first.stderr
    printed = json.loads(first.stdout)
    assert printed["report"] == str(tmp_path / "a" / "report.html")
    numbers = json.loads((tmp_path / "a" / "report.json").read_text())
    assert (numbers["images"], numbers["data"], len(numbers["skipped"])) == (14, "faces", 1)
    assert {name: printed[name] for name in ("accuracy", "heads", "confusion")} == {
        name: numbers[name] for name in ("accuracy", "heads", "confusion")
    }
    assert numbers["features"] == {"token": "steering", "images": 14, "seed": 0}
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes(), file.name
    shown = show(browser, tmp_path / "a" / "report.html", 390)
    assert (shown.broken, shown.complaints, shown.requests) == ([], [], [])
    assert "1 image could not be read" in shown.text
    assert "2.png is not an image" in shown.text
    assert shown.scroll_width <= 390


@pytest.mark.slow
def test_report_of_a_bundle(tmp_path: Path, faces: Path, checkpoint: Path) -> None:
    folder = tmp_path / "out"
    bundle = tiny_bundle(tmp_path / "tiny.fer", checkpoint={"sha256": sha256(checkpoint.read_bytes())})
    plain = fer_edge("evaluate", bundle, faces, "--report", folder)
    assert plain.returncode == 0, plain.stderr
    assert f"wrote {folder / 'report.html'}" in plain.stdout
    assert (
        "a bundle does not compute them; name its checkpoint with --checkpoint" in (folder / "report.html").read_text()
    )
    mapped = fer_edge("evaluate", bundle, faces, "--report", folder, "--checkpoint", checkpoint)
    assert mapped.returncode == 0, mapped.stderr
    assert (folder / "features.png").is_file()


def test_report_names_the_equivalent_command(tmp_path: Path, faces: Path) -> None:
    bundle, out = tiny_bundle(tmp_path / "tiny.fer"), tmp_path / "out"
    evaluate(bundle, faces, engine="onnxruntime", count=9, report=out)
    origin = json.loads((out / "report.json").read_text())["origin"]
    assert origin["command"] == f"fer-edge evaluate {bundle} {faces} --engine onnxruntime --count 9"
    assert origin["sha256"] == sha256(bundle.read_bytes())


def test_result_of_the_python_call_prints_as_tables(tmp_path: Path, faces: Path) -> None:
    (faces / "note.heic").touch()
    result = evaluate(str(tiny_bundle(tmp_path / "tiny.fer")), str(faces), engine="openvino", count=12)
    text = str(result)
    assert max(map(len, text.splitlines())) <= WIDTH
    assert text.startswith("tiny.fer on openvino fp32, 12 images\n")
    assert f"{result.accuracy:.2f}" in text and str(result.accuracy_interval) in text
    assert text.endswith("0 images skipped, 1 left out")
    data = json.loads(result.to_json())
    assert data == result.to_dict()
    assert (data["model"], data["engine"], data["images"]) == (str(tmp_path / "tiny.fer"), "openvino", 12)
    assert data["left_out"] == {"HEIC image (convert to JPEG or PNG)": 1}
    assert data["selective"][0]["rule"] == "heads disagree"


def test_wrong_usage_is_refused(tmp_path: Path, faces: Path) -> None:
    for model, *rest in (("a.fer",), ("a.safetensors", "--report", "r")):
        result = fer_edge("evaluate", model, faces, *rest, "--checkpoint", "c.safetensors")
        assert result.returncode == 2
        assert "a checkpoint is used for the report of a bundle only" in result.stderr
    file = tmp_path / "file"
    file.write_text("")
    result = fer_edge("evaluate", tiny_bundle(tmp_path / "tiny.fer"), faces, "--report", file)
    assert result.returncode == 1
    assert f"error: cannot make the folder {file}: File exists; name another one" in result.stderr


@pytest.mark.parametrize("package", ["matplotlib", "sklearn", "jinja2"])
def test_missing_package_names_the_extra(package: str, tmp_path: Path, faces: Path) -> None:
    bundle = tiny_bundle(tmp_path / "tiny.fer")
    with mock.patch.dict(sys.modules, {package: None}):
        result = fer_edge("evaluate", bundle, faces, "--report", tmp_path / "out")
    assert result.returncode == 1
    assert f"error: a report needs {package} (" in result.stderr
    assert 'run: pip install "fer-edge[report]"' in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_report_of_corruptions(tmp_path: Path, faces: Path, browser: Browser) -> None:
    bundle, folder = tiny_bundle(tmp_path / "tiny.fer"), tmp_path / "out"
    run = fer_edge("evaluate", bundle, faces, "--count", 4, "--corruptions", "--report", folder, "--json")
    assert run.returncode == 0, run.stderr
    robustness = json.loads(run.stdout)["robustness"]
    assert len(robustness["corruptions"]) == 57
    assert set(robustness["corruptions"][0]) == {
        "name", "kind", "strength", "accuracy", "accuracy_interval", "mean_class_accuracy", "calibration_error",
    }  # fmt: skip
    numbers = json.loads((folder / "report.json").read_text())
    assert numbers["robustness"] == robustness
    assert numbers["origin"]["command"].endswith("--count 4 --corruptions")
    with Image.open(folder / "corruptions.png") as picture:
        assert min(picture.size) > 300
    page = show(browser, folder / "report.html", 390)
    assert (page.broken, page.complaints, page.requests) == ([], [], [])
    assert "Mean accuracy over corruptions" in page.text
    assert page.scroll_width <= 390
    assert fer_edge("evaluate", bundle, faces, "--report", folder).returncode == 0
    assert not (folder / "corruptions.png").exists()


def test_corruptions_of_a_checkpoint(faces: Path, checkpoint: Path) -> None:
    run = fer_edge("evaluate", checkpoint, faces, "--count", 2, "--corruptions", "--threads", 1)
    assert run.returncode == 0, run.stderr
    assert "mean over the kinds" in run.stdout
    assert "accuracy, mean over corruptions" in run.stdout
