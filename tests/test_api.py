"""Public names of the package: the list, their lazy import, and path arguments."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fer_edge
from fer_edge import errors
from fer_edge._files import as_path
from fer_edge._require import require
from fer_edge.bundle import write_bundle
from fer_edge.errors import ConfigError, EngineUnavailableError, FerEdgeError, InputError
from tests.tiny import tiny_bundle, tiny_manifest, tiny_onnx

FUNCTIONS = {"add_engine", "analyse", "bench", "build", "calibrate", "compare", "evaluate", "parity", "predict"}
CLASSES = {
    "Bundle", "Expression", "ExpressionTracker", "Face", "FaceDetector", "OneEuro", "Prediction", "Recognizer",
    "RunOptions", "TrackedFace",
}  # fmt: skip
ERRORS = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, FerEdgeError)}


def run(code: str) -> Any:
    """Run code in a new process and return its output as JSON."""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_exported_names() -> None:
    names = (
        FUNCTIONS
        | CLASSES
        | ERRORS
        | {"Box", "__version__", "box_from_corners"}
        | {"limit_threads", "open_source", "read_image"}
    )
    assert set(fer_edge.__all__) == names
    assert fer_edge.__all__ == sorted(fer_edge.__all__, key=lambda name: (not name[0].isupper(), name))
    assert set(dir(fer_edge)) >= names
    with pytest.raises(AttributeError, match="module 'fer_edge' has no attribute 'recognise'"):
        _ = fer_edge.recognise


@pytest.mark.parametrize("name", fer_edge.__all__)
def test_exported_name_has_documentation(name: str) -> None:
    value = getattr(fer_edge, name)
    assert getattr(fer_edge, name) is value
    if name in FUNCTIONS | CLASSES | ERRORS:
        assert inspect.getdoc(value), name
        assert callable(value) and value.__name__ == name


def test_import_loads_no_other_package() -> None:
    code = (
        "import sys, json, fer_edge;"
        "heavy = {'msgspec', 'numpy', 'onnx', 'onnxruntime', 'openvino', 'PIL', 'rich', 'torch', 'typer'};"
        "print(json.dumps(sorted(heavy & set(sys.modules))))"
    )
    assert run(code) == []


def test_recognizer_loads_neither_pytorch_nor_the_command_line() -> None:
    code = (
        "import sys, json; from fer_edge import Recognizer, read_image, RunOptions, Box;"
        "print(json.dumps(sorted({'onnx', 'rich', 'torch', 'typer'} & set(sys.modules))))"
    )
    assert run(code) == []


def test_functions_stay_functions_after_submodule_imports() -> None:
    pytest.importorskip("torch")
    modules = ", ".join(f"fer_edge.{fer_edge._MODULES[name]}" for name in sorted(FUNCTIONS))
    code = (
        f"import json, {modules}; import fer_edge;"
        f"print(json.dumps([name for name in {sorted(FUNCTIONS)} if not callable(getattr(fer_edge, name))]))"
    )
    assert run(code) == []


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_functions_are_typed_with_keyword_options(name: str) -> None:
    pytest.importorskip("torch")
    signature = inspect.signature(getattr(fer_edge, name))
    assert signature.return_annotation.endswith(("Report", "Result", "Predictions"))
    assert inspect.Parameter.empty not in {parameter.annotation for parameter in signature.parameters.values()}
    options = [option for option in signature.parameters.values() if option.default is not inspect.Parameter.empty]
    assert {option.kind for option in options} == {inspect.Parameter.KEYWORD_ONLY}


class OwnPath:
    """Path type that is neither str nor pathlib.Path."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> str:
        return str(self.path)


@pytest.mark.parametrize("kind", [str, Path, OwnPath])
def test_paths_of_every_type_are_accepted(kind: Any, tmp_path: Path) -> None:
    write_bundle(kind(tmp_path / "a.fer"), tiny_manifest(), {"model.onnx": tiny_onnx()})
    assert fer_edge.Bundle.open(kind(tmp_path / "a.fer")).path == tmp_path / "a.fer"
    with fer_edge.Recognizer.open(kind(tmp_path / "a.fer"), "onnxruntime", threads=1) as recognizer:
        assert recognizer.engine == "onnxruntime"
    Image.new("RGB", (4, 3)).save(tmp_path / "a.png")
    assert fer_edge.read_image(kind(tmp_path / "a.png")).shape == (3, 4, 3)
    assert fer_edge.RunOptions(cache=kind(tmp_path)).cache == tmp_path


@pytest.mark.parametrize("kind", [str, Path, OwnPath])
def test_checkpoint_paths_of_every_type_are_accepted(kind: Any, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from fer_edge.model.checkpoint import load_checkpoint, read_checkpoint_info
    from tests.tiny_model import tiny_checkpoint

    tiny_checkpoint().save(kind(tmp_path / "a.safetensors"))
    assert load_checkpoint(kind(tmp_path / "a.safetensors")).info == read_checkpoint_info(
        kind(tmp_path / "a.safetensors")
    )


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (None, "the image is of type NoneType; expected a path: str or os.PathLike"),
        (b"a.png", "the image is of type bytes; expected a path"),
        (7, "the image is of type int; expected a path"),
        ("", "the image is an empty path; expected the name of a file or folder"),
        ("a\0b", r"the image is 'a\\x00b'; expected a path without null bytes"),
    ],
)
def test_wrong_path_is_refused(path: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        as_path(path, "the image")
    with pytest.raises(ConfigError, match=message):
        as_path(path, "the image", ConfigError)
    assert as_path(os.curdir, "the image") == Path()


def test_run_options_of_a_recognizer(tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path / "a.fer")
    options = fer_edge.RunOptions(threads=1, graphs=False, cache=tmp_path)
    with fer_edge.Recognizer.open(path, options=options) as recognizer:
        assert recognizer.recognize(np.zeros((20, 30, 3), np.uint8)).label
    for other in ({"threads": 2}, {"device": 1}, {"allow_host_code": True}):
        with pytest.raises(ConfigError, match=r"are set beside options; set them in RunOptions\(\.\.\.\)"):
            fer_edge.Recognizer.open(path, options=options, **other)


def test_missing_package_is_named_with_its_extra() -> None:
    expected = r'building needs nothing_here \(No module named .*\); run: pip install "fer-edge\[export\]"'
    with pytest.raises(EngineUnavailableError, match=expected):
        require("nothing_here", "export", "building")
    assert require("json", "export", "building") is json
