"""Exported graphs that the tests of a run share: PyTorch's exporter takes 5 seconds even for a tiny model."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from pathlib import Path

import onnx
import onnx_ir as ir
import torch

from fer_edge._files import sha256, write_atomically
from fer_edge.export.deploy import DeployModel

Export = Callable[[DeployModel], ir.Model]


def exported_once(export: Export, folder: Path) -> Export:
    """Return a function that exports each model once, and then reads its graph from a folder.

    Args:
        export: Exporter.
        folder: Folder for the graphs, each named by the SHA-256 of the model with its weights and settings.
    """

    @functools.wraps(export)
    def read_or_export(deploy: DeployModel) -> ir.Model:
        model = io.BytesIO()
        torch.save(deploy, model)
        file = folder / f"{sha256(model.getvalue())}.onnx"
        if not file.exists():
            write_atomically(file, ir.to_proto(export(deploy)).SerializeToString())
        return ir.from_proto(onnx.load_from_string(file.read_bytes()))

    return read_or_export
