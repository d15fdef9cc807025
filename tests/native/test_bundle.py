"""Bundles that the C library refuses."""

from __future__ import annotations

import json
import os
import runpy
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_edge import Bundle
from fer_edge.errors import BundleError
from fer_edge.manifest import DataRecord, Provenance, RecipeRecord
from fer_edge.shipped import shipped_bundle
from tests.native.library import SOURCE, Library, NativeError
from tests.tiny import tiny_bundle, tiny_onnx

if SOURCE.is_dir():
    CORPUS = runpy.run_path(str(SOURCE / "fuzz" / "make_corpus.py"))
    archive, bundle, manifest = CORPUS["archive"], CORPUS["bundle"], CORPUS["manifest"]
MODEL = tiny_onnx()
FILES = {"model.onnx": MODEL}


def with_manifest(content: bytes) -> bytes:
    return archive([("manifest.json", content), ("model.onnx", MODEL)])


def text(**changes: Any) -> bytes:
    return json.dumps(manifest(FILES, **changes)).encode()


def patched(data: bytes, place: int, value: bytes) -> bytes:
    return data[:place] + value + data[place + len(value) :]


def bomb() -> bytes:
    """Return a bundle whose zip directory claims a member of 4 GB."""
    data = bundle(FILES)
    entry = data.rindex(b"PK\1\2")
    return patched(data, entry + 20, struct.pack("<II", 0xFFFFFF00, 0xFFFFFF00))


def overlapping() -> bytes:
    """Return a bundle of 30 members that are all the same bytes of the file."""
    data = bytearray(bundle(FILES))
    directory = data.index(b"PK\1\2")
    entry = bytes(data[data.rindex(b"PK\1\2") : -22])
    entries = bytes(data[directory : data.rindex(b"PK\1\2")]) + entry * 30
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 31, 31, len(entries), directory, 0)
    return bytes(data[:directory]) + entries + end


def damaged() -> dict[str, tuple[bytes, str]]:
    """Return wrong bundles and what the message contains."""
    whole = bundle(FILES)
    return {
        "hash": (whole.replace(MODEL, MODEL[:-1] + b"x"), "model.onnx differs from the SHA-256 in the manifest"),
        "size": (
            with_manifest(text(files={"model.onnx": {"sha256": "0" * 64, "size": 5}})),
            "model.onnx has .* bytes; expected the size in the manifest",
        ),
        "truncated": (whole[:-1], "is not a bundle, or is truncated; fetch or build it again"),
        "cut in the middle": (whole[: len(whole) // 2], "is not a bundle, or is truncated"),
        "empty": (b"", "is not a bundle, or is truncated"),
        "web page": (b"<!DOCTYPE html>" * 9, "is not a bundle, or is truncated"),
        "parent folder": (bundle(FILES | {"../x": b"x"}), "unsafe name of member 2; expected a plain relative path"),
        "inner parent folder": (bundle(FILES | {"a/../../x": b"x"}), "unsafe name of member 2"),
        "absolute path": (bundle(FILES | {"/etc/x": b"x"}), "unsafe name of member 2"),
        "drive": (bundle(FILES | {"C:x": b"x"}), "unsafe name of member 2"),
        "backslash": (bundle(FILES | {"a\\x": b"x"}), "unsafe name of member 2"),
        "control character": (bundle(FILES | {"a\x1b[2J": b"x"}), "unsafe name of member 2"),
        "folder": (bundle(FILES | {"engines/": b""}), "unsafe name of member 2"),
        "two of a name": (
            archive([("manifest.json", text()), ("model.onnx", MODEL), ("model.onnx", MODEL)]),
            "two members of the name model.onnx",
        ),
        "overlapping members": (overlapping(), "two members of the name|contradicts the file"),
        "compressed": (
            archive([("manifest.json", text()), ("model.onnx", MODEL)], method=8),
            "is compressed or encrypted; expected members stored uncompressed",
        ),
        "bomb": (bomb(), "exceeds the file|differs from the zip directory"),
        "many members": (bundle(FILES | {f"{index}": b"" for index in range(63)}), "has 65 members; .* at most 64"),
        "unlisted member": (with_manifest(text(files={})), "members and manifest differ"),
        "missing member": (
            archive([("manifest.json", text()), ("other.onnx", MODEL)]),
            "members and manifest differ, or model.onnx is missing",
        ),
        "no manifest": (archive([("model.onnx", MODEL)]), "manifest.json is missing, damaged or larger"),
        "huge manifest": (with_manifest(b" " * ((4 << 20) + 1)), "manifest.json is missing, damaged or larger"),
        "flipped bit of the manifest": (whole.replace(b'"neutral"', b'"neutran"'), "manifest.json is missing, damaged"),
        "no JSON": (with_manifest(b"{"), "invalid manifest.json: "),
        "deep JSON": (with_manifest(b"[" * 100000), "invalid manifest.json: maximum parsing depth reached"),
        "two values of a key": (
            with_manifest(text()[:-1] + b', "format": 1}'),
            "invalid manifest.json: duplicate object key",
        ),
        "null byte": (with_manifest(text(labels=["a\0b", "c"])), r"invalid manifest.json: .*u0000"),
        "list": (with_manifest(b"[]"), "invalid manifest.json: Expected object, got array"),
        "no labels": (with_manifest(text(labels=[])), "expected 2 to 1024 different labels"),
        "equal labels": (with_manifest(text(labels=["a", "a"])), "expected 2 to 1024 different labels"),
        "empty label": (with_manifest(text(labels=["a", " "])), "expected 2 to 1024 different labels"),
        "control character in a label": (
            with_manifest(text(labels=["a", "b\x1b"])),
            "expected 2 to 1024 different labels",
        ),
        "batch": (with_manifest(text(max_batch=0)), "a largest batch of 1 to 1024"),
        "later format": (with_manifest(text(format=2)), "has bundle format 2; this version reads 1: update fer-edge"),
        "precision": (with_manifest(text(precision="fp4")), "a precision or an input that this version does not read"),
        "input": (
            with_manifest(text(input={"height": 224})),
            "a precision or an input that this version does not read",
        ),
        "engines": (with_manifest(text(engines=[])), "has no engine  that this library is built with"),
        "other number of labels": (
            with_manifest(text(engines=[{"engine": "onnxruntime"}, {"engine": "openvino"}])),
            "refused|failed|probabilities of the model",
        ),
        "no model": (
            bundle({"model.onnx": b"not a model"}, engines=[{"engine": "onnxruntime"}, {"engine": "openvino"}]),
            "refused the model",
        ),
    }


DAMAGED = damaged() if SOURCE.is_dir() else {}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_bundle_is_refused(library: Library, tmp_path: Path, name: str) -> None:
    data, message = DAMAGED[name]
    path = tmp_path / "a.fer"
    path.write_bytes(data)
    for source in (path, data):
        with pytest.raises(NativeError, match=message) as caught:
            library.open(source)
        assert "\n" not in str(caught.value) and str(caught.value).isprintable()
        assert caught.value.status == (4 if "this version" in message else caught.value.status)
    if name not in ("other number of labels", "no model", "engines"):
        with pytest.raises(BundleError):
            Bundle.open(path)


def test_fields_that_the_library_does_not_use_are_accepted(library: Library, tmp_path: Path) -> None:
    data = (DataRecord("calibration", "FERPlus train", 512, "ab" * 32),)
    provenance = Provenance("cd" * 32, data, RecipeRecord("cpu-int8", "ef" * 32))
    with library.open(tiny_bundle(tmp_path / "tiny.fer", provenance=provenance)) as native:
        assert native.labels == ["neutral", "happiness", "surprise"]


def test_every_flipped_byte_of_a_bundle_is_noticed(library: Library, tmp_path: Path) -> None:
    data = tiny_bundle(tmp_path / "tiny.fer").read_bytes()
    harmless = 0
    for place in np.random.default_rng(0).choice(len(data), 400, replace=False).tolist():
        changed = bytearray(data)
        changed[place] ^= 1 << place % 8
        try:
            with library.open(bytes(changed)) as native:
                harmless += 1
                assert native.labels == ["neutral", "happiness", "surprise"]
        except NativeError as error:
            assert error.status in (3, 4)
    assert harmless < 60  # times, versions and attributes in the zip headers, which nothing reads


def test_paths_that_are_no_files(library: Library, tmp_path: Path) -> None:
    for path, message in ((tmp_path, "Is a directory"), (tmp_path / "none.fer", "No such file or directory")):
        with pytest.raises(NativeError, match=f"{path} cannot be read: {message}; expected a bundle") as caught:
            library.open(path)
        assert caught.value.status == 2
    os.mkfifo(tmp_path / "a.fer")
    with pytest.raises(NativeError, match="cannot be read"):
        library.open(tmp_path / "a.fer")
    (tmp_path / "línea\n.fer").write_bytes(shipped_bundle().read_bytes()[:1000])
    with pytest.raises(NativeError, match="is not a bundle") as caught:
        library.open(tmp_path / "línea\n.fer")
    assert str(caught.value).isprintable() and "línea?.fer" in str(caught.value)
