"""OSCQuery server with the answers of VRChat, since VRChat itself runs on no machine of the tests."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class VRChat:
    """Avatar with parameters.

    Attributes:
        port: Port of the HTTP server on the loopback address.
        tree: Document of /avatar/parameters; None: there is no avatar.
        requests: Paths that were requested.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.tree: Any = None
        self.requests: list[str] = []


def parameters(*names: str, access: int = 3) -> dict[str, Any]:
    """Return the document of VRChat for parameters, nested at their slashes."""
    root: dict[str, Any] = {"FULL_PATH": "/avatar/parameters", "ACCESS": 0, "CONTENTS": {}}
    for name in names:
        node = root
        for part in name.split("/"):
            path = f"{node['FULL_PATH']}/{part}"
            node = node.setdefault("CONTENTS", {}).setdefault(part, {"FULL_PATH": path, "ACCESS": 0})
        node |= {"ACCESS": access, "TYPE": "f", "VALUE": [0.0]}
    return root


@contextmanager
def running_vrchat() -> Iterator[VRChat]:
    """Start the server."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            vrchat.requests.append(self.path)
            content = vrchat.tree if isinstance(vrchat.tree, bytes) else json.dumps(vrchat.tree).encode()
            is_present = self.path == "/avatar/parameters" and vrchat.tree is not None
            self.send_response(200 if is_present else 404)
            self.end_headers()
            self.wfile.write(content if is_present else b"")

        def log_message(self, format: str, *args: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    vrchat = VRChat(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield vrchat
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
