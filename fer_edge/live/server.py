"""Page of a live session, served on the loopback address: video with boxes, probabilities and timelines."""

from __future__ import annotations

import asyncio
import json
import secrets
import threading
from importlib import resources
from io import BytesIO
from pathlib import PurePath
from typing import Any

import msgspec
from PIL import Image

from fer_edge.engines.base import Images
from fer_edge.errors import ConfigError, shown
from fer_edge.live.output import Output, Update
from fer_edge.live.spans import Timelines
from fer_edge.live.web_server import LoopbackNames, WebServer, wait_until

ADDRESS = "127.0.0.1"
MAX_SIDE = 960  # pixels of a frame on the page
JPEG_QUALITY = 80
MAX_IN_FLIGHT = 2  # messages that a page has not shown yet; a slow one skips frames instead of lagging behind
TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css", ".js": "text/javascript"}
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class PageServer(Output):
    """Web server with one page, at an address that contains a secret token.

    Requests without the token, with another host name or from another site are refused, so that no other page in the
    browser sees the video.

    Args:
        port: Port of the loopback address; 0, the default, is a free one.

    Attributes:
        url: Address of the page; empty before `open`.

    Raises:
        ConfigError: Port out of range.
        EngineUnavailableError: The extra `live` is not installed.
    """

    def __init__(self, port: int = 0) -> None:
        if type(port) is not int or not 0 <= port <= 65535:
            raise ConfigError(f"port is {shown(port)}; expected a whole number from 0 to 65535")
        self._server = WebServer(self._application, "live page")
        self.url = ""
        self._port = port
        self._token = secrets.token_urlsafe(16)
        self._title = ""
        self._timelines = Timelines()
        self._lock = threading.Lock()
        self._latest: tuple[int, Update] | None = None  # number and update
        self._viewers: set[_Viewer] = set()
        self._opened = threading.Event()
        self._message: tuple[int, bytes] = (-1, b"")
        self._encoding = asyncio.Lock()

    def open(self, title: str) -> None:
        """Start the server.

        Args:
            title: Name of the source.

        Raises:
            FerEdgeError: Port that is in use.
        """
        self._title = title
        port = self._server.start(ADDRESS, self._port, "choose another --port, or none")
        self.url = f"http://{ADDRESS}:{port}/{self._token}/"

    def _application(self) -> Any:
        from starlette.applications import Starlette
        from starlette.routing import Route, WebSocketRoute

        routes = [
            Route("/{token}/", self._serve_file),
            Route("/{token}/{name}", self._serve_file),
            WebSocketRoute("/{token}/updates", self._serve_viewer),
        ]
        return LoopbackNames(Starlette(routes=routes), HEADERS)

    def wait_for_viewer(self, timeout: float | None = None) -> bool:
        """Wait until a page has connected, and return whether one has.

        Args:
            timeout: Longest wait in seconds; None: without limit.
        """
        return self._opened.wait(timeout)

    def send(self, update: Update) -> None:
        """Store the newest update, and wake the connections of pages."""
        with self._lock:
            number = 0 if self._latest is None else self._latest[0] + 1
            self._latest = number, update
            self._timelines.add(update)
        if self._viewers:
            self._server.call(self._wake_viewers)

    def close(self) -> None:
        """Send the last update to connected pages, and stop the server; may be called several times."""
        self._server.stop(self._finish)

    async def _finish(self) -> None:
        """Wait until every page has shown the last update, at most a second."""
        self._wake_viewers()
        await wait_until(lambda: not any(viewer.is_behind(self._number()) for viewer in self._viewers))

    def _number(self) -> int:
        with self._lock:
            return -1 if self._latest is None else self._latest[0]

    def _wake_viewers(self) -> None:
        for viewer in self._viewers:
            viewer.changed.set()

    def _is_token(self, text: str) -> bool:
        return secrets.compare_digest(text.encode(), self._token.encode())

    async def _serve_file(self, request: Any) -> Any:
        from starlette.responses import PlainTextResponse, Response

        name = request.path_params.get("name") or "index.html"
        kind = TYPES.get(PurePath(name).suffix)
        if not self._is_token(request.path_params["token"]) or kind is None or "/" in name or name.startswith("."):
            return PlainTextResponse("open the address that fer-edge live printed\n", 404, HEADERS)
        try:
            content = resources.files("fer_edge").joinpath("live", "page", name).read_bytes()
        except OSError:
            return PlainTextResponse("no such file\n", 404, HEADERS)
        return Response(content, media_type=kind, headers=HEADERS)

    async def _serve_viewer(self, websocket: Any) -> None:
        from starlette.websockets import WebSocketDisconnect

        origin = websocket.headers.get("origin", "")
        if not self._is_token(websocket.path_params["token"]) or origin != f"http://{websocket.headers.get('host')}":
            await websocket.close(1008)
            return
        await websocket.accept()
        viewer = _Viewer()
        acknowledging = asyncio.create_task(viewer.read_acknowledgements(websocket))
        self._viewers.add(viewer)
        try:
            with self._lock:
                hello = {"title": self._title, "timelines": self._timelines.to_dict()}
            self._opened.set()
            await websocket.send_text(json.dumps(hello))
            while not viewer.gone:
                await self._send_newest(websocket, viewer)
        except (WebSocketDisconnect, RuntimeError):  # RuntimeError: a message to a page that was just closed
            pass
        finally:
            self._viewers.discard(viewer)
            acknowledging.cancel()

    async def _send_newest(self, websocket: Any, viewer: _Viewer) -> None:
        """Send the newest update if the page is ready for one, and wait for the next change."""
        if viewer.sent < self._number() and viewer.in_flight < MAX_IN_FLIGHT:
            number, message = await self._encode_newest()
            viewer.sent = number
            viewer.in_flight += 1
            await websocket.send_bytes(message)
            return
        await viewer.changed.wait()
        viewer.changed.clear()

    async def _encode_newest(self) -> tuple[int, bytes]:
        """Return number and message of the newest update; it is encoded once for all pages."""
        async with self._encoding:
            with self._lock:
                assert self._latest is not None
                number, update = self._latest
            if self._message[0] != number:
                self._message = number, await asyncio.to_thread(_encode, number, update)
            return self._message


class _Viewer:
    """Connection of one page."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self.sent = -1  # number of the last update that was sent
        self.in_flight = 0  # updates sent and not shown yet
        self.gone = False

    def is_behind(self, number: int) -> bool:
        return self.sent < number or self.in_flight > 0

    async def read_acknowledgements(self, websocket: Any) -> None:
        """Count the messages that the page has shown, until it is closed."""
        try:
            while (await websocket.receive())["type"] == "websocket.receive":
                self.in_flight = max(self.in_flight - 1, 0)
                self.changed.set()
        finally:
            self.gone = True
            self.changed.set()


def _encode(number: int, update: Update) -> bytes:
    """Return the length of the JSON text (4 bytes, big-endian), the text, and the frame as JPEG."""
    text = msgspec.json.encode({"number": number, **update.document})
    picture = b"" if update.frame is None else _jpeg(update.frame.image)
    return len(text).to_bytes(4, "big") + text + picture


def _jpeg(frame: Images) -> bytes:
    image = Image.fromarray(frame)
    if max(image.size) > MAX_SIDE:
        image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.BILINEAR, reducing_gap=1.0)
    file = BytesIO()
    image.save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()
