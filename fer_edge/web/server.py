"""Server of the static page for this machine, to try it without a host."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from fer_edge.live.server import ADDRESS
from fer_edge.live.web_server import LoopbackNames, WebServer
from fer_edge.web.site import INDEX

TYPES = {
    ".css": "text/css",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript",
    ".json": "application/json",
    ".fer": "application/octet-stream",
    ".onnx": "application/octet-stream",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
}
# For what the policy inside the page does not cover: frames of other sites, and threads, which are workers of a file.
POLICIES = {
    ".html": {"Content-Security-Policy": "frame-ancestors 'none'"},
    ".js": {"Content-Security-Policy": "connect-src 'none'"},
}
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    # Threads of WebAssembly need a page that shares nothing with other sites.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class SiteServer:
    """Server of a page at 127.0.0.1.

    Args:
        files: Content by path inside of the page, see `make_site`.
        port: Port; 0, the default, is a free one.

    Raises:
        EngineUnavailableError: The extra `live` is not installed.
    """

    def __init__(self, files: Mapping[str, bytes], port: int = 0) -> None:
        self._files, self._port = files, port
        self._server = WebServer(self._application, "page")

    def open(self) -> str:
        """Start the server, and return the address of the page.

        Raises:
            FerEdgeError: Port that is in use.
        """
        return f"http://{ADDRESS}:{self._server.start(ADDRESS, self._port, 'choose another --port, or none')}/"

    def close(self) -> None:
        """Stop the server; may be called several times."""
        self._server.stop()

    def _application(self) -> Any:
        from starlette.applications import Starlette
        from starlette.routing import Route

        return LoopbackNames(Starlette(routes=[Route("/{path:path}", self._serve_file)]), HEADERS)

    async def _serve_file(self, request: Any) -> Any:
        from starlette.responses import PlainTextResponse, Response

        name = request.path_params["path"] or INDEX
        content = self._files.get(name)
        if content is None:
            return PlainTextResponse("no such file\n", 404, HEADERS)
        suffix = PurePath(name).suffix
        return Response(content, 200, {**HEADERS, **POLICIES.get(suffix, {})}, TYPES[suffix])
