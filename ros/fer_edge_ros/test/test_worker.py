"""Worker: the newest item of each key, the key that has waited longest first."""

from __future__ import annotations

import threading

from fer_edge_ros.worker import Worker


def test_newest_item_of_each_key_in_the_order_of_waiting() -> None:
    processed: list[tuple[str, int]] = []
    started, proceed, finished = threading.Event(), threading.Event(), threading.Event()

    def process(key: str, item: int) -> None:
        processed.append((key, item))
        started.set()
        proceed.wait(10)
        if len(processed) == 3:
            finished.set()

    worker = Worker(process)
    assert not worker.put("a", 0)
    assert started.wait(10)
    assert [worker.put(key, item) for key, item in [("b", 1), ("a", 2), ("b", 3), ("c", 4)]] == [
        False,
        False,
        True,
        False,
    ]
    worker.discard("c")
    worker.discard("unknown")
    proceed.set()
    assert finished.wait(10)
    worker.close()
    assert processed == [("a", 0), ("b", 3), ("a", 2)]
    worker.close()


def test_close_drops_what_waits() -> None:
    processed: list[int] = []
    started, proceed = threading.Event(), threading.Event()

    def process(key: str, item: int) -> None:
        started.set()
        proceed.wait(10)
        processed.append(item)

    worker = Worker(process)
    worker.put("a", 0)
    assert started.wait(10)
    worker.put("a", 1)
    threading.Timer(0.05, proceed.set).start()
    worker.close()
    assert processed == [0]
