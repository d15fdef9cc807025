"""Image sources: paths, bytes and streams, opened as seekable binary files."""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, cast

from fer_edge._files import CHUNK
from fer_edge._text import printable
from fer_edge.errors import ImageError, shown

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO
MAX_PATH = 4096  # characters; a longer text is not a path and is truncated in messages
_DESCRIPTOR = re.compile(r"/dev/(?:stdin|fd/(\d+))|/proc/self/fd/(\d+)")
_URL = re.compile(r"(?:https?|ftp|s3|gs|file|data):", re.IGNORECASE)


def source_name(source: object) -> str:
    """Return the name of a source for messages: its path, the name of its stream, or "the image data"."""
    if isinstance(source, (str, os.PathLike)):
        name = os.fspath(source)
    else:
        name = getattr(source, "name", "")
        name = "standard input" if name == "<stdin>" else name
    if not isinstance(name, str) or not name:
        return "''" if isinstance(source, (str, os.PathLike)) else "the image data"
    return printable(name) if len(name) <= MAX_PATH else shown(name)


@contextmanager
def open_source(source: object, name: str, max_bytes: int) -> Iterator[BinaryIO]:
    """Open a source as a seekable binary file.

    A regular file is opened directly. Pipes, sockets, devices and streams are first read into memory, seekable streams
    from their start.

    Args:
        source: Path, bytes-like object or binary file object.
        name: Name of the source in messages.
        max_bytes: Largest size.

    Raises:
        ImageError: Source that is missing, unreadable, empty, larger than `max_bytes` or of another type.
    """
    if isinstance(source, (str, os.PathLike)):
        file = _open_path(source, name)
        try:
            size = _regular_size(file)
            if size > max_bytes:
                raise ImageError(_too_large(name, f"{size}", max_bytes))
            with file if size else _read_whole(file, name, max_bytes) as data:
                yield data
        finally:
            file.close()
        return
    if isinstance(source, (bytes, bytearray, memoryview)):
        source = BytesIO(source)
    elif isinstance(source, io.TextIOBase) or not callable(getattr(source, "read", None)):
        kind = "a text stream: open it in binary mode" if isinstance(source, io.TextIOBase) else type(source).__name__
        raise ImageError(f"the image is {kind}; expected a path, bytes or a binary file object")
    with _read_whole(cast(BinaryIO, source), name, max_bytes) as data:
        yield data


def _open_path(path: str | os.PathLike[str], name: str) -> BinaryIO:
    try:
        return _open_or_duplicate(os.fspath(path))
    except IsADirectoryError as error:
        raise ImageError(f"{name} is a folder; expected an image file") from error
    except OSError as error:
        if _URL.match(os.fspath(path)):
            raise ImageError(
                f"{name} is a URL; expected a file: download it, or pass its bytes"
                if len(os.fspath(path)) < MAX_PATH
                else "the path is a data URL; expected a file: decode it and pass its bytes"
            ) from error
        raise ImageError(f"cannot read {name}: {error.strerror or error}") from error
    except ValueError as error:  # for example an embedded null byte
        raise ImageError(f"cannot read {shown(str(path))}: {error}") from error


def _open_or_duplicate(path: str) -> BinaryIO:
    """Open a path, or duplicate a descriptor that cannot be opened by name: a socket or another user's pipe."""
    try:
        return Path(path).open("rb")
    except OSError:
        descriptor = _DESCRIPTOR.fullmatch(path)
        if descriptor is None:
            raise
        return os.fdopen(os.dup(int(descriptor[1] or descriptor[2] or 0)), "rb")


def _regular_size(file: BinaryIO) -> int:
    """Return the size of a regular file in bytes; 0 for other files and for kernel files of unknown size."""
    status = os.fstat(file.fileno())
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def _read_whole(stream: BinaryIO, name: str, max_bytes: int) -> BytesIO:
    data, size = BytesIO(), 0
    try:
        if getattr(stream, "seekable", bool)():
            stream.seek(0)
        while chunk := _next_chunk(stream, name):
            size += data.write(chunk)
            if size > max_bytes:
                raise ImageError(_too_large(name, f"more than {max_bytes}", max_bytes))
    except (OSError, ValueError) as error:  # ValueError: a closed stream
        raise ImageError(f"cannot read {name}: {getattr(error, 'strerror', None) or error}") from error
    if not size:
        raise ImageError(f"{name} is empty (0 bytes); expected an image file")
    return data


def _next_chunk(stream: BinaryIO, name: str) -> bytes:
    chunk: object = stream.read(CHUNK)
    if chunk is None:
        raise ImageError(f"{name} has no data yet; expected a blocking stream")
    if not isinstance(chunk, (bytes, bytearray, memoryview)):
        raise ImageError(f"{name} gives {type(chunk).__name__}; expected bytes: open it in binary mode")
    return bytes(chunk)


def _too_large(name: str, size: str, max_bytes: int) -> str:
    return f"{name} has {size} bytes; expected at most {max_bytes}: a larger max_pixels increases this limit"
