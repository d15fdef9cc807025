"""`--allow-host-code`: native code of a version-compatible TensorRT engine runs only with permission."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from fer_edge.bundle import EngineEntry, write_bundle
from fer_edge.cli.main import app
from fer_edge.engines.base import IMAGE_SIZE
from fer_edge.engines.registry import platform_tag
from fer_edge.engines.tensorrt import engine as engine_module
from fer_edge.engines.tensorrt import runner as runner_module
from fer_edge.errors import EngineError
from tests.bindings_double import api_double, plan
from tests.cuda_double import DoubleDevice, Gpu
from tests.tiny import tiny_manifest, tiny_onnx

Command = Callable[[Path, Path], list[str]]
COMMANDS: dict[str, Command] = {
    "predict": lambda bundle, faces: [str(faces / "neutral"), "--crop", "--bundle", str(bundle)],
    "evaluate": lambda bundle, faces: [str(bundle), str(faces)],
    "bench": lambda bundle, faces: [str(bundle), "--scenario", "on-device"],
    # The bundle is opened before the checkpoint, which does not exist.
    "parity": lambda bundle, faces: [str(bundle), "--checkpoint", "none.txt", "--images", str(faces)],
}


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    """Simulate TensorRT and the driver of an Ada GPU."""
    device = Gpu()
    monkeypatch.setattr(engine_module, "find_api", lambda product: api_double(device))
    monkeypatch.setattr(engine_module, "compute_capability", lambda index: "sm89")
    monkeypatch.setattr(runner_module, "check_cuda", lambda index: None)
    monkeypatch.setattr(runner_module, "CudaDevice", lambda index: DoubleDevice(device, index))
    return device


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    entry = EngineEntry("tensorrt", ("sm89",), "11.4.0.106+", "engines/x", platform_tag())
    file = plan(tiny_onnx(), 8, refuses="host code is not allowed: lean runtime")
    path = tmp_path / "compatible.fer"
    write_bundle(path, tiny_manifest(engines=(entry,)), {"model.onnx": tiny_onnx(), "engines/x": file})
    return path


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for label in ("neutral", "happiness", "surprise"):
        (tmp_path / "faces" / label).mkdir(parents=True)
        pixels = rng.integers(0, 256, (IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "faces" / label / "face.png")
    return tmp_path / "faces"


def run(command: str, bundle: Path, faces: Path, *options: str) -> Any:
    return CliRunner().invoke(app, [command, *COMMANDS[command](bundle, faces), *options])


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_host_code_is_refused_unless_allowed(command: str, gpu: Gpu, bundle: Path, faces: Path) -> None:
    refused = run(command, bundle, faces)
    assert isinstance(refused.exception, EngineError)
    assert "which is not run by default" in str(refused.exception)
    assert "if you trust its origin, allow it with --allow-host-code" in str(refused.exception)
    allowed = run(command, bundle, faces, "--allow-host-code")
    if command == "parity":
        assert "no file at none.txt" in str(allowed.exception)
    else:
        assert allowed.exit_code == 0, allowed.exception


@pytest.mark.parametrize("command", [*COMMANDS, "compare"])
def test_help_warns_of_untrusted_bundles(command: str) -> None:
    text = " ".join(CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).output.split())
    assert "--allow-host-code" in text
    assert "Only for bundles from a trusted source" in text
