"""Address of a video source: the camera, file, stream, folder or pipe that a text names."""

from __future__ import annotations

import os
import re
import stat
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

from fer_edge._files import as_path
from fer_edge._text import did_you_mean, printable
from fer_edge.errors import ConfigError, VideoError, shown
from fer_edge.video.camera import camera_by_index, camera_by_name, list_cameras

Kind = Literal["camera", "file", "stream", "folder", "pipe"]
STREAM_SCHEMES = ("rtsp", "rtsps", "http", "https")
STDIN = "/dev/stdin"
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://")


@dataclass(frozen=True)
class Address:
    """Place of a video source."""

    kind: Kind
    location: str  # device, path or URL; "-" for standard input
    title: str  # name for messages and pages, without the password of a URL


def parse_address(source: str | int | os.PathLike[str]) -> Address:
    """Return the address that a source names.

    Args:
        source: Index of a camera (0, "0"), its device (/dev/video0) or a part of its name; path of a file, folder or
            named pipe; URL of an RTSP or HTTP stream; "-" for standard input.

    Raises:
        ConfigError: Index below 0, empty text, or URL of another protocol.
        VideoError: Camera, file or folder that does not exist.
    """
    if isinstance(source, int) and not isinstance(source, bool):
        return _camera(camera_by_index(source))
    text = str(as_path(source, "the source", ConfigError)) if isinstance(source, os.PathLike) else source
    if not isinstance(text, str) or not text.strip() or "\0" in text:
        raise ConfigError(f"the source is {shown(source)}; expected a camera, path or URL, or - for standard input")
    if text == "-":
        return _standard_input()
    if url := _URL.match(text):
        return _stream(text, url["scheme"].lower())
    if text.isdecimal():
        return _camera(camera_by_index(int(text)))
    return _path(text)


def _standard_input() -> Address:
    """Return the address of standard input: a file if it was redirected from one, so that all of its frames count."""
    with suppress(AttributeError, OSError, ValueError):  # closed, or replaced by an object without descriptor
        if stat.S_ISREG(os.fstat(sys.stdin.fileno()).st_mode) and Path(STDIN).exists():
            return Address("file", STDIN, "standard input")
    return Address("pipe", "-", "standard input")


def _camera(device: tuple[Path, str]) -> Address:
    path, name = device
    return Address("camera", str(path), printable(name))


def _stream(url: str, scheme: str) -> Address:
    if scheme not in STREAM_SCHEMES:
        raise ConfigError(
            f"the source has the protocol {scheme}; expected one of: {', '.join(STREAM_SCHEMES)}"
            f"{did_you_mean(scheme, STREAM_SCHEMES)}"
        )
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError as error:
        raise ConfigError(f"the source is not a URL ({error}); expected rtsp://HOST/PATH or http://HOST/PATH") from None
    if not host:
        raise ConfigError(f"the source {scheme}:// has no host; expected {scheme}://HOST/PATH")
    # User, password and query, which may contain a key, are not shown.
    title = urlunsplit((scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    return Address("stream", url, printable(title))


def _path(text: str) -> Address:
    path = Path(text).expanduser()
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        camera = camera_by_name(text)
        if camera is not None:
            return _camera(camera)
        raise VideoError(_missing(text, error)) from error
    title = printable(path.name or text)
    if stat.S_ISDIR(mode):
        return Address("folder", str(path), title)
    if stat.S_ISCHR(mode):
        return Address("camera", str(path), title)
    return Address("pipe" if stat.S_ISFIFO(mode) else "file", str(path), title)


def _missing(text: str, error: OSError | ValueError) -> str:
    if text.startswith("/dev/video"):
        return f"no camera at {printable(text)}; {describe_cameras()}"
    if isinstance(error, FileNotFoundError) and "/" not in text and "." not in text:
        return f"no file, folder or camera is named {shown(text)}; {describe_cameras()}"
    return f"cannot read {printable(text)}: {getattr(error, 'strerror', None) or error}"


def describe_cameras() -> str:
    """Return the cameras of this machine for a message: `cameras: 0 (Integrated Webcam)`."""
    cameras = list_cameras()
    if not cameras:
        return "this machine has no camera (v4l2): connect one, or give a file or URL"
    return "cameras: " + ", ".join(f"{index} ({printable(name)})" for index, name in cameras.items())
