"""Hashes of what is built from the shipped checkpoints, per platform and versions; see scripts/ship."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fer_edge._files import file_sha256, sha256
from fer_edge.engines.registry import platform_tag
from fer_edge.export.build import typed_graph
from fer_edge.graph.ranges import read_ranges
from fer_edge.model.checkpoint import load_checkpoint
from fer_edge.shipped import shipped_names

WEIGHTS = Path(__file__).parents[1] / "fer_edge" / "weights"
CALIBRATION = Path(__file__).parents[1] / "calibration"
# Packages that determine the bytes of an exported graph; with other versions only its values are equal.
VERSIONS = ("torch", "onnx", "onnxscript")


def made_with() -> dict[str, str]:
    """Return platform and versions that the hashes are valid for."""
    return {"platform": platform_tag(), **{name: version(name) for name in VERSIONS}}


def checkpoint_file(name: str) -> Path:
    return WEIGHTS / f"{name}.safetensors"


def ranges_file(name: str) -> Path:
    return CALIBRATION / f"{name}.json"


def lock_file(name: str) -> Path:
    return CALIBRATION / f"{name}.lock.json"


def hashes(name: str) -> dict[str, Any]:
    """Return the hashes of a shipped checkpoint, its ranges, and the graphs of every recipe."""
    checkpoint, ranges = load_checkpoint(checkpoint_file(name)), read_ranges(ranges_file(name))
    return {
        "checkpoint": file_sha256(checkpoint_file(name)),
        "ranges": ranges.sha256(),
        "graphs": {
            "fp32": sha256(typed_graph(checkpoint, "fp32").to_bytes()),
            "fp16": sha256(typed_graph(checkpoint, "fp16", ranges).to_bytes()),
            "int8": sha256(typed_graph(checkpoint, "int8", ranges, unsigned=True).to_bytes()),
            "int8, signed": sha256(typed_graph(checkpoint, "int8", ranges).to_bytes()),
            "int8, float layers fp16": sha256(typed_graph(checkpoint, "int8", ranges, "fp16").to_bytes()),
        },
    }


if __name__ == "__main__":
    for model in shipped_names("checkpoint"):
        lock_file(model).write_text(json.dumps({"made_with": made_with(), **hashes(model)}, indent=1) + "\n")
        print(f"wrote {lock_file(model)}")
