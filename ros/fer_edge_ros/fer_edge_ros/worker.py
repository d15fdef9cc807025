"""Thread that processes the newest item of each key."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Worker(Generic[Item]):
    """Thread that processes items, first that of the key that has waited longest; a newer item replaces one that waits.

    Args:
        process: Call for each item, with its key; it handles its own exceptions.
    """

    def __init__(self, process: Callable[[str, Item], None]) -> None:
        self._process = process
        self._changes = threading.Condition()
        self._waiting: dict[str, Item] = {}  # in the order of waiting
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="fer-edge-worker", daemon=True)
        self._thread.start()

    def put(self, key: str, item: Item) -> bool:
        """Add an item.

        Returns:
            Whether it replaced an item that was not processed.
        """
        with self._changes:
            is_replacement = key in self._waiting
            self._waiting[key] = item
            self._changes.notify()
        return is_replacement

    def discard(self, key: str) -> None:
        """Remove the item of a key that waits, if there is one."""
        with self._changes:
            self._waiting.pop(key, None)

    def close(self) -> None:
        """Remove all items, and wait for the end of the item in progress."""
        with self._changes:
            self._is_closed = True
            self._waiting.clear()
            self._changes.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changes:
                while not self._waiting and not self._is_closed:
                    self._changes.wait()
                if self._is_closed:
                    return
                key = next(iter(self._waiting))
                item = self._waiting.pop(key)
            self._process(key, item)
            del item  # a frame must not be kept until the next one
