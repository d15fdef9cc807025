"""Reel of PyAV: frames of cameras, files, streams and pipes."""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from select import select
from typing import Any

import numpy as np

from fer_edge._require import require
from fer_edge._text import one_line
from fer_edge.engines.base import Images
from fer_edge.errors import VideoError
from fer_edge.video.address import Address, describe_cameras
from fer_edge.video.camera import current_device
from fer_edge.video.reel import Capture, Reel

CAMERA_FORMAT = "video4linux2"
# Containers and raw streams that are opened. Playlists and scripts (HLS, DASH, concat and others) are not among them:
# FFmpeg would open the files and URLs that they name.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,flv,ogg,asf,gif,apng,nut,mxf,wtv,ivf,obu,"
    "h264,hevc,mjpeg,mpjpeg,jpeg_pipe,png_pipe,webp_pipe,yuv4mpegpipe,rtsp"
)
WITHOUT_TIMESTAMPS = frozenset(
    ["h264", "hevc", "mjpeg", "mpjpeg", "jpeg_pipe", "png_pipe", "webp_pipe", "obu", "m4v", "mpegvideo"]
)
PROTOCOLS = {
    "file": "file",
    "http": "http,https,tcp,tls",
    "https": "http,https,tcp,tls",
    "rtsp": "rtsp,rtp,udp,tcp",
    "rtsps": "rtsp,rtsps,rtp,udp,tcp,tls",
}
OPEN_SECONDS, READ_SECONDS = 10.0, 5.0  # a live source that delivers nothing for so long is opened again
PROBE_MICROSECONDS = "1000000"  # of a live source, before its first frame; FFmpeg's default is 5 s
PIPE_POLL_SECONDS = 0.1
JPEG_START = b"\xff\xd8\xff"


class ContainerReel(Reel):
    """Frames that PyAV decodes.

    Args:
        address: Camera, file, stream or pipe.
        capture: Settings.
        stop: Event that ends reading from a pipe.
    """

    def __init__(self, address: Address, capture: Capture, stop: threading.Event) -> None:
        self._av = require("av", "video", f"reading {address.title}")
        self._address, self._capture = address, capture
        self._pipe = _Pipe(address, stop) if address.kind == "pipe" else None
        try:
            self._container = self._open()
        except (self._av.FFmpegError, OSError, ValueError) as error:
            self._close_pipe()
            raise VideoError(self._describe(error)) from error
        try:
            self._stream = self._choose_stream()
        except BaseException:
            self.close()
            raise
        # A recording on a web server has a length, a live stream has none.
        recorded = address.kind == "file" or (address.kind == "stream" and bool(self._container.duration))
        self.is_live = not recorded
        self._has_stamps = recorded or self._container.format.name not in WITHOUT_TIMESTAMPS
        rate = self._stream.average_rate or self._stream.guessed_rate
        self.period = float(1 / rate) if rate else self.period
        if recorded:
            seconds = (self._container.duration or 0) / self._av.time_base
            self.length = self._stream.frames or round(seconds / self.period) or None
        self._reformatter = self._av.video.reformatter.VideoReformatter()
        self._frames = self._decode()

    def _open(self) -> Any:
        kind, location, capture = self._address.kind, self._address.location, self._capture
        options = {"max_pixels": str(capture.max_pixels)}
        if kind == "camera":
            if capture.size is not None:
                options["video_size"] = f"{capture.size[0]}x{capture.size[1]}"
            if capture.fps is not None:
                options["framerate"] = f"{capture.fps:g}"
            device = current_device(location, self._address.title)
            return self._av.open(device, format=CAMERA_FORMAT, options=options, timeout=(OPEN_SECONDS, READ_SECONDS))
        options["format_whitelist"] = FORMATS
        if kind == "file":
            # The prefix keeps FFmpeg from reading a protocol in the name of the file.
            options["protocol_whitelist"] = PROTOCOLS["file"]
            return self._av.open(f"file:{Path(location).absolute()}", options=options)
        options["analyzeduration"] = PROBE_MICROSECONDS
        options["fpsprobesize"] = "0"  # the frame rate is not used; measuring it would take a second of video
        if self._pipe is not None:
            options["protocol_whitelist"] = "pipe"  # nothing else may be opened
            is_mjpeg = self._pipe.peek(len(JPEG_START)) == JPEG_START
            if is_mjpeg:  # FFmpeg would read 3.5 MB of large pictures before the first frame
                options["probesize"] = "2048"
            return self._av.open(self._pipe, mode="r", format="mjpeg" if is_mjpeg else None, options=options)
        scheme = location.partition(":")[0].lower()
        options["protocol_whitelist"] = PROTOCOLS[scheme]
        if scheme.startswith("rtsp"):
            options["rtsp_transport"] = "tcp"  # over UDP, lost packets damage frames
        return self._av.open(location, options=options, timeout=(OPEN_SECONDS, READ_SECONDS))

    def _choose_stream(self) -> Any:
        stream = self._container.streams.best("video")
        if stream is None:
            raise VideoError(f"{self._address.title} has no video, or is truncated; expected a file or stream with one")
        self._check_size(stream.width, stream.height)
        if stream.codec_context is None:
            raise VideoError(f"{self._address.title} has a video codec that PyAV cannot decode; convert it to H.264")
        stream.codec_context.options = {"max_pixels": str(self._capture.max_pixels)}
        # Threads that decode whole frames would hold several frames back.
        stream.thread_type = "SLICE" if self._address.kind != "file" else "AUTO"
        return stream

    def _check_size(self, width: int, height: int) -> None:
        if width * height > self._capture.max_pixels:
            raise VideoError(
                f"{self._address.title} has frames of {width} x {height} pixels; expected at most "
                f"{self._capture.max_pixels} pixels: make it smaller, or increase max_pixels"
            )

    def read(self) -> tuple[Images, float | None] | None:
        return next(self._frames, None)

    def _decode(self) -> Iterator[tuple[Images, float | None]]:
        for packet in self._packets():
            try:
                frames = packet.decode()
            except self._av.FFmpegError:
                self.damaged += 1
                continue
            for frame in frames:
                if frame.is_corrupt:
                    self.damaged += 1
                    continue
                self._check_size(frame.width, frame.height)
                yield self._upright_rgb(frame), frame.time if self._has_stamps else None

    def _packets(self) -> Iterator[Any]:
        try:
            yield from self._container.demux(self._stream)
        except self._av.FFmpegError as error:
            if self.is_live and self._pipe is None:
                raise VideoError(self._describe(error)) from error
            self.damaged += 1  # a truncated file or pipe: its frames so far are valid

    def _upright_rgb(self, frame: Any) -> Images:
        pixels: Images = self._reformatter.reformat(frame, format="rgb24").to_ndarray()
        turns = round(frame.rotation / 90) % 4
        return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels

    def _describe(self, error: Exception) -> str:
        """Return what is wrong with the source, without its location, which may contain a password."""
        title, kind = self._address.title, self._address.kind
        reason = getattr(error, "strerror", None) or one_line(str(error)).split(": ")[0]
        if isinstance(error, self._av.ExitError):
            seconds = READ_SECONDS if hasattr(self, "_container") else OPEN_SECONDS
            return f"{title} delivered nothing for {seconds:g} s; check its connection"
        if kind == "camera":
            return f"cannot read {title} at {self._address.location} ({reason}); {self._camera_remedy(error)}"
        if isinstance(error, (self._av.InvalidDataError, self._av.ArgumentError)):
            expected = "a video in a container such as MP4, MKV, WebM, AVI or MPEG-TS, or MJPEG"
            return f"{title} is damaged, truncated or in an unsupported format ({reason}); expected {expected}"
        return f"cannot read {title}: {reason}"

    def _camera_remedy(self, error: Exception) -> str:
        if self._av.format.formats_available.isdisjoint({CAMERA_FORMAT, f"{CAMERA_FORMAT},v4l2"}):
            return "this PyAV has no cameras: give a file, stream or pipe"
        if isinstance(error, PermissionError):
            return "add your user to the group video"
        if getattr(error, "errno", None) == errno.EBUSY:
            return "close the other program that uses it"
        return describe_cameras()

    def close(self) -> None:
        frames = getattr(self, "_frames", None)
        if frames is not None:
            frames.close()
        self._container.close()
        self._close_pipe()

    def _close_pipe(self) -> None:
        if self._pipe is not None:
            self._pipe.close()


class _Pipe:
    """Standard input or a named pipe as a file for PyAV; waiting for data ends when the source is closed."""

    def __init__(self, address: Address, stop: threading.Event) -> None:
        self._stop = stop
        self._owned = address.location != "-"
        if self._owned:
            # Without O_NONBLOCK, opening would wait for the writer of the pipe.
            self._descriptor = os.open(address.location, os.O_RDONLY | os.O_NONBLOCK)
        else:
            self._descriptor = _standard_input()
        self._started = not self._owned  # a writer has opened the pipe
        self._peeked = b""

    def peek(self, size: int) -> bytes:
        """Return the first bytes, which `read` returns again."""
        while len(self._peeked) < size and (data := self._wait_and_read(size - len(self._peeked))):
            self._peeked += data
        return self._peeked

    def read(self, size: int) -> bytes:
        """Return the next bytes, at most `size`; none at the end, or when the source is closed."""
        if self._peeked:
            data, self._peeked = self._peeked[:size], self._peeked[size:]
            return data
        return self._wait_and_read(size)

    def _wait_and_read(self, size: int) -> bytes:
        while not self._stop.is_set():
            if not select([self._descriptor], [], [], PIPE_POLL_SECONDS)[0]:
                continue
            with suppress(BlockingIOError):
                data = os.read(self._descriptor, size)
                if data or self._started:
                    self._started = True
                    return data
                self._stop.wait(PIPE_POLL_SECONDS)
        return b""

    def close(self) -> None:
        """Close a named pipe; standard input stays open."""
        if self._owned:
            os.close(self._descriptor)


def _standard_input() -> int:
    if sys.stdin is None:
        raise VideoError("standard input is closed; expected a video")
    if sys.stdin.isatty():
        raise VideoError("standard input is a terminal; expected a video: fer-edge live - < clip.mkv")
    return sys.stdin.fileno()
