"""Tiny clips, and a camera that serves MJPEG over HTTP on the loopback address."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

Frame = npt.NDArray[np.uint8]
CLOCK = 1000  # units of a second
MATRIX_90 = bytes.fromhex("00000000 00010000 00000000 ffff0000 00000000 00000000 00000000 00000000 40000000")
MATRIX_0 = bytes.fromhex("00010000 00000000 00000000 00000000 00010000 00000000 00000000 00000000 40000000")


def grey_frames(count: int, width: int = 64, height: int = 48) -> list[Frame]:
    """Frames whose brightness counts them, 40, 50, 60, ..., with a red corner at the top left."""
    frames = [np.full((height, width, 3), 40 + 10 * index, np.uint8) for index in range(count)]
    for frame in frames:
        frame[:16, :16] = (255, 0, 0)
    return frames


def number_of(frame: Frame) -> int:
    """Return the number of a frame of `grey_frames`, from its brightness."""
    return round((float(frame[24:, 24:40].mean()) - 40) / 10)


def write_clip(
    path: Path,
    frames: Sequence[Frame],
    times: Iterable[float] | None = None,
    codec: str = "libx264",
    sound: bool = False,
) -> Path:
    """Write frames at their times, by default at 25 Hz."""
    height, width = frames[0].shape[:2]
    times = [index / 25 for index in range(len(frames))] if times is None else times
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=25)
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 25 if codec == "mjpeg" else CLOCK)
        audio: Any = container.add_stream("aac", rate=8000) if sound else None
        for frame, moment in zip(frames, times, strict=True):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts = round(moment / float(stream.time_base))
            picture.time_base = stream.time_base
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
        if audio is not None:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            silence.sample_rate = 8000
            container.mux(audio.encode(silence))
            container.mux(audio.encode())
    return path


def turn(path: Path) -> Path:
    """Mark an MP4 clip as taken with a phone that was turned, in its display matrix."""
    data = path.read_bytes()
    assert data.count(MATRIX_0) >= 1
    at = data.index(MATRIX_0, data.index(b"tkhd"))
    path.write_bytes(data[:at] + MATRIX_90 + data[at + len(MATRIX_0) :])
    return path


def jpeg(frame: Frame) -> bytes:
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "JPEG", quality=90)
    return file.getvalue()


class HttpCamera:
    """Camera that serves MJPEG over HTTP: the frames in turns, without end."""

    def __init__(self, frames: Sequence[Frame], rate: float = 50) -> None:
        self.pictures = [jpeg(frame) for frame in frames]
        self.rate = rate
        self.connections = 0
        self.plugged = threading.Event()
        self.plugged.set()
        self.ended = threading.Event()
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                camera.connections += 1
                if not camera.plugged.is_set():
                    self.send_error(503)
                    return
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                with suppress(OSError):
                    camera.stream(self.wfile)

            def log_message(self, format: str, *values: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/camera"

    def stream(self, file: Any) -> None:
        index = 0
        while self.plugged.is_set() and not self.ended.wait(1 / self.rate):
            picture = self.pictures[index % len(self.pictures)]
            file.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(picture))
            file.write(picture + b"\r\n")
            index += 1

    @contextmanager
    def running(self) -> Iterator[HttpCamera]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield self
        finally:
            self.ended.set()
            self._server.shutdown()
            self._server.server_close()
            thread.join()


def wait_until(condition: Any, seconds: float = 20) -> None:
    """Wait until a function returns something true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        time.sleep(0.005)
