"""A tiny checkpoint with its data set, graphs, ranges and search."""

from __future__ import annotations

import atexit
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

from fer_edge.calibration.histograms import measure
from fer_edge.calibration.images import CalibrationImages, choose_images
from fer_edge.choices import CalibrationMethod
from fer_edge.data.layouts import read_split
from fer_edge.export.onnx_graph import onnx_from_checkpoint
from fer_edge.graph.qdq import quantize_graph
from fer_edge.graph.ranges import Ranges
from fer_edge.graph.typed_graph import TypedGraph
from tests.synthetic import make_ferplus
from tests.tiny_model import overflowing_checkpoint, tiny_checkpoint


@cache
def tiny_graph(precision: Any = "fp32") -> TypedGraph:
    return onnx_from_checkpoint(tiny_checkpoint(), precision)


@cache
def tiny_images() -> CalibrationImages:
    root = make_ferplus(_temporary_folder(), train=48)
    return choose_images(read_split(root, "train"), root, 48)


@cache
def tiny_ranges(method: CalibrationMethod = "minmax") -> Ranges:
    return measure(tiny_graph(), "of no file", tiny_images(), method)


@cache
def tiny_int8(precision: Any = "fp32") -> TypedGraph:
    """Return the tiny graph of a float precision, quantised."""
    return quantize_graph(tiny_graph(precision), tiny_ranges())


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


def write_tiny_calibration(folder: Path) -> None:
    """Run `fer-edge calibrate` with a search on the tiny checkpoint."""
    from tests.command import fer_edge

    files = TinyCalibration(folder)
    make_ferplus(files.data, train=60, valid=30)
    tiny_checkpoint().save(files.checkpoint)
    overflowing_checkpoint().save(files.overflowing)
    result = fer_edge(
        "calibrate", files.checkpoint, files.data, "-o", files.ranges, "--count", 48, "--calibration-set",
        files.calibration_set, *files.search_options, "--json",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    (files.folder / "result.json").write_text(result.stdout)


def _temporary_folder() -> Path:
    folder = Path(mkdtemp(prefix="fer-edge-test-"))
    atexit.register(rmtree, folder, ignore_errors=True)
    return folder
