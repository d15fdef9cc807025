"""Deadlines of connections, which uvicorn does not have: for headers, and for clients that do not read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

PERIOD = 0.5  # seconds from check to check


class Deadlines:
    """Watch that ends connections of clients that are too slow.

    The deadline applies to a connection without a complete request, one whose client does not read, and one that is
    being closed.

    Args:
        connections: Function that returns uvicorn's protocols of all connections.
        timeout: Time in seconds that a connection may stay in such a state.
        note_end: Function that is called for each connection that is ended.
    """

    def __init__(self, connections: Callable[[], list[Any]], timeout: float, note_end: Callable[[], None]) -> None:
        self._connections, self._timeout, self._note_end = connections, timeout, note_end
        self._since: WeakKeyDictionary[Any, tuple[object, float]] = WeakKeyDictionary()

    async def run(self) -> None:
        """Check the connections until the task is cancelled."""
        while True:
            await asyncio.sleep(min(PERIOD, self._timeout / 2))
            self.check(time.monotonic())

    def check(self, now: float) -> None:
        """End the connections whose state has not changed for too long.

        Args:
            now: Time in seconds, of any clock.
        """
        for connection in self._connections():
            state = _slow_state(connection)
            before, since = self._since.get(connection, (None, now))
            if state is None or state != before:
                self._since[connection] = state, now
            elif now - since > self._timeout:
                connection.transport.abort()
                self._note_end()


def _slow_state(connection: Any) -> object:
    """Return the state of a connection whose client is to act; None while the server is."""
    if connection.transport.is_closing():
        return "closing"
    if hasattr(connection, "cycle"):  # HTTP
        if connection.flow.write_paused:
            return "full"
        is_idle = connection.cycle is None or connection.cycle.response_complete
        # With the last request, since a connection with many short ones may be idle at each check.
        return ("idle", connection.cycle) if is_idle else None
    return None if connection.writable.is_set() else "full"
