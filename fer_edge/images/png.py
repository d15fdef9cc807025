"""PNG chunks: properties of the pixels that Pillow does not expose."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import BinaryIO

BLOCK = 1 << 18  # bytes inflated at once
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
# First column, first row, column step and row step of the passes of an interlaced image.
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def bit_depth(file: BinaryIO) -> int:
    """Read the bits per stored sample: 1, 2, 4, 8 or 16."""
    return _header(file)[8]


def significant_bits(file: BinaryIO) -> int | None:
    """Read the bits per original sample from the sBIT chunk; None without the chunk."""
    for name, length in _chunks(file):
        if name == b"sBIT" and length:
            return max(file.read(length))
        if name == b"IDAT":
            break
    return None


def has_all_rows(file: BinaryIO) -> bool:
    """Return whether the compressed data of an undamaged file contain all rows.

    Pillow accepts a stream that ends early and leaves the remaining rows black.
    """
    expected = _expected_bytes(_header(file))
    inflate, count = zlib.decompressobj(), 0
    for name, length in _chunks(file):
        if name != b"IDAT":
            continue
        data = file.read(length)
        while data and count < expected and not inflate.eof:
            count += len(inflate.decompress(data, BLOCK))
            data = inflate.unconsumed_tail
        if count >= expected or inflate.eof:
            break
    return count + len(inflate.flush()) >= expected


def _header(file: BinaryIO) -> bytes:
    """Read the 13 bytes of the IHDR chunk."""
    file.seek(16)
    return file.read(13)


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yield name and length of each chunk, with the file positioned at its data."""
    position = 8
    while True:
        file.seek(position)
        head = file.read(8)
        if len(head) < 8:
            return
        length = int.from_bytes(head[:4], "big")
        yield head[4:], length
        position += 12 + length


def _expected_bytes(header: bytes) -> int:
    """Return the uncompressed bytes of all rows; each row begins with a filter byte."""
    width, height = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big")
    bits = header[8] * CHANNELS[header[9]]
    passes = ADAM7 if header[12] else ((0, 0, 1, 1),)
    total = 0
    for left, top, across, down in passes:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + -(-columns * bits // 8))
    return total
