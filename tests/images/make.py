"""Image files in variants that Pillow cannot write."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from fer_edge.images import decode

# Smooth image from black to white, and its grey version.
_RAMP = np.linspace(0, 255, 24 * 32).reshape(24, 32)
GREY = _RAMP.astype(np.uint8)
RGB = np.stack([_RAMP, _RAMP[:, ::-1], _RAMP[::-1]], axis=2).astype(np.uint8)
GREY_RGB = np.repeat(GREY[:, :, None], 3, axis=2)
CAN_WRITE_AVIF = "AVIF" in decode._formats()
PNG_CHANNELS = {1: 0, 2: 4, 3: 2, 4: 6}  # colour type by channels
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
TIFF_TYPES = {"H": 3, "I": 4, "f": 11}


def encoded(image: Image.Image, format_name: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_name, **options)
    return buffer.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(
    pixels: npt.NDArray[Any], extra: bytes = b"", *, share: float = 1, interlaced: bool = False, depth: int = 0
) -> bytes:
    """Return a PNG file.

    Args:
        pixels: uint8 or uint16 (H, W) or (H, W, channels); of less than 8 bits (H, W), one sample a byte.
        extra: Chunks before the pixels.
        share: Part of the bytes that are stored, from the start.
        interlaced: Whether the pixels are stored in seven passes.
        depth: Bits of a sample; by default those of the type.
    """
    height, width = pixels.shape[:2]
    colour = PNG_CHANNELS[1 if pixels.ndim == 2 else pixels.shape[2]]
    depth = depth or 8 * pixels.itemsize
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    parts = [pixels[top::down, left::across] for left, top, across, down in passes]
    stored = b"".join(b"\0" + _row(row, depth) for part in parts if part.size for row in part)
    compressed = zlib.compress(stored[: int(len(stored) * share)])
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", compressed) + chunk(b"IEND", b"")


def _row(row: npt.NDArray[Any], depth: int) -> bytes:
    if depth >= 8:
        return row.astype(f">u{depth // 8}").tobytes()
    bits = (row[:, None] >> np.arange(depth - 1, -1, -1)) & 1
    return np.packbits(bits.astype(np.uint8)).tobytes()


def tiff(
    pixels: npt.NDArray[Any],
    *,
    photometric: int | None = None,
    order: Literal["<", ">"] = "<",
    separate: bool = False,
    strips: int = 1,
    stored: bytes | None = None,
    tags: dict[int, tuple[str, list[float]]] | None = None,
) -> bytes:
    """Return an uncompressed TIFF file.

    Args:
        pixels: (H, W) or (H, W, channels) of any type.
        photometric: 0: white is 0, 1: black is 0, 2: RGB; by default 1 for one or two channels, else 2.
        order: Byte order, "<" or ">".
        separate: Whether each channel is stored apart.
        strips: Number of strips of whole rows; the height is a multiple of it.
        stored: Bytes of the pixels, instead of those of `pixels`.
        tags: Further tags, and others in place of the usual ones: type letter of struct, and values.
    """
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    planes = np.moveaxis(pixels, 2, 0) if separate else pixels[None]
    typed = np.ascontiguousarray(planes).astype(pixels.dtype.newbyteorder(order))
    data = typed.tobytes() if stored is None else stored
    count = strips * len(planes)
    size = len(data) // count
    entries: dict[int, tuple[str, list[float]]] = {
        256: ("I", [width]),
        257: ("I", [height]),
        258: ("H", [8 * pixels.itemsize] * channels),
        259: ("H", [1]),
        262: ("H", [(1 if channels < 3 else 2) if photometric is None else photometric]),
        273: ("I", [8 + size * index for index in range(count)]),
        277: ("H", [channels]),
        278: ("I", [height // strips]),
        279: ("I", [size] * count),
        284: ("H", [2 if separate else 1]),
        339: ("H", [{"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]] * channels),
        **(tags or {}),
    }
    return _tiff_file(order, data, entries)


def _tiff_file(order: str, data: bytes, entries: dict[int, tuple[str, list[float]]]) -> bytes:
    directory = 8 + len(data)
    outside, at = b"", directory + 2 + 12 * len(entries) + 4
    body = struct.pack(order + "H", len(entries))
    for tag, (letter, values) in sorted(entries.items()):
        packed = struct.pack(f"{order}{len(values)}{letter}", *values)
        if len(packed) > 4:
            packed, outside = struct.pack(order + "I", at + len(outside)), outside + packed
        body += struct.pack(order + "HHI", tag, TIFF_TYPES[letter], len(values)) + packed.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", directory)
    return head + data + body + b"\0\0\0\0" + outside
