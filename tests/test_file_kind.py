"""Files named by their content."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fer_edge.file_kind import describe_file
from tests.tiny import tiny_bundle


def safetensors(metadata: dict[str, str]) -> bytes:
    header = json.dumps({"__metadata__": metadata}).encode()
    return len(header).to_bytes(8, "little") + header


CONTENTS = {
    b"": "an empty file (0 bytes)",
    b"<!DOCTYPE html><html>Virus scan warning": "an HTML page, such as a failed download leaves behind: fetch the file",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:1": "a pointer of git-lfs: run git lfs pull",
    b"%!PS-Adobe-3.0 EPSF-3.0": "a PostScript file",
    b"\0\0\0\x18ftypheic": "a HEIC image",
    b"\x80\x02}q\0.": "a Python pickle",
    b"PK\x03\x04cut": "a damaged zip archive",
    safetensors({"fer_edge": "{}"}): "a fer-edge checkpoint",
    safetensors({"fer_edge_text": "{}"}): "a file of text features",
    safetensors({}): "a safetensors file made by another program",
    b'{"format": 1}': "a JSON file",
    b"path label 1\n": "a text file",
    b"\xfe\x01\x02\x00\xff": "a file of an unknown kind",
}


@pytest.mark.parametrize("content", CONTENTS)
def test_content_decides(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file.png").write_bytes(content)
    assert describe_file(tmp_path / "file.png").startswith(CONTENTS[content])


def test_bundles_and_missing_files(tmp_path: Path) -> None:
    assert describe_file(tiny_bundle(tmp_path / "tiny.fer")) == "a fer-edge bundle"
    assert describe_file(tmp_path / "none") == "an unreadable file"
