"""Programs that receive OSC: liblo's oscdump, started by tests."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import threading
from dataclasses import dataclass
from typing import Any

import pytest

from tests.video.clips import wait_until

READ: dict[str, Any] = {"f": float, "i": int, "s": str, "T": lambda text: True, "F": lambda text: False}


@dataclass(frozen=True)
class Message:
    """Message that oscdump printed.

    Attributes:
        address: OSC address.
        types: Types of the arguments: "sf".
        values: Arguments.
    """

    address: str
    types: str
    values: tuple[Any, ...]


class OscDump:
    """Running oscdump.

    Args:
        port: UDP port; 0: a free one.
    """

    def __init__(self, port: int = 0) -> None:
        self.port = port or free_port()
        self.messages: list[Message] = []
        self._process = subprocess.Popen(["oscdump", "-L", str(self.port)], stdout=subprocess.PIPE, text=True)
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        wait_until(lambda: is_listening(self.port))

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            message = parse(line)
            if message.address != "/":  # of `is_listening`
                self.messages.append(message)

    def latest(self, address: str) -> Any:
        """Return the first argument of the latest message with an address; None without one."""
        return next((message.values[0] for message in reversed(self.messages) if message.address == address), None)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._thread.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def __enter__(self) -> OscDump:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def parse(line: str) -> Message:
    """Parse a line of oscdump: `00000000.00000001 /address sf "Joy" 0.500000`."""
    _, address, *rest = shlex.split(line)
    types = rest[0] if rest else ""
    return Message(address, types, tuple(READ[kind](text) for kind, text in zip(types, rest[1:], strict=True)))


def free_port(kind: socket.SocketKind = socket.SOCK_DGRAM) -> int:
    """Return a port of the loopback address that no program uses at the moment."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_listening(port: int) -> bool:
    """Return whether a program has a UDP port: a datagram to a free port is refused."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("127.0.0.1", port))
        probe.send(b"/\0\0\0,\0\0\0")
        return probe.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


def require_tools(packages: str, *tools: str) -> None:
    """Require programs; without them, skip the test, but fail in CI.

    Args:
        packages: Packages of Debian that contain them.
        tools: Names of the programs.
    """
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if not missing:
        return
    if os.environ.get("FER_EDGE_REQUIRE_SHARED"):
        pytest.fail(f"{', '.join(missing)} missing, and this run must not skip tests that need it: see .ci/run")
    pytest.skip(f"needs {', '.join(missing)}; on Debian or Ubuntu: apt-get install {packages}")
