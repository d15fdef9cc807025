"""Detection of the kind of a file by its content."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from fer_edge.file_kind import PICTURES, describe_file, describe_stream
from tests.tiny import tiny_bundle


def safetensors(metadata: object) -> bytes:
    header = json.dumps({"__metadata__": metadata}).encode()
    return len(header).to_bytes(8, "little") + header


CONTENTS = {
    b"": "an empty file (0 bytes)",
    b"<!DOCTYPE html><html>Virus scan warning": "an HTML page, such as a failed download leaves behind: fetch the file",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:1": "a pointer of git-lfs: run git lfs pull",
    b"%!PS-Adobe-3.0 EPSF-3.0": "a PostScript file",
    b"\0\0\0\x18ftypheic": "a HEIC image",
    b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic": "a HEIC image",
    b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif": "an AVIF image",
    b"\0\0\0\x14ftypmif1\0\0\0\0mif1": "a HEIF image",
    b"\0\0\0\x18ftypisom\0\0\0\0isomavc1": "an MP4 or other ISO media file",
    b"\0\0\0\x0cjP  \r\n\x87\n": "a JPEG 2000 image",
    b"\0\0\0\x0cJXL \r\n\x87\n": "a JPEG XL image",
    b"\0\0\x01\0\x01\0\x10\x10": "an ICO image",
    b"\0\0\x02\0\0\0\0\0\0\0": "a TGA image",
    b"RIFF\x10\0\0\0WEBPVP8 ": "a WebP image",
    b"RIFF\x10\0\0\0AVI LIST": "an AVI video",
    b"II+\0\x08\0\0\0": "a TIFF image",
    b"P6\n2 2\n255\n": "a Netpbm image",
    b"%PDF-1.7": "a PDF document",
    b'<?xml version="1.0"?><svg>': "an SVG drawing",
    b"\xef\xbb\xbf<svg xmlns=": "an SVG drawing",
    b"<?xml version='1.0'?><note>": "an XML file",
    b"\x1a\x45\xdf\xa3": "a Matroska or WebM video",
    bytes(64): "a file of zeros, such as an interrupted copy or a damaged disk leaves behind: copy it again",
    b"\x80\x02}q\0.": "a Python pickle",
    b"PK\x03\x04cut": "a damaged zip archive",
    safetensors({"fer_edge": "{}"}): "a fer-edge checkpoint",
    safetensors({"fer_edge_text": "{}"}): "a file of text features",
    safetensors({}): "a safetensors file made by another program",
    safetensors(99999999999999999999): "a damaged safetensors file",
    safetensors("fer_edge"): "a damaged safetensors file",
    b'{"format": 1}': "a JSON file",
    b"path label 1\n": "a text file",
    b"\xfe\x01\x02\x00\xff": "a file of an unknown kind",
}


@pytest.mark.parametrize("content", CONTENTS)
def test_content_determines_the_kind(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file.png").write_bytes(content)
    assert describe_file(tmp_path / "file.png").startswith(CONTENTS[content])
    assert describe_stream(io.BytesIO(content)).startswith(CONTENTS[content])


def test_bundles_and_missing_files(tmp_path: Path) -> None:
    assert describe_file(tiny_bundle(tmp_path / "tiny.fer")) == "a fer-edge bundle"
    assert describe_file(tmp_path / "none") == "an unreadable file"


def test_pictures_contain_only_images() -> None:
    assert {"a HEIC image", "a PostScript file", "an SVG drawing", "a JPEG image", "an ICO image"} <= PICTURES
    assert not {"a text file", "a zip archive", "a file of an unknown kind", "an AVI video"} & PICTURES
