"""A static web host on the loopback address, in a sub-path, that records the requests; and a camera from a file."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av

from tests.video.clips import Frame

SUB_PATH = "people/me"  # of the page on the host


@dataclass
class Host:
    """Running host.

    Attributes:
        url: Address of the page.
        requests: Paths that were requested, in order.
    """

    url: str
    requests: list[str] = field(default_factory=list)


@contextmanager
def static_host(root: Path) -> Iterator[Host]:
    """Serve a folder as Python's own web server does: no headers of security, and no list of media types of ours."""
    requests: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *values: object) -> None:
            requests.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(root)))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield Host(f"http://127.0.0.1:{server.server_address[1]}/{SUB_PATH}/", requests)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def write_y4m(path: Path, frames: Sequence[Frame], rate: int) -> Path:
    """Write frames as Chromium's camera from a file reads them: YUV4MPEG2, which it repeats without end."""
    height, width = frames[0].shape[:2]
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{width} H{height} F{rate}:1 Ip A1:1 C420jpeg\n".encode())
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="yuv420p")
            file.write(b"FRAME\n")
            file.write(picture.to_ndarray().tobytes())
    return path


def camera_arguments(path: Path) -> list[str]:
    """Return the arguments of Chromium for a camera that shows a file, and is allowed on every page."""
    return ["--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={path}"]
