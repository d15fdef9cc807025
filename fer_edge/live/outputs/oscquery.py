"""Parameters of the present avatar, from VRChat's OSCQuery server."""

from __future__ import annotations

import ipaddress
import json
import queue
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from http.client import HTTPException
from typing import Any, Literal
from urllib import request

from fer_edge._require import require
from fer_edge.labels import join_names
from fer_edge.live.outputs import Note

Discovery = Literal["off", "loopback", "network"]
SERVICE = "_oscjson._tcp.local."
VRCHAT = "VRChat-Client"  # start of the name of its service
PREFIX = "/avatar/parameters/"
REFRESH_SECONDS = 5.0  # between two readings of the list
SEARCH_SECONDS = 1.5  # for answers to a query; VRChat answers within 0.2 s
HTTP_SECONDS = 2.0
MAX_BYTES = 4 << 20  # of a list; VRChat's have some hundred kilobytes
WRITABLE = 2  # bit of ACCESS


class AvatarParameters:
    """Names of the parameters that the avatar has, read again by a thread every few seconds.

    VRChat's server is found by queries of multicast DNS, whose sockets are bound to the addresses of the interfaces. A
    list is read only from addresses of this machine, or from the receiver itself.

    Args:
        discovery: Interfaces to search: "loopback" or "network", all of them.
        host: Receiver of the output.
        targets: Names of the parameters to send, for messages.
        note: Function that writes one sentence when the list changes, or is missing.

    Attributes:
        names: Names; None while they are not known.

    Raises:
        EngineUnavailableError: The extra `osc` is not installed.
    """

    def __init__(self, discovery: Discovery, host: str, targets: Sequence[str], note: Note) -> None:
        self._zeroconf: Any = require("zeroconf", "osc", "discover")
        self._discovery, self._host, self._targets, self._note = discovery, host, targets, note
        self.names: frozenset[str] | None = None
        self._url = ""  # of the list; empty while VRChat was not found
        self._is_reported = False  # whether a missing list was reported
        self._wake, self._is_closed = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="OSCQuery", daemon=True)

    def open(self) -> None:
        """Start the search."""
        self._thread.start()

    def refresh(self) -> None:
        """Read the list again now: the avatar has changed."""
        self._wake.set()

    def close(self) -> None:
        """End the search; may be called several times."""
        self._is_closed = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(2 * HTTP_SECONDS)

    def _run(self) -> None:
        while not self._is_closed:
            self._wake.clear()
            names = _read_names(self._url) if self._url else None
            if names is None:
                self._url, names = self._search()
            self._store(names)
            if not self._is_closed:
                self._wake.wait(REFRESH_SECONDS)

    def _search(self) -> tuple[str, frozenset[str] | None]:
        """Return address and content of the list of the first VRChat that has one."""
        zeroconf, services = self._zeroconf, queue.Queue[str]()
        deadline = time.monotonic() + SEARCH_SECONDS
        try:
            # With unicast answers, no socket is bound to the port of multicast DNS, which other programs use.
            with (
                zeroconf.Zeroconf(
                    interfaces(self._discovery), unicast=True, ip_version=zeroconf.IPVersion.V4Only
                ) as network,
                zeroconf.ServiceBrowser(network, SERVICE, handlers=[lambda name, **_: services.put(name)]),
            ):
                while (seconds := deadline - time.monotonic()) > 0 and not self._is_closed:
                    name = services.get(timeout=seconds)
                    if not name.startswith(VRCHAT):  # fer-edge itself, for example
                        continue
                    info = network.get_service_info(SERVICE, name, 1000 * HTTP_SECONDS)
                    for address in info.parsed_addresses() if info else ():
                        url = f"http://{address}:{info.port}{PREFIX.rstrip('/')}"
                        names = _read_names(url) if self._is_trusted(address) else None
                        if names is not None:
                            return url, names
        except (OSError, RuntimeError, zeroconf.Error, queue.Empty):  # the first two: there is no network
            pass
        return "", None

    def _is_trusted(self, address: str) -> bool:
        """Return whether an announced address is of this machine, or the receiver's."""
        if is_loopback(address):
            return True
        try:
            return address in {entry[4][0] for entry in socket.getaddrinfo(self._host, None)}
        except OSError:
            return False

    def _store(self, names: frozenset[str] | None) -> None:
        previous, self.names = self.names, names
        if names is None:
            if previous is not None or not self._is_reported:
                hint = "; try discover=network" if self._discovery == "loopback" else ""
                self._note(f"VRChat: there is no list of the avatar's parameters: all are sent{hint}")
            self._is_reported = True
        elif names != previous:
            present = [name for name in self._targets if name in names]
            counts = f"{len(present)} of {len(self._targets)} parameters"
            self._note(f"VRChat: the avatar has {counts} of the mapping: {join_names(present) or 'none'}")


def interfaces(discovery: Discovery) -> Any:
    """Return the interfaces of a mode for zeroconf.

    Args:
        discovery: "loopback" or "network".
    """
    from zeroconf import InterfaceChoice

    return ["127.0.0.1"] if discovery == "loopback" else InterfaceChoice.All


def is_loopback(host: str) -> bool:
    """Return whether a name or address is of this machine alone.

    Args:
        host: Name or address.
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _read_names(url: str) -> frozenset[str] | None:
    """Read the names of parameters; return None if VRChat has closed, or has no avatar yet.

    Proxies and redirections are not followed, since they would leave the machine.
    """
    opener = request.OpenerDirector()
    for handler in (request.HTTPHandler(), request.HTTPErrorProcessor(), request.HTTPDefaultErrorHandler()):
        opener.add_handler(handler)
    try:
        with opener.open(url, timeout=HTTP_SECONDS) as response:
            return frozenset(_names(json.loads(response.read(MAX_BYTES))))
    except (OSError, HTTPException, ValueError, RecursionError):
        return None


def _names(tree: Any) -> Iterator[str]:
    """Yield the names of the parameters that can be written, from a tree of OSCQuery."""
    nodes = [tree]
    while nodes:
        node = nodes.pop()
        if not isinstance(node, dict):
            continue
        path, access, contents = node.get("FULL_PATH"), node.get("ACCESS"), node.get("CONTENTS")
        if isinstance(path, str) and path.startswith(PREFIX) and isinstance(access, int) and access & WRITABLE:
            yield path.removeprefix(PREFIX)
        if isinstance(contents, dict):  # also of a parameter, if another one is named NAME/PART
            nodes += contents.values()
