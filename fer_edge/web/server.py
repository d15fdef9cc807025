"""Server of the static page on this machine, to try it without a host."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from fer_edge.live.loopback import HEADERS, LoopbackServer
from fer_edge.web.site import INDEX

TYPES = {
    ".css": "text/css",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript",
    ".json": "application/json",
    ".mjs": "text/javascript",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
}
# Threads of WebAssembly need a page that shares nothing with other sites.
ISOLATION = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class SiteServer(LoopbackServer):
    """Server of the files of a page at 127.0.0.1.

    Args:
        files: Content by path inside of the page, see `make_site`.
        port: Port; 0, the default, is a free one.

    Raises:
        ConfigError: Port out of range.
        EngineUnavailableError: The extra `live` is not installed.
    """

    def __init__(self, files: Mapping[str, bytes], port: int = 0) -> None:
        super().__init__(port, "the page")
        self._files = files

    def application(self) -> Any:
        """Return the ASGI application."""
        from starlette.applications import Starlette
        from starlette.routing import Route

        return Starlette(routes=[Route("/{path:path}", self._serve_file)])

    async def _serve_file(self, request: Any) -> Any:
        from starlette.responses import Response

        name = request.path_params["path"] or INDEX
        content = self._files.get(name)
        if content is None:
            return Response("no such file\n", 404, HEADERS, "text/plain")
        kind = TYPES.get(PurePath(name).suffix, "application/octet-stream")
        return Response(content, 200, HEADERS | ISOLATION, kind)
