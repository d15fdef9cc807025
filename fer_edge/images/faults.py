"""Causes of failed decoding: unsupported format or variant, truncated file, insufficient memory."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import BinaryIO

import numpy as np
from PIL import Image, TiffImagePlugin

from fer_edge._text import one_line
from fer_edge.file_kind import PICTURES, describe_stream

EXPECTED = "expected JPEG, PNG, WebP, TIFF, BMP, GIF or AVIF"
KINDS = {
    "a JPEG image": "JPEG",
    "a PNG image": "PNG",
    "a WebP image": "WEBP",
    "a TIFF image": "TIFF",
    "a BMP image": "BMP",
    "a GIF image": "GIF",
    "an AVIF image": "AVIF",
}
SAMPLE_FORMATS = {1: "uint", 2: "int", 3: "float", 5: "complex int", 6: "complex"}
# Peak memory in bytes per pixel: buffers of the decoder, Pillow's image and the result.
PEAK_BYTES = {"WEBP": 16, "AVIF": 10}
_UNSUPPORTED = re.compile(
    "unsupported|not (yet )?supported|cannot handle|unknown (pixel mode|data org|raw mode)|string index", re.IGNORECASE
)
_TRUNCATED = re.compile("truncated|cannot load this image|index out of range|unpack requires", re.I)
_MEMORY = re.compile("memory", re.I)


def describe_unidentified(file: BinaryIO, name: str, formats: Sequence[str]) -> str:
    """Return the message for a file that no reader recognises.

    Args:
        file: Binary and seekable file.
        name: Name of the file in the message.
        formats: Pillow's names of the supported formats.
    """
    kind = describe_stream(file, name.rpartition("/")[2])
    if kind not in KINDS:
        if kind in PICTURES:
            return f"{name} is {kind}; {EXPECTED}: convert it"
        expected = "videos are read by fer-edge analyse" if "video" in kind or "MP4" in kind else EXPECTED
        return f"{name} is not an image but {kind}" + ("" if ": " in kind else f"; {expected}")
    format_name = KINDS[kind]
    if format_name not in formats:
        return f"{name} is {kind}, for which this Pillow has no decoder; update Pillow, or convert it to PNG"
    return describe_decoding_failure(file, name, format_name, _reader_message(file, format_name))


def describe_decoding_failure(file: BinaryIO, name: str, format_name: str, text: str) -> str:
    """Return the message for a file of a supported format that cannot be decoded.

    Args:
        file: Binary and seekable file.
        name: Name of the file in the message.
        format_name: Pillow's name of the format.
        text: Pillow's message.
    """
    variant = _tiff_variant(file, text) if format_name == "TIFF" else ""
    if variant:
        return f"{name} is a TIFF image of {variant}, which is not supported; convert it to 8-bit PNG"
    if _UNSUPPORTED.search(text):
        kind = f"a {format_name} image" if format_name else "an image"
        return f"{name} is {kind} of a variant that is not supported: {text}; convert it to 8-bit PNG"
    if _TRUNCATED.search(text) or is_truncated(file, format_name):
        return f"{name} is truncated, its end is missing; copy or download it again"
    return f"{name} is damaged or cannot be decoded: {text}"


def detect_format(file: BinaryIO) -> str:
    """Return Pillow's name of a file's format, by its content; empty for unsupported formats."""
    return KINDS.get(describe_stream(file), "")


def is_truncated(file: BinaryIO, format_name: str) -> bool:
    """Return whether a file is shorter than the length or offset in its header."""
    size = file.seek(0, 2)
    if format_name == "AVIF":
        return _end_of_boxes(file, size) > size
    file.seek(0)
    head = file.read(16)
    if format_name == "WEBP":
        return int.from_bytes(head[4:8], "little") + 8 > size
    if format_name == "TIFF" and head[2:4] in (b"*\0", b"\0*"):
        return int.from_bytes(head[4:8], "little" if head[:2] == b"II" else "big") + 2 > size
    return False


def _end_of_boxes(file: BinaryIO, size: int) -> int:
    """Return the end position of the last box of an ISO media file, by its length field."""
    position = 0
    while position + 8 <= size:
        file.seek(position)
        length = int.from_bytes(file.read(4), "big")
        if length < 8:  # 0: up to the end of the file; 1: a 64-bit length follows
            return size
        position += length
    return position


def peak_memory(width: int, height: int, format_name: str | None) -> int:
    """Return the peak memory of decoding an image, in bytes."""
    return width * height * PEAK_BYTES.get(format_name or "", 8)


def is_out_of_memory(error: BaseException, needed: int) -> bool:
    """Return whether a decoder failed because of insufficient memory, which several report only as a failure.

    Args:
        error: Exception of the decoder.
        needed: Peak memory of the image in bytes.
    """
    if isinstance(error, MemoryError) or _MEMORY.search(str(error)):
        return True
    try:
        np.empty(needed, np.uint8)
    except MemoryError:
        return True
    return False


def webp_size(file: BinaryIO) -> tuple[int, int]:
    """Read width and height of a WebP file, whose reader allocates memory for all pixels before it returns them."""
    file.seek(0)
    head = file.read(30).ljust(30, b"\0")
    if head[12:16] == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if head[12:16] == b"VP8 ":
        return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
    return 0, 0


def _reader_message(file: BinaryIO, format_name: str) -> str:
    """Return the message of the format's reader, which `Image.open` suppresses."""
    file.seek(0)
    try:
        Image.OPEN[format_name][0](file, "")
    except Exception as error:  # any exception, for damaged files
        return one_line(str(error))
    return "its header is damaged"


def _tiff_variant(file: BinaryIO, text: str) -> str:
    """Describe the unsupported pixels or compression of a TIFF file; empty if they are not the cause.

    Args:
        file: Binary and seekable file.
        text: Pillow's message.
    """
    try:
        file.seek(0)
        tags = TiffImagePlugin.ImageFileDirectory_v2(file.read(8))
        file.seek(tags.next)
        tags.load(file)
        compression = tags.get(TiffImagePlugin.COMPRESSION, 1)
        bits = max(tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,)))
        sample_format = SAMPLE_FORMATS.get(tags.get(TiffImagePlugin.SAMPLEFORMAT, (1,))[0], "unknown ")
        channels = tags.get(TiffImagePlugin.SAMPLESPERPIXEL, 1)
    except Exception:  # any exception, for a damaged directory
        return ""
    if compression not in TiffImagePlugin.COMPRESSION_INFO:
        return f"compression {compression}"
    if not _UNSUPPORTED.search(text):
        return ""
    layout = " in separate planes" if tags.get(TiffImagePlugin.PLANAR_CONFIGURATION) == 2 else ""
    layout += " with 0 as white" if tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0 else ""
    usual = (sample_format, bits) == ("uint", 8) and channels in (1, 3, 4) and not layout
    return "" if usual else f"{channels} channel{'s'[: channels != 1]} of {sample_format}{bits}{layout}"
