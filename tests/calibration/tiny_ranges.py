"""A tiny checkpoint's graph, and ranges measured on made-up faces."""

from __future__ import annotations

import atexit
from functools import cache
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

from fer_edge.calibration.histograms import Method
from fer_edge.calibration.images import CalibrationImages, choose_images
from fer_edge.calibration.ranges import Ranges, measure
from fer_edge.data.layouts import read_split
from fer_edge.export.onnx_graph import onnx_from_checkpoint
from tests.faces import make_ferplus
from tests.tiny_model import tiny_checkpoint


@cache
def tiny_graph(precision: Any = "fp32") -> bytes:
    return onnx_from_checkpoint(tiny_checkpoint(), precision)


@cache
def tiny_images() -> CalibrationImages:
    root = make_ferplus(Path(mkdtemp(prefix="fer-edge-test-")), train=48)
    atexit.register(rmtree, root, ignore_errors=True)
    return choose_images(read_split(root, "train"), root, 48).set.open(root)


@cache
def tiny_ranges(method: Method = "minmax") -> Ranges:
    return measure(tiny_graph(), "of no file", tiny_images(), method)
