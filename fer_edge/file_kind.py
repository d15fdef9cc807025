"""Recognition of files by their first bytes, for errors that name what a file really is."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

HEAD = 4096  # bytes that are read
MAX_HEADER = 16 << 20  # bytes of a safetensors header that are read

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a pointer of git-lfs: run git lfs pull to fetch the file itself"),
    (b"%!PS", "a PostScript file"),
    (b"\xc5\xd0\xd3\xc6", "a PostScript file"),
    (b"%PDF-", "a PDF document"),
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"BM", "a BMP image"),
    (b"II*\0", "a TIFF image"),
    (b"MM\0*", "a TIFF image"),
    (b"8BPS", "a Photoshop document"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 image"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (b"\x93NUMPY", "a NumPy array (.npy)"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf", "a 7-Zip archive"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"\x80", "a Python pickle"),
)
_FTYP = {b"heic": "a HEIC image", b"heix": "a HEIC image", b"mif1": "a HEIF image", b"avif": "an AVIF image"}


def describe_file(path: Path) -> str:
    """Name what a file is, by its content: "an HTML page", "a fer-edge bundle", "a resume file of fer-edge train".

    Nothing is executed or unpickled. The text completes the sentence "PATH is ..."; it is "a file of an unknown kind"
    where the content gives no answer, and "an unreadable file" where the file cannot be opened.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
        return "an empty file (0 bytes)" if not head else _describe(path, head)
    except OSError:
        return "an unreadable file"


def _describe(path: Path, head: bytes) -> str:
    if head.startswith(b"PK\x03\x04"):
        return _describe_zip(path)
    if _is_safetensors(head):  # before the signatures: it starts with a size, whose bytes may look like any of them
        return _describe_safetensors(path, head)
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    if head[4:8] == b"ftyp":
        return _FTYP.get(head[8:12], "an MP4 or other ISO media file")
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "a WebP image"
    start = head.lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "an HTML page, such as a failed download leaves behind: fetch the file again"
    if start.startswith(b"<svg") or (start.startswith(b"<?xml") and b"<svg" in start):
        return "an SVG drawing"
    if (head.startswith(b"\x08") and b"fer-edge" in head) or b"pytorch" in head[:64]:
        return "an ONNX model"
    return _describe_text(head)


def _describe_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError):
        return "a damaged zip archive"
    if "manifest.json" in names and "model.onnx" in names:
        return "a fer-edge bundle"
    if any(name.endswith("/data.pkl") for name in names):
        if path.name == "last.pt":
            return "a resume file of fer-edge train; the checkpoint is best.safetensors beside it"
        return "a PyTorch file"
    if names and all(name.endswith(".npy") for name in names):
        return "a NumPy archive (.npz)"
    return "a zip archive"


def _is_safetensors(head: bytes) -> bool:
    return len(head) > 9 and head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= 100 << 20


def _describe_safetensors(path: Path, head: bytes) -> str:
    size = int.from_bytes(head[:8], "little")
    if size > MAX_HEADER:
        return "a safetensors file"
    try:
        with path.open("rb") as file:
            file.seek(8)
            header = json.loads(file.read(size))
        metadata = header.get("__metadata__") or {}
    except (OSError, ValueError, RecursionError, AttributeError):
        return "a damaged safetensors file"
    if "fer_edge" in metadata:
        return "a fer-edge checkpoint"
    if "fer_edge_text" in metadata:
        return "a file of text features"
    return "a safetensors file made by another program: fer-edge import-checkpoint reads such weights"


def _describe_text(head: bytes) -> str:
    try:
        text = head.decode("utf-8", errors="strict" if len(head) < HEAD else "ignore").lstrip()
    except UnicodeDecodeError:
        return "a file of an unknown kind"
    if "\0" in text:
        return "a file of an unknown kind"
    if text.startswith(("{", "[")):
        return "a JSON file"
    return "a text file"
