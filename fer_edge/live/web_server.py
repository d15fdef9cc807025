"""Web server in a thread of its own, for the page of a live session and for its stream."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from fer_edge._require import require
from fer_edge.errors import EngineError, FerEdgeError

LOOPBACK_NAMES = {"127.0.0.1", "localhost", "[::1]"}  # others in a request come from a foreign site
START_SECONDS, FINISH_SECONDS = 10.0, 1.0
EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}  # of `accept`, which asyncio repeats each second


class WebServer:
    """Web server of an ASGI application.

    Args:
        make_application: Function that returns the application, once the packages are known to be installed.
        purpose: What the server is for, in messages and as the name of the thread: "live page".
        extra: Extra of fer-edge that installs the packages, "live" by default.
        note: Function that receives a line if connections cannot be accepted, once; None: no line.
        settings: Settings of uvicorn that differ from those of a page.

    Raises:
        EngineUnavailableError: The extra is not installed.
    """

    def __init__(
        self,
        make_application: Callable[[], Any],
        purpose: str,
        extra: str = "live",
        note: Callable[[str], object] | None = None,
        **settings: Any,
    ) -> None:
        for module in ("starlette", "websockets"):
            require(module, extra, f"the {purpose}")
        self._uvicorn = require("uvicorn", extra, f"the {purpose}")
        self._application, self._purpose = make_application(), purpose
        self._note, self._settings = note, settings
        self._server: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def start(self, host: str, port: int, remedy: str, send_buffer: int | None = None) -> int:
        """Start the server, and return its port.

        Args:
            host: Name or address to listen on.
            port: Port; 0 is a free one.
            remedy: Next step if the port is in use.
            send_buffer: Bytes that the system keeps for a slow client; None: its own choice, up to some MB.

        Raises:
            FerEdgeError: Port that is in use, or address of another machine.
        """
        try:
            family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            listener = socket.create_server(address[:2], family=family)
        except OSError as error:
            raise FerEdgeError(f"cannot listen on port {port} of {host}: {error.strerror}; {remedy}") from error
        if send_buffer is not None:  # connections inherit it
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        settings = {
            "ws": "websockets-sansio",
            "ws_per_message_deflate": False,  # JPEG does not become smaller
            "ws_max_size": 4096,
            "lifespan": "off",
            "log_config": None,
            "log_level": "critical",
            "access_log": False,
            "server_header": False,
            "timeout_graceful_shutdown": 1,
        }
        config = self._uvicorn.Config(self._application, **{**settings, **self._settings})
        self._server = self._uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, args=(listener,), name=self._purpose, daemon=True)
        self._thread.start()
        deadline = time.monotonic() + START_SECONDS
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise EngineError(f"the web server of the {self._purpose} did not start")
            time.sleep(0.005)
        return int(listener.getsockname()[1])

    def _run(self, listener: socket.socket) -> None:
        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            self._loop.set_exception_handler(self._handle_error)
            await self._server.serve(sockets=[listener])

        with listener:
            asyncio.run(serve())

    def _handle_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Handle an exception outside of requests; asyncio itself prints a traceback for each of them.

        An error of the operating system ends one connection, for example one whose client has left before `accept`.
        """
        error = context.get("exception")
        if not isinstance(error, OSError):
            if not self._server.should_exit:  # at the end, asyncio may retry `accept` on the closed listener
                loop.default_exception_handler(context)
        elif error.errno in EXHAUSTED and self._note is not None:
            self._note(f"the {self._purpose} cannot accept connections for now: {os.strerror(error.errno)}")
            self._note = None

    @property
    def connections(self) -> list[Any]:
        """Protocols of uvicorn of all connections; only for use in the thread of the server."""
        return [] if self._server is None else [*self._server.server_state.connections]

    def wait(self, seconds: float) -> bool:
        """Wait until the server has ended, at most some seconds, and return whether it has."""
        if self._thread is None:
            return True
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def call(self, function: Callable[[], object]) -> None:
        """Call a function in the thread of the server, without waiting for it."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the server has ended
                self._loop.call_soon_threadsafe(function)

    def stop(self, finish: Callable[[], Coroutine[Any, Any, None]] | None = None) -> None:
        """Stop the server; may be called several times, and without `start`.

        Args:
            finish: Coroutine function that serves the last messages; it may take two seconds. None: there are none.
        """
        if self._server is None or self._thread is None:
            return
        if finish is not None and self._loop is not None and self._thread.is_alive():
            with suppress(Exception):  # a client that does not answer is left behind
                asyncio.run_coroutine_threadsafe(finish(), self._loop).result(2 * FINISH_SECONDS)
        self._server.should_exit = True
        self._thread.join()


class LoopbackNames:
    """Filter of requests whose Host header is not a name of this machine, against DNS rebinding.

    Args:
        application: The ASGI application.
        headers: Headers of the refusal.
    """

    def __init__(self, application: Any, headers: dict[str, str]) -> None:
        self._application, self._headers = application, headers

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
        if host_name(host) in LOOPBACK_NAMES:
            await self._application(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        from starlette.responses import PlainTextResponse

        refusal = PlainTextResponse("this address is served to this machine only\n", 403, self._headers)
        await refusal(scope, receive, send)


def host_name(host: str) -> str:
    """Return the name in a Host header, or in an Origin header after its scheme, without the port."""
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host


async def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, at most a second."""
    deadline = time.monotonic() + FINISH_SECONDS
    while not condition() and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
