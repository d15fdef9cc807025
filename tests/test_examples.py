"""Examples: every script and the notebook run."""

from __future__ import annotations

import os
import runpy
import sys
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
import skimage.data
from nbclient import NotebookClient
from PIL import Image

from fer_edge import ExpressionTracker
from fer_edge.crop import crop_and_resize
from tests.command import fer_edge
from tests.test_docs import blocks
from tests.video.clips import write_clip

EXAMPLES = Path(__file__).parents[1] / "examples"
FACE = (165, 70, 120, 120)  # in scikit-image's photograph of an astronaut


def example(name: str) -> dict[str, Any]:
    """Names that an example defines."""
    return runpy.run_path(str(EXAMPLES / name))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(skimage.data.astronaut()).save(path)
    return path


def test_every_example_is_listed_and_tested() -> None:
    listed = (EXAMPLES / "README.md").read_text()
    tested = Path(__file__).read_text()
    for path in (path for path in EXAMPLES.iterdir() if path.suffix in (".py", ".ipynb")):
        assert f"`{path.name}`" in listed and f'"{path.name}"' in tested


def test_image(photo: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["example", str(photo), ",".join(map(str, FACE))])
    runpy.run_path(str(EXAMPLES / "01_recognize_image.py"), run_name="__main__")
    assert capsys.readouterr().out.startswith("happiness, score ")


@pytest.fixture
def quick_tracker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Open trackers on ONNX Runtime, which compiles nothing."""
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(ExpressionTracker, "open", partial(ExpressionTracker.open, engine="onnxruntime"))


@pytest.mark.usefixtures("quick_tracker")
def test_camera_reads_a_video(tmp_path: Path) -> None:
    video = write_clip(tmp_path / "video.mp4", [skimage.data.astronaut()] * 10)
    assert example("02_camera.py")["print_expressions"](str(video))[0].endswith(" s: person 1: happiness")


@pytest.mark.usefixtures("quick_tracker")
def test_script_of_the_readme(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It runs on a video in place of a camera, and searches for faces in the same thread."""
    (script,) = [
        block.text for block in blocks(EXAMPLES.parent / "README.md", "python") if "open_source(0)" in block.text
    ]
    assert len(script.splitlines()) <= 12
    video = write_clip(tmp_path / "video.mp4", [skimage.data.astronaut()] * 3)
    script = script.replace("open_source(0)", f"open_source({str(video)!r})")
    exec(script.replace("Tracker.open()", "Tracker.open(background=False)"), {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and all(line.startswith("1 (") and " happiness 0.9" in line for line in lines)


def test_threads() -> None:
    frame = skimage.data.astronaut()
    expressions = example("03_faces_in_threads.py")["recognize_frames"]([frame] * 3, [[FACE, (0, 0, 0, 0)]] * 3)
    assert [[face and face.label for face in faces] for faces in expressions] == [["happiness", None]] * 3


@pytest.mark.slow
def test_onnx_alone(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    bundle, face = tmp_path / "edge-onnx.fer", tmp_path / "face.png"
    assert fer_edge("build-engine", "--recipe", "onnx-portable", "-o", bundle).returncode == 0
    Image.fromarray(crop_and_resize(skimage.data.astronaut(), FACE)).save(face)
    label, probability = example("04_onnx_alone.py")["recognize"](str(bundle), str(face))
    assert label == "happiness" and 0.5 < probability <= 1


@pytest.mark.slow
def test_notebook(tmp_path: Path) -> None:
    notebook = nbformat.read(EXAMPLES / "05_checkpoint_to_bundle.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("valid", 4)):
        for label in ("neutral", "happiness", "surprise", "anger"):
            for index in range(count):
                left, top = rng.integers(-12, 13, 2)
                crop = crop_and_resize(skimage.data.astronaut(), (165 + left, 70 + top, 120, 120))
                folder = tmp_path / "faces" / split / label
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(crop).save(folder / f"{index}.png")
    environment = {**os.environ, "FER_EDGE_DATA": str(tmp_path / "faces"), "FER_EDGE_COUNT": "32"}
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    client.execute(env=environment)
    printed = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ()))
    assert "parity" in printed and "int8" in printed
    assert (tmp_path / "parity.json").is_file()
