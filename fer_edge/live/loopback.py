"""Web server for this machine only: a thread on the loopback address, and a check of each request's host name."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from fer_edge._require import require
from fer_edge.errors import ConfigError, EngineError, FerEdgeError, shown

ADDRESS = "127.0.0.1"
HOSTS = {"127.0.0.1", "localhost", "[::1]"}  # names of this machine; others in a request come from a foreign site
START_SECONDS = 10.0
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class LoopbackServer:
    """Server of an ASGI application at 127.0.0.1.

    Args:
        port: Port; 0, the default, is a free one.

    Raises:
        ConfigError: Port out of range.
        EngineUnavailableError: The extra `live` is not installed.
    """

    def __init__(self, port: int = 0) -> None:
        if type(port) is not int or not 0 <= port <= 65535:
            raise ConfigError(f"port is {shown(port)}; expected a whole number from 0 to 65535")
        for module in ("starlette", "websockets"):
            require(module, "live", "the page")
        self._uvicorn = require("uvicorn", "live", "the page")
        self._port = port
        self._server: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def open(self, application: Any) -> str:
        """Start the server, and return its address: "http://127.0.0.1:8000/".

        Args:
            application: ASGI application. Requests with the name of another host do not reach it.

        Raises:
            FerEdgeError: Port that is in use.
        """
        listener = self._bind()
        config = self._uvicorn.Config(
            _LocalOnly(application),
            ws="websockets-sansio",
            ws_per_message_deflate=False,  # JPEG does not become smaller
            ws_max_size=4096,
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        self._server = self._uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, args=(listener,), name="page server", daemon=True)
        self._thread.start()
        deadline = time.monotonic() + START_SECONDS
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise EngineError("the web server of the page did not start")
            time.sleep(0.005)
        return f"http://{ADDRESS}:{listener.getsockname()[1]}/"

    def _bind(self) -> socket.socket:
        try:
            return socket.create_server((ADDRESS, self._port))
        except OSError as error:
            raise FerEdgeError(
                f"cannot listen on port {self._port} of {ADDRESS}: {error.strerror}; choose another --port, or none"
            ) from error

    def _run(self, listener: socket.socket) -> None:
        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            await self._server.serve(sockets=[listener])

        with listener:
            asyncio.run(serve())

    def call_soon(self, function: Callable[[], None]) -> None:
        """Call a function in the thread of the server; do nothing before `open`."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(function)

    def run(self, coroutine: Coroutine[Any, Any, None], seconds: float) -> None:
        """Run a coroutine in the thread of the server, and wait for its end.

        Args:
            coroutine: Coroutine; closed if the server does not run.
            seconds: Longest wait.
        """
        if self._loop is None or self._thread is None or not self._thread.is_alive():
            coroutine.close()
            return
        with suppress(Exception):  # a page that does not answer is left behind
            asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(seconds)

    def close(self) -> None:
        """Stop the server; may be called several times, and without `open`."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join()


class _LocalOnly:
    """Filter of requests whose Host header is not a name of this machine, against DNS rebinding."""

    def __init__(self, application: Any) -> None:
        self._application = application

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
        if host.rpartition(":")[0] in HOSTS or host in HOSTS:
            await self._application(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        from starlette.responses import PlainTextResponse

        await PlainTextResponse("this page is served to this machine only\n", 403, HEADERS)(scope, receive, send)
