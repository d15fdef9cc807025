"""Detection of a file's kind by its content, for error messages."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from typing import BinaryIO

HEAD = 4096  # bytes read from the start of a file
MAX_HEADER = 16 << 20  # largest safetensors header to read, in bytes

# Images and documents that other programs can convert to a supported format; the first match counts.
_PICTURES: tuple[tuple[bytes, str], ...] = (
    (b"%!PS", "a PostScript file"),
    (b"\x04%!PS", "a PostScript file"),
    (b"\xc5\xd0\xd3\xc6", "a PostScript file"),
    (b"%PDF-", "a PDF document"),
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"\xff\xd8\xff\xf7", "a JPEG-LS image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF87a", "a GIF image"),
    (b"GIF89a", "a GIF image"),
    (b"BM", "a BMP image"),
    (b"II*\0", "a TIFF image"),
    (b"MM\0*", "a TIFF image"),
    (b"II+\0\x08\0\0\0", "a TIFF image"),
    (b"MM\0+\0\x08\0\0", "a TIFF image"),
    (b"IIU\0", "a camera's raw image"),
    (b"IIRO", "a camera's raw image"),
    (b"FUJIFILMCCD-RAW", "a camera's raw image"),
    (b"II\xbc", "a JPEG XR image"),
    (b"8BPS", "a Photoshop document"),
    (b"gimp xcf", "a GIMP document"),
    (b"AT&TFORM", "a DjVu document"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 image"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL image"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"\0\0\x01\0", "an ICO image"),
    *((bytes((0, 0, kind, 0, 0, 0)), "a TGA image") for kind in (2, 3, 10, 11)),
    (b"\0\0\x02\0", "a CUR image"),
    (b"icns", "an ICNS image"),
    (b"DDS ", "a DDS image"),
    (b"qoif", "a QOI image"),
    (b"\x76\x2f\x31\x01", "an OpenEXR image"),
    (b"#?RADIANCE", "a Radiance HDR image"),
    (b"SIMPLE  =", "a FITS image"),
    (b"\x01\xda", "an SGI image"),
    (b"\x59\xa6\x6a\x95", "a Sun raster image"),
    (b"/* XPM", "an XPM image"),
    (b"#define ", "an XBM image"),
    (b"\xd7\xcd\xc6\x9a", "a Windows metafile"),
    (b"BLP1", "a BLP image"),
    (b"BLP2", "a BLP image"),
    (b"\x0a\x00\x01", "a PCX image"),
    (b"\x0a\x02\x01", "a PCX image"),
    (b"\x0a\x03\x01", "a PCX image"),
    (b"\x0a\x05\x01", "a PCX image"),
    (b"DanM", "an MSP image"),
    (b"LinS", "an MSP image"),
    (b"Image type:", "an IM image"),
)
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a pointer of git-lfs: run git lfs pull to fetch the file itself"),
    (b"\x93NUMPY", "a NumPy array (.npy)"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\0", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf", "a 7-Zip archive"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"\x1a\x45\xdf\xa3", "a Matroska or WebM video"),
    (b"\0\0\x01\xba", "an MPEG video"),
    (b"\0\0\x01\xb3", "an MPEG video"),
    (b"FLV\x01", "a Flash video"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"\xd0\xcf\x11\xe0", "a Microsoft Office document"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"GRIB", "a GRIB file"),
    (b"BUFR", "a BUFR file"),
    (b"\x80", "a Python pickle"),
)
_NETPBM = re.compile(rb"P[1-7fFy][ \t\r\n#]")
_FTYP = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"), "a HEIC image"),
    **dict.fromkeys((b"mif1", b"msf1"), "a HEIF image"),
    **dict.fromkeys((b"avif", b"avis"), "an AVIF image"),
    b"crx ": "a camera's raw image",
}
_RIFF = {b"WEBP": "a WebP image", b"AVI ": "an AVI video", b"WAVE": "a sound file"}
_OTHER_PICTURES = ("a WebP image", "a Netpbm image", "an SVG drawing", *_FTYP.values())
PICTURES = frozenset(name for _, name in _PICTURES) | frozenset(_OTHER_PICTURES)  # kinds that can be converted


def describe_file(path: Path) -> str:
    """Describe a file by its content: "an HTML page", "a fer-edge bundle", "a resume file of fer-edge train".

    Nothing is executed or unpickled. The text completes the sentence "PATH is ...". It is "a file of an unknown
    kind" for unknown content and "an unreadable file" for a file that cannot be opened.
    """
    try:
        with path.open("rb") as file:
            return describe_stream(file, path.name)
    except OSError:
        return "an unreadable file"


def describe_stream(file: BinaryIO, name: str = "") -> str:
    """Describe an open file; see `describe_file`.

    Args:
        file: Binary and seekable file; read from its start, its position changes.
        name: File name, for the few kinds that need it besides the content.

    Raises:
        OSError: Error of the operating system.
    """
    file.seek(0)
    head = file.read(HEAD)
    return _describe(file, head, name) if head else "an empty file (0 bytes)"


def _describe(file: BinaryIO, head: bytes, name: str) -> str:
    if head.startswith(b"PK\x03\x04"):
        return _describe_zip(file, name)
    if _is_safetensors(head):
        return _describe_safetensors(file, head)
    for magic, kind in (*_PICTURES, *_MAGIC):
        if head.startswith(magic):
            return kind
    return _describe_container(head) or _describe_markup(head) or _describe_other(head)


def _describe_container(head: bytes) -> str:
    if head[4:8] == b"ftyp":
        return _describe_iso_media(head)
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12], "a RIFF file")
    return "a Netpbm image" if _NETPBM.match(head) else ""


def _describe_iso_media(head: bytes) -> str:
    """Describe an ISO media file by its major brand, and the codec in a HEIF container by the compatible brands."""
    box = head[: min(max(int.from_bytes(head[:4], "big"), 16), 256)]
    brands = {box[start : start + 4] for start in range(16, len(box) - 3, 4)}
    kind = _FTYP.get(head[8:12], "an MP4 or other ISO media file")
    if kind == "a HEIF image" and brands & {b"avif", b"avis"}:
        return "an AVIF image"
    return "a HEIC image" if kind == "a HEIF image" and brands & {b"heic", b"heix"} else kind


def _describe_markup(head: bytes) -> str:
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "an HTML page, such as a failed download leaves behind: fetch the file again"
    if start.startswith(b"<svg") or (start.startswith((b"<?xml", b"<!--", b"<!doctype svg")) and b"<svg" in start):
        return "an SVG drawing"
    return "an XML file" if start.startswith(b"<?xml") else ""


def _describe_other(head: bytes) -> str:
    if (head.startswith(b"\x08") and b"fer-edge" in head) or b"pytorch" in head[:64]:
        return "an ONNX model"
    if not head.strip(b"\0"):
        return "a file of zeros, such as an interrupted copy or a damaged disk leaves behind: copy it again"
    return _describe_text(head)


def _describe_zip(file: BinaryIO, name: str) -> str:
    try:
        with zipfile.ZipFile(file) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError):
        return "a damaged zip archive"
    if "manifest.json" in names and "model.onnx" in names:
        return "a fer-edge bundle"
    if any(member.endswith("/data.pkl") for member in names):
        if name == "last.pt":
            return "a resume file of fer-edge train; the checkpoint is best.safetensors beside it"
        return "a PyTorch file"
    if names and all(member.endswith(".npy") for member in names):
        return "a NumPy archive (.npz)"
    return "a zip archive"


def _is_safetensors(head: bytes) -> bool:
    return len(head) > 9 and head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= 100 << 20


def _describe_safetensors(file: BinaryIO, head: bytes) -> str:
    size = int.from_bytes(head[:8], "little")
    if size > MAX_HEADER:
        return "a safetensors file"
    try:
        file.seek(8)
        metadata = json.loads(file.read(size)).get("__metadata__", {})
    except (OSError, ValueError, RecursionError):
        return "a damaged safetensors file"
    if not isinstance(metadata, dict):
        return "a damaged safetensors file"
    if "fer_edge" in metadata:
        return "a fer-edge checkpoint"
    if "fer_edge_text" in metadata:
        return "a file of text features"
    return "a safetensors file made by another program: fer-edge checkpoint import reads such weights"


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
