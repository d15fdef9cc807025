"""Image sources: paths, bytes, streams, pipes, sockets and devices."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import pytest

from fer_edge.errors import ImageError
from fer_edge.images import decode, read_image
from tests.images.make import RGB, png

DATA = png(RGB)
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX pipes")


def at_its_end(data: bytes) -> io.BytesIO:
    """Return an in-memory file, positioned at its end."""
    file = io.BytesIO()
    file.write(data)
    return file


class OneWay(io.RawIOBase):
    """Stream like a network's: not seekable, a few bytes per read."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._file.read(min(size, 7))


SOURCES: dict[str, Callable[[], object]] = {
    "bytes": lambda: DATA,
    "bytearray": lambda: bytearray(DATA),
    "memoryview": lambda: memoryview(DATA),
    "BytesIO": lambda: io.BytesIO(DATA),
    "BytesIO at its end": lambda: at_its_end(DATA),
    "stream": lambda: OneWay(DATA),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_bytes_and_streams_equal_files(kind: str) -> None:
    assert np.array_equal(read_image(SOURCES[kind]()), RGB)  # type: ignore[arg-type]


def test_open_file_stays_open(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(DATA)
    with (tmp_path / "a.png").open("rb") as file:
        assert np.array_equal(read_image(file), RGB) and not file.closed
    with pytest.raises(ImageError, match=r"cannot read .*a\.png: .*closed file"):
        read_image(file)
    with tempfile.SpooledTemporaryFile() as upload:  # as in web frameworks
        upload.write(DATA)
        assert np.array_equal(read_image(cast(BinaryIO, upload)), RGB)


@POSIX
def test_pipes_sockets_and_descriptors_are_read(tmp_path: Path) -> None:
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    writer = threading.Thread(target=fifo.write_bytes, args=(DATA,))
    writer.start()
    assert np.array_equal(read_image(fifo), RGB)
    writer.join()
    receiver, sender = socket.socketpair()
    with receiver, sender:
        sender.sendall(DATA)
        sender.shutdown(socket.SHUT_WR)
        assert np.array_equal(read_image(f"/dev/fd/{receiver.fileno()}"), RGB)
    with pytest.raises(ImageError, match="cannot read /dev/fd/99: Bad file descriptor"):
        read_image("/dev/fd/99")
    with pytest.raises(ImageError, match=r"/dev/null is empty \(0 bytes\); expected an image file"):
        read_image("/dev/null")


@POSIX
@pytest.mark.parametrize("name", ["/dev/stdin", "/proc/self/fd/0"])
def test_standard_input_is_read(name: str) -> None:
    code = f"from fer_edge.images import read_image; print(read_image({name!r}).shape)"
    shown = subprocess.run([sys.executable, "-c", code], input=DATA, capture_output=True, check=True)
    assert shown.stdout.decode().strip() == "(24, 32, 3)"


@POSIX
def test_endless_source_is_stopped_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "MAX_FILE_BYTES", 1000)
    with pytest.raises(ImageError, match="/dev/zero has more than 1000 bytes; expected at most 1000"):
        read_image("/dev/zero")


class Later:
    """Stream without data yet, like a non-blocking socket."""

    def read(self, size: int) -> None:
        return None


class Words:
    def read(self, size: int) -> str:
        return "no bytes"


WRONG: dict[str, tuple[object, str]] = {
    "empty bytes": (b"", r"the image data is empty \(0 bytes\); expected an image file"),
    "text stream": (
        io.StringIO("x"),
        "the image is a text stream: open it in binary mode; expected a path, bytes or",
    ),
    "number": (5, "the image is int; expected a path, bytes or a binary file object"),
    "nothing": (None, "the image is NoneType; expected a path, bytes or a binary file object"),
    "frame": (np.zeros((4, 4, 3), np.uint8), "the image is ndarray; expected a path"),
    "non-blocking": (Later(), "the image data has no data yet; expected a blocking stream"),
    "words": (Words(), "the image data gives str; expected bytes: open it in binary mode"),
    "URL": ("https://example.com/a.jpg", "https://example.com/a.jpg is a URL; expected a file: download it"),
    "data URL": ("data:image/png;base64," + "A" * 9000, "the path is a data URL; expected a file: decode it and pass"),
    "base64": ("iVBORw0KGgo" * 900, "cannot read 'iVBORw0KGgo.{40,90}: File name too long"),
    "control characters": ("a\x1b[2Kb.png", r"cannot read a\\x1b\[2Kb\.png: No such file or directory"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_sources_are_refused(name: str) -> None:
    source, message = WRONG[name]
    with pytest.raises(ImageError, match=f"^{message}"):
        read_image(source)  # type: ignore[arg-type]


def test_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="is a folder; expected an image file"):
        read_image(tmp_path)
