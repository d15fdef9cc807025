"""Web application that serves the static page, to try it without a host."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from fer_edge.live.loopback import HEADERS
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
POLICIES = {".html": "frame-ancestors 'none'", ".js": "connect-src 'none'"}
# Threads of WebAssembly need a page that shares nothing with other sites.
ISOLATION = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def site_application(files: Mapping[str, bytes]) -> Any:
    """Return the ASGI application that serves a page.

    Args:
        files: Content by path inside of the page, see `make_site`.
    """
    from starlette.applications import Starlette
    from starlette.responses import Response
    from starlette.routing import Route

    async def serve_file(request: Any) -> Any:
        name = request.path_params["path"] or INDEX
        content = files.get(name)
        if content is None:
            return Response("no such file\n", 404, HEADERS, "text/plain")
        suffix = PurePath(name).suffix
        policy = {"Content-Security-Policy": POLICIES[suffix]} if suffix in POLICIES else {}
        return Response(content, 200, {**HEADERS, **ISOLATION, **policy}, TYPES[suffix])

    return Starlette(routes=[Route("/{path:path}", serve_file)])
