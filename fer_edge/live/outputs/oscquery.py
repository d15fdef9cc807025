"""Parameters of the present avatar from VRChat's OSCQuery server, found by multicast DNS."""

from __future__ import annotations

import ipaddress
import json
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from http.client import HTTPException
from typing import Any, Literal
from urllib import request

from fer_edge._require import require
from fer_edge.labels import join_names

Discovery = Literal["off", "loopback", "network"]
SERVICE = "_oscjson._tcp.local."
VRCHAT = "VRChat-Client"  # start of the name of VRChat's service
PREFIX = "/avatar/parameters/"
REFRESH_SECONDS = 5.0  # between two readings of the list
REPORT_SECONDS = 5.0  # after which a missing VRChat is reported
HTTP_SECONDS = 2.0
MAX_BYTES = 4 << 20  # of a list; VRChat's have some hundred kilobytes
WRITABLE = 2  # bit of ACCESS


class AvatarParameters:
    """Names of the parameters that the avatar has, kept up to date by a thread.

    Nothing is advertised, and no port is opened for others: queries and answers are multicast DNS. Lists are read only
    from addresses of this machine, or from the receiver itself.

    Args:
        discovery: Interfaces to search: "loopback" or "network", all of them.
        host: Receiver of the output.
        wanted: Names of parameters to send, for messages.
        note: Function that writes one sentence when the list changes, or is missing.

    Attributes:
        names: Names; None while they are not known.

    Raises:
        EngineUnavailableError: The extra `osc` is not installed.
    """

    def __init__(self, discovery: Discovery, host: str, wanted: Sequence[str], note: Callable[[str], object]) -> None:
        self._zeroconf: Any = require("zeroconf", "osc", "discover")
        self._discovery, self._host, self._wanted, self._note = discovery, host, wanted, note
        self.names: frozenset[str] | None = None
        self._is_reported = False  # whether a missing list was reported
        self._services: set[str] = set()
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
        zeroconf = self._zeroconf
        interfaces = ["127.0.0.1"] if self._discovery == "loopback" else zeroconf.InterfaceChoice.All
        with zeroconf.Zeroconf(interfaces, ip_version=zeroconf.IPVersion.V4Only) as network:
            browser = zeroconf.ServiceBrowser(network, SERVICE, handlers=[self._handle])
            self._wake.wait(REPORT_SECONDS)
            while not self._is_closed:
                self._wake.clear()
                self._store(self._read(network))
                self._wake.wait(REFRESH_SECONDS)
            browser.cancel()

    def _handle(self, zeroconf: object, service_type: str, name: str, state_change: Any) -> None:
        """Store the name of a service that was announced; zeroconf calls this by keywords."""
        if name.startswith(VRCHAT):
            self._services.add(name)
            self._wake.set()

    def _read(self, network: Any) -> frozenset[str] | None:
        """Return the names of the first VRChat that answers."""
        for service in sorted(self._services):
            info = network.get_service_info(SERVICE, service, timeout=int(1000 * HTTP_SECONDS))
            if info is None:
                continue
            for address in filter(self._is_trusted, info.parsed_addresses()):
                try:
                    return frozenset(_names(_read_json(f"http://{address}:{info.port}{PREFIX.rstrip('/')}")))
                except (OSError, HTTPException, ValueError, RecursionError):
                    continue  # VRChat has closed, or has no avatar yet
        return None

    def _is_trusted(self, address: str) -> bool:
        """Return whether an announced address is of this machine, or the receiver's."""
        if ipaddress.ip_address(address).is_loopback:
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
                self._note(f"no list of the avatar's parameters from VRChat: all are sent{hint}")
            self._is_reported = True
        elif names != previous:
            present = [name for name in self._wanted if name in names]
            self._note(f"the avatar has {len(present)} of {len(self._wanted)} parameters: {join_names(present) or 'none'}")


def _read_json(url: str) -> Any:
    """Read a JSON document; proxies and redirections are not followed, since they would leave the machine."""
    opener = request.OpenerDirector()
    for handler in (request.HTTPHandler(), request.HTTPErrorProcessor(), request.HTTPDefaultErrorHandler()):
        opener.add_handler(handler)
    with opener.open(url, timeout=HTTP_SECONDS) as response:
        return json.loads(response.read(MAX_BYTES))


def _names(tree: Any) -> Iterator[str]:
    """Yield the names of the parameters that can be written, from a tree of OSCQuery."""
    nodes = [tree]
    while nodes:
        node = nodes.pop()
        if not isinstance(node, dict):
            continue
        path, access, contents = node.get("FULL_PATH"), node.get("ACCESS", WRITABLE), node.get("CONTENTS")
        if isinstance(contents, dict):
            nodes += contents.values()
        elif isinstance(path, str) and path.startswith(PREFIX) and isinstance(access, int) and access & WRITABLE:
            yield path.removeprefix(PREFIX)
