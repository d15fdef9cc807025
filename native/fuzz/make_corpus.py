"""Corpora of the fuzz targets: tiny bundles, whole and damaged, faces, signatures. Usage: make_corpus.py FOLDER."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

MODEL = b"not a model: the fuzz target ends before the engine"


def manifest(files: dict[str, bytes], /, **changes: Any) -> dict[str, Any]:
    """Return a manifest that lists files, with other values for the keys in `changes`."""
    values: dict[str, Any] = {
        "format": 1,
        "name": "tiny",
        "labels": ["neutral", "happiness"],
        "head": "label",
        "precision": "fp32",
        "max_batch": 8,
        "engines": [{"engine": "onnxruntime", "targets": ["cpu"], "engine_version": "1", "file": None}],
        "input": {"name": "images", "dtype": "uint8", "layout": "NHWC", "height": 112, "width": 112, "color": "RGB"},
        "files": {
            name: {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
            for name, content in files.items()
        },
    }
    return values | changes


def archive(members: list[tuple[str, bytes]], method: int = 0) -> bytes:
    """Return a zip archive with these members; Python's zipfile would change or refuse unsafe and repeated names.

    Args:
        members: Name and content of each member.
        method: Number of the compression in the headers; 0: stored. The content is never compressed.
    """
    body, directory = b"", b""
    for name, content in members:
        text = name.encode("latin-1")
        common = struct.pack(
            *("<5H3L2H", 20, 0, method, 0, 0x21, zlib.crc32(content), len(content), len(content), len(text), 0)
        )
        directory += b"PK\1\2" + struct.pack("<H", 20) + common + struct.pack("<3H2L", 0, 0, 0, 0, len(body)) + text
        body += b"PK\3\4" + common + text + content
    count = len(members)
    return body + directory + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(directory), len(body), 0)


def bundle(files: dict[str, bytes] | None = None, /, **changes: Any) -> bytes:
    """Return a bundle; `changes` replace keys of its manifest."""
    files = {"model.onnx": MODEL} if files is None else files
    return archive([("manifest.json", json.dumps(manifest(files, **changes)).encode()), *files.items()])


def corpus() -> dict[str, bytes]:
    """Return whole and damaged bundles by name."""
    whole = bundle()
    content = json.dumps(manifest({"model.onnx": MODEL})).encode()
    seeds = {
        "whole": whole,
        "engine-file": bundle({"model.onnx": MODEL, "engines/a.plan": b"plan"}),
        "truncated": whole[:-9],
        "hash": whole.replace(MODEL, MODEL[::-1]),
        "traversal": bundle({"model.onnx": MODEL, "../../etc/passwd": b"x"}),
        "absolute": bundle({"model.onnx": MODEL, "/tmp/x": b"x"}),
        "duplicate": archive([("manifest.json", content), ("model.onnx", MODEL), ("model.onnx", MODEL)]),
        "compressed": archive([("manifest.json", content), ("model.onnx", MODEL)], method=8),
        "format": bundle(format=2),
        "labels": bundle(labels=["a", "a"]),
        "precision": bundle(precision="fp8"),
        "deep": archive([("manifest.json", b"[" * 3000), ("model.onnx", MODEL)]),
        "not-json": archive([("manifest.json", b"{"), ("model.onnx", MODEL)]),
        "empty": b"",
    }
    return seeds


def faces() -> dict[str, bytes]:
    """Return a face of each kind by name, for the fuzz target of crops."""
    face = struct.pack("<14d", 8, 6, 40, 40, 20, 22, 36, 22, 28, 30, 22, 38, 34, 38)
    return {f"kind-{kind}": face + bytes(8) + bytes([kind, kind, 95, 63]) for kind in range(3)}


def signatures() -> dict[str, bytes]:
    """Return a signature file by name, and its statement behind one byte, for the fuzz target of signatures."""
    file = (Path(__file__).parents[2] / "tests" / "recorded_signature" / "model.fer.sig").read_bytes()
    return {"file": file, "statement": b" " + base64.b64decode(json.loads(file)["dsseEnvelope"]["payload"])}


if __name__ == "__main__":
    for name, seeds in {"bundle": corpus(), "crop": faces(), "signature": signatures()}.items():
        folder = Path(sys.argv[1]) / name
        folder.mkdir(parents=True, exist_ok=True)
        for seed, data in seeds.items():
            (folder / seed).write_bytes(data)
