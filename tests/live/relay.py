"""Relay between a browser and the server of the page, with the speed of a slow network, which can be cut."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

CHUNK = 4096


class Relay:
    """Port that leads to another one at a limited speed.

    Args:
        port: Port of the server on the loopback address.
        speed: Bytes per second from the server to each client.
    """

    def __init__(self, port: int, speed: float) -> None:
        self.speed = speed
        self._target = port
        # Small buffers: the kernel would hold megabytes back otherwise.
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, CHUNK)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self.port = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []

    @contextmanager
    def running(self) -> Iterator[Relay]:
        thread = threading.Thread(target=self._accept, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self.cut()
            thread.join()

    def cut(self) -> None:
        """End all connections."""
        for connection in self._sockets:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._sockets.clear()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                self._sockets += [client, server]
                threading.Thread(target=self._copy, args=(client, server, None), daemon=True).start()
                threading.Thread(target=self._copy, args=(server, client, self), daemon=True).start()

    @staticmethod
    def _copy(source: socket.socket, target: socket.socket, limit: Relay | None) -> None:
        with suppress(OSError):
            while data := source.recv(CHUNK):
                target.sendall(data)
                if limit is not None:
                    time.sleep(len(data) / limit.speed)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)  # ends the other direction, which closes it
        source.close()
