"""Stream of documents for other programs: a WebSocket, server-sent events, and the newest document over HTTP."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

from msgspec import Meta

from fer_edge.errors import ConfigError, shown
from fer_edge.live.access import HEADERS, Access
from fer_edge.live.output import Output, Update
from fer_edge.live.outputs import OUTPUTS, Note
from fer_edge.live.outputs.address import Address, convert_options, parse_address
from fer_edge.live.web_server import WebServer, wait_until

SEND_BUFFER = 16_384  # bytes; documents that wait in it for a slow client are old ones
KEEP_ALIVE_SECONDS = 15.0  # between comments in server-sent events without an update, which show that the server runs


Rate = Annotated[float, Meta(ge=0, le=1000)]


@dataclass(frozen=True)
class StreamOptions:
    """Options of the stream.

    Attributes:
        token: Secret that clients send, at least 8 characters; empty: none on the loopback address, and a new one each
            time on others.
        rate: Largest number of documents per second for one client; 0, the default: one per frame.
    """

    token: str = ""
    rate: Rate = 0.0


def make_stream(target: str, labels: Sequence[str], note: Note) -> Output:
    """Make the stream.

    Args:
        target: URL: "ws://127.0.0.1:8765?token=SECRET&rate=10".
        labels: Labels of the model.
        note: Function that writes one sentence.

    Raises:
        ConfigError: Wrong URL or option.
        EngineUnavailableError: The extra `live` is not installed.
    """
    form = OUTPUTS["ws"].form
    address = parse_address(target, form)
    if address.port is None:
        raise ConfigError(f"the target {shown(target)} has no port; expected {form}")
    return StreamServer(address, convert_options(address.options, StreamOptions, address.name), note)


class StreamServer(Output):
    """Server of documents: WebSockets at / and clients of /events get each new one, requests of / the newest one.

    A client that is slower than the frames misses documents. `Access` is the rule for who may read them.

    Args:
        address: Address to listen on.
        options: Options.
        note: Function that writes one sentence.
    """

    def __init__(self, address: Address, options: StreamOptions, note: Note) -> None:
        self._access = Access(address.host, options.token)
        self._period = 1 / options.rate if options.rate else 0.0
        self._address, self._note = address, note
        self._lock = threading.Lock()
        self._number = 0  # of the latest update, from 1
        self._latest: Update | None = None
        self._clients: set[_Client] = set()
        self._closing = asyncio.Event()
        self._server = WebServer(self._application, f"stream {address.name}", note=note)

    def open(self, title: str) -> None:
        """Start the server.

        Args:
            title: Name of the source.

        Raises:
            FerEdgeError: Port that is in use, or address of another machine.
        """
        assert self._address.port is not None
        self._server.start(self._address.host, self._address.port, "choose another one", SEND_BUFFER)
        if self._access.is_new_token:
            self._note(f"{self._address.name} needs this token: {self._address.name}?token={self._access.token}")

    def send(self, update: Update) -> None:
        with self._lock:
            self._number, self._latest = self._number + 1, update
        if self._clients:
            self._server.call(self._wake_clients)

    def close(self) -> None:
        """Send the last document, and stop the server; may be called several times."""
        self._server.stop(self._finish)

    async def _finish(self) -> None:
        """End all connections after the last document, at most a second."""
        self._closing.set()
        self._wake_clients()
        await wait_until(lambda: not self._clients)

    def _wake_clients(self) -> None:
        for client in self._clients:
            client.changed.set()

    def _application(self) -> Any:
        from starlette.applications import Starlette
        from starlette.routing import Route, WebSocketRoute

        application = Starlette(
            routes=[
                WebSocketRoute("/", self._serve_socket),
                Route("/", self._serve_newest),
                Route("/events", self._serve_events),
            ]
        )
        return self._access.guard(application)

    async def _serve_socket(self, websocket: Any) -> None:
        from starlette.websockets import WebSocketDisconnect

        if not self._access.is_allowed(websocket):
            await websocket.close(1008)
            return
        await websocket.accept()
        with self._client() as client:
            reading = asyncio.create_task(client.watch(websocket))
            try:
                async for document in self._documents(client):
                    await websocket.send_text(document.decode())
                if not client.is_gone:
                    await websocket.close(1000)
            except (WebSocketDisconnect, RuntimeError):  # RuntimeError: a message to a client that has just left
                pass
            finally:
                reading.cancel()

    async def _serve_newest(self, request: Any) -> Any:
        from starlette.responses import Response

        if not self._access.is_allowed(request):
            return self._refusal()
        update = self._latest
        headers = self._access.headers(request)
        if update is None:
            return Response(status_code=204, headers=headers)
        return Response(update.json, media_type="application/json", headers=headers)

    async def _serve_events(self, request: Any) -> Any:
        from starlette.responses import StreamingResponse

        if not self._access.is_allowed(request):
            return self._refusal()

        async def events() -> AsyncIterator[bytes]:
            with self._client() as client:
                async for document in self._documents(client, KEEP_ALIVE_SECONDS):
                    yield b"data: " + document + b"\n\n" if document else b": waiting\n\n"

        return StreamingResponse(events(), media_type="text/event-stream", headers=self._access.headers(request))

    def _refusal(self) -> Any:
        from starlette.responses import PlainTextResponse

        return PlainTextResponse(f"{self._access.refusal}\n", 403, HEADERS)

    @contextmanager
    def _client(self) -> Iterator[_Client]:
        client = _Client()
        self._clients.add(client)
        try:
            yield client
        finally:
            self._clients.discard(client)

    async def _documents(self, client: _Client, seconds: float | None = None) -> AsyncIterator[bytes]:
        """Yield the newest document each time that it changes.

        Args:
            client: The client.
            seconds: Time without a change after which empty bytes are yielded; None: never.
        """
        while not client.is_gone:
            with self._lock:
                number, update = self._number, self._latest
            if update is not None and number > client.sent:
                client.sent = number
                yield update.json
                if self._period:
                    await _wait(self._closing, self._period)
            elif self._closing.is_set():
                return
            else:
                client.changed.clear()
                if not await _wait(client.changed, seconds):
                    yield b""


class _Client:
    """Connection of one client."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self.sent = 0  # number of the last document that was sent
        self.is_gone = False

    async def watch(self, websocket: Any) -> None:
        """Ignore what the client sends, until it has left."""
        try:
            while (await websocket.receive())["type"] == "websocket.receive":
                pass
        finally:
            self.is_gone = True
            self.changed.set()


async def _wait(event: asyncio.Event, seconds: float | None) -> bool:
    """Wait for an event, and return whether it is set."""
    try:
        return await asyncio.wait_for(event.wait(), seconds)
    except asyncio.TimeoutError:  # TimeoutError from Python 3.11 on
        return False
