"""Hashes of the files built from the shipped checkpoint and its ranges, per platform and versions; see scripts/ship."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fer_edge._files import sha256
from fer_edge.engines.registry import platform_tag
from fer_edge.export.build import typed_graph
from fer_edge.graph.ranges import read_ranges
from fer_edge.model.checkpoint import load_checkpoint

ROOT = Path(__file__).parents[1]
CHECKPOINT = ROOT / "fer_edge" / "weights" / "edge.safetensors"
RANGES = ROOT / "calibration" / "edge.json"
LOCK = ROOT / "calibration" / "edge.lock.json"
# Packages that determine the bytes of an exported graph; with other versions only its values are equal.
VERSIONS = ("torch", "onnx", "onnxscript")


def made_with() -> dict[str, str]:
    """Return platform and versions that the hashes are valid for."""
    return {"platform": platform_tag(), **{name: version(name) for name in VERSIONS}}


def hashes() -> dict[str, Any]:
    """Return the hashes of the shipped checkpoint, its ranges, and the graphs of every recipe."""
    checkpoint, ranges = load_checkpoint(CHECKPOINT), read_ranges(RANGES)
    return {
        "checkpoint": sha256(CHECKPOINT.read_bytes()),
        "ranges": ranges.sha256(),
        "graphs": {
            "fp32": sha256(typed_graph(checkpoint, "fp32").to_bytes()),
            "fp16": sha256(typed_graph(checkpoint, "fp16", ranges).to_bytes()),
            "int8": sha256(typed_graph(checkpoint, "int8", ranges).to_bytes()),
            "int8, float layers fp16": sha256(typed_graph(checkpoint, "int8", ranges, "fp16").to_bytes()),
        },
    }


if __name__ == "__main__":
    LOCK.write_text(json.dumps({"made_with": made_with(), **hashes()}, indent=1) + "\n")
    print(f"wrote {LOCK}")
