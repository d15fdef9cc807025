"""An engine that another package adds: one file, and the entry point in that package's metadata."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fer_edge import Bundle, Recognizer
from fer_edge.bundle import EngineEntry, write_bundle
from fer_edge.engines.registry import ENGINE_MODULES, engine_names, engine_status, get_engine, names_with
from fer_edge.errors import ConfigError, EngineUnavailableError
from tests.command import fer_edge
from tests.tiny import tiny_bundle, tiny_manifest, tiny_onnx

NAME = "onnx-reference"
FILE = Path(__file__).parent / "reference_engine.py"


def install(folder: Path, entry_point: str, module: Path | str = FILE) -> None:
    """Lay out an installed package, as pip does: a module and its metadata.

    Args:
        folder: Folder on Python's path.
        entry_point: Line of `entry_points.txt`.
        module: File to copy, or the module's content.
    """
    if isinstance(module, Path):
        shutil.copy(module, folder / "new_engine.py")
    else:
        (folder / "new_engine.py").write_text(module)
    metadata = folder / "new_engine-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: new-engine\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[fer_edge.engines]\n{entry_point}\n")


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder on Python's path, in which a test installs a package."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "new_engine", raising=False)
    return folder


@pytest.fixture
def new_engine(packages: Path) -> None:
    install(packages, f"{NAME} = new_engine:ENGINE")


@pytest.mark.usefixtures("new_engine")
def test_new_engine_builds_runs_and_passes_parity(tmp_path: Path) -> None:
    from tests.tiny_model import tiny_checkpoint

    checkpoint, bundle = tmp_path / "tiny.safetensors", tmp_path / "tiny.fer"
    tiny_checkpoint().save(checkpoint)
    images = tmp_path / "images"
    images.mkdir()
    for seed in range(2):
        pixels = np.random.default_rng(seed).integers(0, 256, (112, 112, 3), np.uint8)
        Image.fromarray(pixels).save(images / f"{seed}.png")
    on = ("--engine", NAME, "--json")
    built = fer_edge("build-engine", checkpoint, "-o", bundle, *on)
    assert built.returncode == 0, built.stderr
    (entry,) = Bundle.open(bundle).manifest.engines
    assert (entry.engine, entry.targets, entry.file) == (NAME, ("cpu",), None)
    assert entry.proof["fallbacks"] == []  # every layer runs in fp32
    compared = fer_edge("parity", bundle, "--checkpoint", checkpoint, "--images", images, *on)
    assert compared.returncode == 0, compared.stdout + compared.stderr
    tensors = fer_edge("parity", bundle, "--checkpoint", checkpoint, "--images", images, "--per-tensor", *on)
    assert tensors.returncode == 0, tensors.stdout + tensors.stderr
    assert json.loads(tensors.stdout)["engine"] == NAME


@pytest.mark.usefixtures("new_engine")
def test_new_engine_equals_the_others(tmp_path: Path) -> None:
    bundle = tmp_path / "new.fer"
    assert (
        fer_edge("bundle", "add-engine", tiny_bundle(tmp_path / "a.fer"), "--engine", NAME, "-o", bundle).returncode
        == 0
    )
    frame = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    with Recognizer.open(bundle) as first, Recognizer.open(bundle, "onnxruntime") as other:
        assert first.engine == NAME
        assert first.recognize(frame).scores == pytest.approx(other.recognize(frame).scores, abs=1e-6)


@pytest.mark.usefixtures("new_engine")
def test_doctor_lists_the_new_engine_and_its_package() -> None:
    report = json.loads(fer_edge("doctor", "--json").stdout)
    status = report["engines"][-1]
    assert (status["engine"], status["can_build"], status["can_run"], status["reason"]) == (NAME, True, True, "")
    assert report["environment"]["onnx"] == status["version"]
    assert names_with("tensor_reader") == f"openvino, onnxruntime, {NAME}"


def test_engine_is_loaded_only_when_it_is_named(packages: Path, tmp_path: Path) -> None:
    install(packages, f"{NAME} = new_engine:ENGINE", "raise RuntimeError('imported')")
    with Recognizer.open(tiny_bundle(tmp_path / "a.fer")) as recognizer:
        assert recognizer.engine == "openvino"
    assert engine_names() == [*ENGINE_MODULES, NAME]
    with pytest.raises(EngineUnavailableError, match=r"cannot be imported from new_engine:.*\(imported\)"):
        get_engine(NAME)
    assert engine_status(NAME).reason.endswith("reinstall or uninstall the package that adds it")


@pytest.mark.parametrize(("entry_point", "name"), [("other = new_engine:ENGINE", "other"), ("x = json:dumps", "x")])
def test_object_that_is_not_this_engine_is_refused(packages: Path, entry_point: str, name: str) -> None:
    install(packages, entry_point)
    with pytest.raises(EngineUnavailableError, match=f"expected an Engine named {name}"):
        get_engine(name)


def test_package_cannot_replace_an_engine_of_fer_edge(packages: Path) -> None:
    install(packages, "openvino = new_engine:ENGINE")
    assert type(get_engine("openvino")).__name__ == "OpenVINOEngine"
    assert engine_names() == [*ENGINE_MODULES]


def test_bundle_falls_back_where_the_package_is_missing(tmp_path: Path, caplog: Any) -> None:
    path = tmp_path / "a.fer"
    entries = (EngineEntry(NAME, ("cpu",), "1", None, None), *tiny_manifest().engines)
    write_bundle(path, tiny_manifest(engines=entries), {"model.onnx": tiny_onnx()})
    with Recognizer.open(path) as recognizer:
        assert recognizer.engine == "openvino"
    with pytest.raises(ConfigError, match="no engine 'onnx-reference'; expected one of: openvino"):
        get_engine(NAME)
    assert fer_edge("bench", path, "--engine", NAME).returncode == 2
