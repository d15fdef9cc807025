"""RTSP camera on the loopback address: H.264 in RTP packets over TCP (RFC 2326, RFC 6184)."""

from __future__ import annotations

import re
import socketserver
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import av

from tests.video.clips import Frame

RATE = 25
SDP = "\r\n".join(
    (
        "v=0",
        "o=- 0 0 IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        "m=video 0 RTP/AVP 96",
        "a=rtpmap:96 H264/90000",
        "a=control:0",
        "",
    )
)


def encode(frames: Sequence[Frame]) -> list[list[bytes]]:
    """Return the H.264 units of each frame; every frame is complete in itself."""
    height, width = frames[0].shape[:2]
    encoder: Any = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.framerate = width, height, "yuv420p", RATE
    encoder.options = {"tune": "zerolatency", "g": "1"}
    pictures = [av.VideoFrame.from_ndarray(frame, format="rgb24") for frame in frames]
    packets = [packet for picture in [*pictures, None] for packet in encoder.encode(picture)]
    return [[unit for unit in re.split(b"\0\0\0?\1", bytes(packet)) if unit] for packet in packets]


class RtspCamera:
    """Camera that serves its frames in turns, without end."""

    def __init__(self, frames: Sequence[Frame]) -> None:
        self.units = encode(frames)
        self.plugged = threading.Event()
        self.plugged.set()
        camera = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with suppress(OSError):
                    while (request := self.rfile.readline()) and camera.plugged.is_set():
                        headers = dict(
                            iter(lambda: self.rfile.readline().decode().strip().partition(": ")[::2], ("", ""))
                        )
                        method = request.split()[0].decode()
                        self.wfile.write(camera.answer(method, headers["CSeq"]))
                        if method == "PLAY":
                            camera.play(self.wfile)
                            return

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"rtsp://127.0.0.1:{self._server.server_address[1]}/stream"

    def answer(self, method: str, sequence: str) -> bytes:
        lines = {
            "OPTIONS": "Public: DESCRIBE, SETUP, PLAY, TEARDOWN\r\n\r\n",
            "DESCRIBE": f"Content-Type: application/sdp\r\nContent-Length: {len(SDP)}\r\n\r\n{SDP}",
            "SETUP": "Session: 1\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n\r\n",
        }.get(method, "Session: 1\r\n\r\n")
        return f"RTSP/1.0 200 OK\r\nCSeq: {sequence}\r\n{lines}".encode()

    def play(self, file: Any) -> None:
        sequence = 0
        for index in range(1_000_000):
            units = self.units[index % len(self.units)]
            for unit in units:
                last = unit is units[-1]
                stamp = index * 90_000 // RATE
                packet = struct.pack("!BBHII", 0x80, 96 | last << 7, sequence & 0xFFFF, stamp, 7) + unit
                file.write(b"$\0" + struct.pack("!H", len(packet)) + packet)
                sequence += 1
            if not self.plugged.is_set():
                return
            time.sleep(1 / RATE)

    @contextmanager
    def running(self) -> Iterator[RtspCamera]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield self
        finally:
            self.plugged.clear()
            self._server.shutdown()
            self._server.server_close()
            thread.join()
