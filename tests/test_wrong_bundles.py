"""Other files and paths in place of a bundle."""

from __future__ import annotations

import json
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fer_edge import Bundle, Recognizer
from fer_edge.errors import BundleDamagedError, BundleError
from tests.tiny import tiny_bundle


def safetensors(path: Path, **metadata: str) -> None:
    header = json.dumps({"__metadata__": metadata}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)


def torch_file(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for index in range(237):
            archive.writestr(f"archive/data/{index}", b"x")
        archive.writestr("archive/data.pkl", b"x")


def zip_file(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "a")


WRITERS: dict[str, Any] = {
    "page.fer": (
        lambda path: path.write_text("<!DOCTYPE html><html></html>"),
        "an HTML page, such as a failed download leaves behind: fetch the file again; expected a fer-edge bundle",
    ),
    "pointer.fer": (
        lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
        "a pointer of git-lfs: run git lfs pull to fetch the file itself",
    ),
    "checkpoint.fer": (
        lambda path: safetensors(path, fer_edge="{}"),
        "a fer-edge checkpoint; build a bundle from it: fer-edge build-engine",
    ),
    "text.safetensors": (
        lambda path: safetensors(path, fer_edge_text="{}"),
        "a file of text features; pass it to fer-edge train --text-features; .* fer-edge build-engine",
    ),
    "other.safetensors": (lambda path: safetensors(path), "a safetensors file made by another program"),
    "last.pt": (
        torch_file,
        "a resume file of fer-edge train; .* best.safetensors beside it; .*: fer-edge build-engine",
    ),
    "weights.pth": (torch_file, "a PyTorch file; import it first: fer-edge checkpoint import"),
    "old.pth": (
        lambda path: path.write_bytes(pickle.dumps({}, protocol=2)),
        "a Python pickle; import it first: fer-edge checkpoint import",
    ),
    "model.onnx": (
        lambda path: path.write_bytes(b"\x08\x0a\x12\x08fer-edge"),
        "an ONNX model; .* fer-edge build-engine",
    ),
    "face.png": (
        lambda path: Image.fromarray(np.zeros((4, 4), np.uint8)).save(path),
        "a PNG image; expected a fer-edge",
    ),
    "note.fer": (lambda path: path.write_text("hello"), "a text file; expected a fer-edge bundle"),
    "some.zip": (
        zip_file,
        "a zip archive; expected a fer-edge bundle",
    ),
    "empty.fer": (lambda path: path.touch(), "an empty file .0 bytes.; expected a fer-edge bundle"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_other_files_are_described(tmp_path: Path, name: str) -> None:
    write, expected = WRITERS[name]
    write(tmp_path / name)
    with pytest.raises(BundleError, match=f"{name} is {expected}") as caught:
        Bundle.open(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert not isinstance(caught.value, BundleDamagedError) or name == "empty.fer"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "the path of a bundle is empty; expected a .fer file, or None for the shipped bundle"),
        (" ", "the path of a bundle is empty"),
        (".", r"no bundle at \.: a folder; expected a .fer file"),
        ("~/none.fer", r"no bundle at ~/none.fer; ~ is not expanded here: use pathlib.Path\(path\).expanduser\(\)"),
        ("https://example.com/edge.fer", "a URL; download the file and pass its path"),
        ("no\0name.fer", "expected a path without null bytes"),
        (b"edge.fer", "the path of a bundle is of type bytes; expected a path: str or os.PathLike"),
        (5, "the path of a bundle is of type int"),
        (["edge.fer"], "the path of a bundle is of type list"),
    ],
)
def test_wrong_paths_are_refused(path: Any, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        Recognizer.open(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipe_is_refused_without_reading(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.fer")
    with pytest.raises(BundleError, match=r"no bundle at .*a\.fer: a pipe or device; write its content to a"):
        Recognizer.open(tmp_path / "a.fer")


def test_bundle_without_its_end_is_damaged(tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path / "a.fer")
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(BundleDamagedError, match=r"is not a bundle, or is truncated: .*; fetch or build it again"):
        Bundle.open(path)


def test_repr_is_one_short_line(tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path / "a.fer")
    assert repr(Bundle.open(path)) == f"<Bundle {path}: 3 labels, fp32, openvino, onnxruntime>"
