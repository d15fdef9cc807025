"""`fer-edge evaluate --report` as its users meet it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from fer_edge._files import sha256
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


def test_a_checkpoints_report(tmp_path: Path, faces: Path, checkpoint: Path, browser: Browser) -> None:
    (faces / "surprise" / "2.png").write_bytes(b"no image")
    arguments = ("evaluate", checkpoint, faces, "--skip-damaged", "--threads", 1)
    found = [fer_edge(*arguments, "--report", tmp_path / name, "--json") for name in ("a", "b")]
    assert found[0].returncode == 0, found[0].stderr
    assert "skipped: " in found[0].stderr
    printed = json.loads(found[0].stdout)
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


def test_a_bundles_report(tmp_path: Path, faces: Path, checkpoint: Path) -> None:
    folder = tmp_path / "out"
    bundle = tiny_bundle(tmp_path / "tiny.fer", checkpoint={"sha256": sha256(checkpoint.read_bytes())})
    plain = fer_edge("evaluate", bundle, faces, "--report", folder)
    assert plain.returncode == 0, plain.stderr
    assert f"wrote {folder / 'report.html'}" in plain.stdout
    assert "a bundle does not give them; name its checkpoint with --checkpoint" in (folder / "report.html").read_text()
    mapped = fer_edge("evaluate", bundle, faces, "--report", folder, "--checkpoint", checkpoint)
    assert mapped.returncode == 0, mapped.stderr
    assert (folder / "features.png").is_file()


def test_wrong_usage(tmp_path: Path, faces: Path) -> None:
    for model, *rest in (("a.fer",), ("a.safetensors", "--report", "r")):
        found = fer_edge("evaluate", model, faces, *rest, "--checkpoint", "c.safetensors")
        assert found.returncode == 2
        assert "--checkpoint is for a bundle's --report" in found.stderr
    file = tmp_path / "file"
    file.write_text("")
    found = fer_edge("evaluate", tiny_bundle(tmp_path / "tiny.fer"), faces, "--report", file)
    assert found.returncode == 1
    assert f"error: cannot make the folder {file}: File exists; name another one" in found.stderr


@pytest.mark.parametrize("package", ["matplotlib", "sklearn", "jinja2"])
def test_a_missing_package_names_the_extra(package: str, tmp_path: Path, faces: Path) -> None:
    bundle = tiny_bundle(tmp_path / "tiny.fer")
    code = f"import sys; sys.modules['{package}'] = None; from fer_edge.cli.main import main; main()"
    command = [sys.executable, "-c", code, "evaluate", bundle, faces, "--report", tmp_path / "out"]
    found = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert "error: reports need matplotlib, scikit-learn and Jinja" in found.stderr
    assert 'run: pip install "fer-edge[report]"' in found.stderr
    assert not (tmp_path / "out").exists()
