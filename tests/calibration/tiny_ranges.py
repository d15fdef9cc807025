"""A tiny checkpoint with its data set, graphs, ranges and search, computed once per process."""

from __future__ import annotations

import atexit
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any
from unittest import mock

from fer_edge._files import sha256
from fer_edge.calibration.images import CalibrationImages, choose_images
from fer_edge.calibration.ranges import Ranges, measure
from fer_edge.choices import CalibrationMethod
from fer_edge.data.layouts import read_split
from fer_edge.export.onnx_graph import onnx_from_checkpoint
from fer_edge.model.checkpoint import Checkpoint
from tests.synthetic import make_ferplus
from tests.tiny_model import overflowing_checkpoint, tiny_checkpoint

_EXPORTS: dict[tuple[str, str, str], bytes] = {}
_export = onnx_from_checkpoint  # the original, also while `export_once` is in its place


@cache
def tiny_graph(precision: Any = "fp32") -> bytes:
    return export_once(tiny_checkpoint(), precision)


@cache
def tiny_images() -> CalibrationImages:
    root = make_ferplus(_temporary_folder(), train=48)
    return choose_images(read_split(root, "train"), root, 48).set.open(root)


@cache
def tiny_ranges(method: CalibrationMethod = "minmax") -> Ranges:
    return measure(tiny_graph(), "of no file", tiny_images(), method)


def export_once(checkpoint: Checkpoint, precision: Any = "fp32") -> bytes:
    """Replace `onnx_from_checkpoint`, which takes seconds; equal checkpoints give equal bytes (see test_onnx_graph)."""
    state = checkpoint.model.state_dict()
    weights = sha256(b"".join(tensor.numpy().tobytes() for tensor in state.values()))
    key = (weights, repr(checkpoint.info), precision)
    if key not in _EXPORTS:
        _EXPORTS[key] = _export(checkpoint, precision)
    return _EXPORTS[key]


@dataclass(frozen=True)
class TinyCalibration:
    """Files of a calibration with a search; tests may read them and must not write into their folder."""

    folder: Path

    @property
    def checkpoint(self) -> Path:
        return self.folder / "tiny.safetensors"

    @property
    def data(self) -> Path:
        """FERPlus layout: 60 training and 30 validation images of three classes."""
        return self.folder / "ferplus"

    @property
    def calibration_set(self) -> Path:
        """48 images."""
        return self.folder / "set.json"

    @property
    def ranges(self) -> Path:
        return self.folder / "tiny.json"

    @property
    def state(self) -> Path:
        return self.folder / "tiny.search.json"

    @property
    def overflowing(self) -> Path:
        """A checkpoint with finite weights whose activations overflow."""
        return self.folder / "overflowing.safetensors"

    @property
    def search_options(self) -> list[object]:
        """Options of `fer-edge calibrate` that give the same search."""
        return ["--max-drop", 50, "--threads", 1, "--engine", "onnxruntime"]

    def result(self) -> dict[str, Any]:
        """Return the output of the command in JSON mode."""
        result: dict[str, Any] = json.loads((self.folder / "result.json").read_text())
        return result


@cache
def tiny_calibration() -> TinyCalibration:
    """Run `fer-edge calibrate` with a search on the tiny checkpoint."""
    from tests.command import fer_edge

    files = TinyCalibration(_temporary_folder())
    make_ferplus(files.data, train=60, valid=30)
    tiny_checkpoint().save(files.checkpoint)
    overflowing_checkpoint().save(files.overflowing)
    with mock.patch("fer_edge.export.onnx_graph.onnx_from_checkpoint", export_once):
        result = fer_edge(
            "calibrate", files.checkpoint, files.data, "-o", files.ranges, "--count", 48, "--calibration-set",
            files.calibration_set, *files.search_options, "--json",
        )  # fmt: skip
    assert result.returncode == 0, result.stderr
    (files.folder / "result.json").write_text(result.stdout)
    return files


def _temporary_folder() -> Path:
    folder = Path(mkdtemp(prefix="fer-edge-test-"))
    atexit.register(rmtree, folder, ignore_errors=True)
    return folder
