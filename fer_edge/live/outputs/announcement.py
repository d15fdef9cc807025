"""Announcement by OSCQuery, which makes VRChat report changes of the avatar to a port of this machine."""

from __future__ import annotations

import json
import secrets
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer
from typing import Any

from fer_edge._require import require
from fer_edge._text import one_line
from fer_edge.live.outputs import Note
from fer_edge.live.outputs.oscquery import SERVICE, Discovery, interfaces

LOOPBACK = "127.0.0.1"  # neither HTTP nor OSC is reachable from another machine
OSC_SERVICE = "_osc._udp.local."
CHANGE = "/avatar/change"
WRITE_ONLY = 2  # ACCESS of a node that receives messages
REQUEST_SECONDS = 2.0  # for one request, since the server has one thread
POLL_SECONDS = 0.1  # between looks for the end of the server
CLOSE_SECONDS = 5.0  # longest wait for the thread; services are withdrawn within a second


class Announcement:
    """Announcement of a program that receives `/avatar/change`, by multicast DNS and an HTTP server.

    VRChat reads from the HTTP server to which port it sends. Requests are answered from four documents in memory.

    Args:
        discovery: Interfaces on which the services are announced: "loopback" or "network", all of them. Both have the
            loopback address.
        note: Function that writes one sentence if an announcement is not possible.

    Attributes:
        name: Name of the services, a new one each time.

    Raises:
        EngineUnavailableError: The extra `osc` is not installed.
    """

    def __init__(self, discovery: Discovery, note: Note) -> None:
        self._zeroconf: Any = require("zeroconf", "osc", "discover")
        self._discovery, self._note = discovery, note
        self.name = f"fer-edge-{secrets.token_hex(3).upper()}"
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def open(self, port: int) -> None:
        """Start the announcement.

        Args:
            port: UDP port of the loopback address that receives OSC.
        """
        self._thread = threading.Thread(target=self._run, args=(port,), name="OSCQuery announcement", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Withdraw the services, and stop the server; may be called several times."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join(CLOSE_SECONDS)

    def report(self, error: Exception) -> None:
        """Write a note that there is no announcement.

        Args:
            error: Reason.
        """
        reason = getattr(error, "strerror", None) or one_line(str(error))
        self._note(
            f"VRChat: fer-edge cannot be announced, and changes of the avatar may not be reported: {reason}; all "
            "values are sent every second anyway"
        )

    def _run(self, port: int) -> None:
        try:
            with _serve(_documents(self.name, port)) as http_port, self._open_network() as network:
                for service, number in ((SERVICE, http_port), (OSC_SERVICE, port)):
                    self._register(network, service, number)
                self._closed.wait()
        except (OSError, RuntimeError, self._zeroconf.Error) as error:  # RuntimeError: there is no interface
            self.report(error)

    def _open_network(self) -> Any:
        """Open the responder of multicast DNS."""
        network = self._zeroconf.Zeroconf(interfaces(self._discovery), ip_version=self._zeroconf.IPVersion.V4Only)
        if self._discovery == "loopback" and hasattr(socket, "SO_BINDTODEVICE"):  # Linux
            # One of its sockets has the wildcard address, and would receive queries of the network too.
            with suppress(OSError):  # kernels before 5.7 require privileges
                for reader in network.engine.readers:
                    reader.transport.get_extra_info("socket").setsockopt(
                        socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo"
                    )
        return network

    def _register(self, network: Any, service: str, port: int) -> None:
        info = self._zeroconf.ServiceInfo(
            service,
            f"{self.name}.{service}",
            port=port,
            parsed_addresses=[LOOPBACK],
            properties={"txtvers": "1"},
            server=f"{self.name}.local.",  # not the name of the machine, which has other addresses
        )
        network.register_service(info, cooperating_responders=True)  # a random name needs no search for conflicts


def _documents(name: str, port: int) -> dict[str, bytes]:
    """Return the documents of OSCQuery by the target of a request."""
    change = {
        "FULL_PATH": CHANGE,
        "ACCESS": WRITE_ONLY,
        "TYPE": "s",
        "DESCRIPTION": "identifier of the new avatar; fer-edge sends all values again",
    }
    avatar = {"FULL_PATH": "/avatar", "ACCESS": 0, "CONTENTS": {"change": change}}
    host = {
        "NAME": name,
        "OSC_IP": LOOPBACK,
        "OSC_PORT": port,
        "OSC_TRANSPORT": "UDP",
        "EXTENSIONS": {"ACCESS": True, "DESCRIPTION": True, "TYPE": True, "VALUE": False},
    }
    documents = {
        "?HOST_INFO": host,
        "/": {"FULL_PATH": "/", "ACCESS": 0, "CONTENTS": {"avatar": avatar}},
        "/avatar": avatar,
        CHANGE: change,
    }
    return {target: json.dumps(document).encode() for target, document in documents.items()}


@contextmanager
def _serve(documents: Mapping[str, bytes]) -> Iterator[int]:
    """Serve documents on the loopback address, one request at a time, and yield the port."""

    class Handler(_Handler):
        contents = documents

    with TCPServer((LOOPBACK, 0), Handler) as server:  # HTTPServer would look up the name of the address
        thread = threading.Thread(
            target=server.serve_forever, args=(POLL_SECONDS,), name="OSCQuery server", daemon=True
        )
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    """Handler of one request."""

    contents: Mapping[str, bytes]
    timeout = REQUEST_SECONDS
    server_version, sys_version = "fer-edge", ""

    def handle(self) -> None:
        # The timeout is for one read: without the timer, a client that sends single bytes would hold the thread.
        timer = threading.Timer(REQUEST_SECONDS, self._disconnect)
        timer.daemon = True
        timer.start()
        try:
            with suppress(OSError):  # the client has left
                super().handle()
        finally:
            timer.cancel()

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        document = self.contents.get("?HOST_INFO" if query == "HOST_INFO" else path)
        if document is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(document)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(document)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""

    def _disconnect(self) -> None:
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
