"""A stand-in for a GPU at the runner's lowest seam: memory, streams that run late, graphs, a ledger and planted faults.

Nothing runs before it must. What is put into a stream waits until somebody synchronises, so a result that is read too
early, or an input that is overwritten too early, shows.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import numpy as np

from fer_edge.engines.tensorrt.device import Bytes, CudaError

Work = Callable[[], None]
ALIGNMENT = 256


def _nothing() -> None:
    pass


@dataclass
class Event:
    """Stands for the first `after` items of a stream."""

    stream: Stream | None = None
    after: int = 0


@dataclass
class Stream:
    """Work in order; the first `done` items have run."""

    work: list[Work] = field(default_factory=list)
    done: int = 0
    capturing: list[Work] | None = None

    def run(self, until: int | None = None) -> None:
        """Run what is waiting, up to an item."""
        last = len(self.work) if until is None else until
        while self.done < last:
            self.done += 1
            work, self.work[self.done - 1] = self.work[self.done - 1], _nothing  # what has run holds nothing
            work()


class Gpu:
    """One GPU for all devices of a test: who holds what, what was called, and what is to fail."""

    def __init__(self, *, integrated: bool = False) -> None:
        self.integrated = integrated
        self.held: Counter[str] = Counter()  # kind -> how many are held
        self.allocated: Counter[str] = Counter()  # kind -> how many were ever made
        self.calls: list[str] = []
        self.faults: dict[int, Any] = {}  # number of a call -> the error to raise, or a value to return
        self.lost: CudaError | None = None  # after a sticky error every call gives it
        self.streams: dict[int, Stream] = {}
        self.events: dict[int, Event] = {}
        self._blocks: dict[int, Bytes] = {}
        self._next = 1 << 32
        self._lock = threading.RLock()
        self.current = threading.local()

    def call(self, name: str) -> Any:
        """Note a call; raise what is planted for it, or return it."""
        with self._lock:
            number = len(self.calls)
            self.calls.append(name)
        if self.lost is not None:
            raise self.lost
        fault = self.faults.pop(number, None)
        if isinstance(fault, CudaError):
            error = CudaError(name, fault.code, fault.text)
            if error.sticky:
                self.lost = error
            raise error
        if isinstance(fault, BaseException):
            raise fault  # a signal handler's
        return fault

    def make(self, kind: str) -> int:
        """A handle, on the ledger."""
        with self._lock:
            self.held[kind] += 1
            self.allocated[kind] += 1
            self._next += 1 << 20
            return self._next

    def drop(self, kind: str) -> None:
        """Off the ledger."""
        with self._lock:
            self.held[kind] -= 1

    def ledger(self) -> dict[str, int]:
        """What is held."""
        return {kind: count for kind, count in self.held.items() if count}

    def own(self, memory: Bytes, kind: str) -> int:
        """An address for memory."""
        address = self.make(kind)
        self._blocks[address] = memory
        return address

    def disown(self, address: int, kind: str) -> None:
        """Forget an address; later use of it fails."""
        del self._blocks[address]
        self.drop(kind)

    def at(self, address: int, size: int) -> Bytes:
        """The memory behind an address."""
        for start, block in self._blocks.items():
            if start <= address and address + size <= start + len(block):
                return block[address - start : address - start + size]
        raise AssertionError(f"no memory of {size} bytes at {address:#x}")

    def stream(self) -> int:
        """A stream, as an app would make one."""
        handle = self.make("stream")
        self.streams[handle] = Stream()
        return handle

    def is_capturing(self, handle: int) -> bool:
        """Whether what is put into a stream is recorded."""
        return self.streams[handle].capturing is not None

    def put(self, handle: int, work: Work) -> None:
        """Put work into a stream, or into the graph that it captures."""
        stream = self.streams[handle]
        (stream.work if stream.capturing is None else stream.capturing).append(work)


class DoubleDevice:
    """`Device` on a `Gpu`."""

    def __init__(self, gpu: Gpu, index: int = 0) -> None:
        self._gpu = gpu
        gpu.call("open")
        self._depth = 0
        self._page_locked: list[tuple[int, Bytes]] = []
        self._allocations: set[int] = set()
        self._graphs = 0
        gpu.make("context")
        self.integrated = gpu.integrated
        self.stream = gpu.stream()
        self.done_event = gpu.make("event")
        gpu.events[self.done_event] = Event()
        self._marks = [0.0] * 4

    def __enter__(self) -> DoubleDevice:
        self._gpu.call("enter")
        depth = getattr(self._gpu.current, "depth", 0)
        self._gpu.current.depth = depth + 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._gpu.current.depth -= 1
        self._gpu.call("leave")  # the driver may tell here of what failed before

    def _call(self, name: str) -> Any:
        assert getattr(self._gpu.current, "depth", 0) > 0, f"{name} outside of a context"
        if self._gpu.streams[self.stream].capturing is not None and name in ("allocate", "page_locked", "synchronize"):
            raise CudaError(name, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "operation not permitted when capturing")
        return self._gpu.call(name)

    def page_locked(self, size: int) -> Bytes:
        self._call("page_locked")
        memory = np.zeros(size + ALIGNMENT, np.uint8)[:size].copy()
        self._page_locked.append((self._gpu.own(memory, "page-locked"), memory))
        return memory

    def mapped_address(self, memory: Bytes) -> int:
        self._call("mapped_address")
        return next(address for address, block in self._page_locked if block is memory)

    def allocate(self, size: int) -> int:
        self._call("allocate")
        address = self._gpu.own(np.zeros(size, np.uint8), "memory")
        self._allocations.add(address)
        return address

    def copy_in(self, address: int, memory: Bytes) -> None:
        self._call("copy_in")
        target = self._gpu.at(address, memory.nbytes)
        self._gpu.put(self.stream, lambda: np.copyto(target, memory))

    def copy_out(self, memory: Bytes, address: int) -> None:
        self._call("copy_out")
        source = self._gpu.at(address, memory.nbytes)
        self._gpu.put(self.stream, lambda: np.copyto(memory, source))

    def copy_within(self, target: int, source: int, size: int) -> None:
        self._call("copy_within")
        into, out_of = self._gpu.at(target, size), self._gpu.at(source, size)
        self._gpu.put(self.stream, lambda: np.copyto(into, out_of))

    def follow(self, stream: int) -> None:
        self._call("follow")
        self._wait(self.stream, stream)

    def lead(self, stream: int) -> None:
        self._call("lead")
        self._wait(stream, self.stream)

    def _wait(self, waiting: int, awaited: int) -> None:
        other = self._gpu.streams[awaited]
        until = len(other.work)
        self._gpu.put(waiting, lambda: other.run(until))

    def capture(self, enqueue: Work) -> list[Work]:
        self._call("begin_capture")
        stream = self._gpu.streams[self.stream]
        recorded: list[Work] = []
        stream.capturing = recorded
        try:
            enqueue()
        finally:
            stream.capturing = None
        self._call("end_capture")
        self._gpu.make("graph")
        self._graphs += 1
        return recorded

    def launch(self, graph: list[Work]) -> None:
        self._call("launch")
        for work in graph:
            self._gpu.put(self.stream, work)

    def record_done(self) -> None:
        self._call("record_done")
        stream = self._gpu.streams[self.stream]
        self._gpu.events[self.done_event] = Event(stream, len(stream.work))

    def synchronize(self) -> None:
        self._call("synchronize")
        self._gpu.streams[self.stream].run()

    def mark(self, index: int) -> None:
        self._call("mark")

        def now() -> None:
            self._marks[index] = float(self._gpu.streams[self.stream].done)

        self._gpu.put(self.stream, now)

    def milliseconds(self, first: int, second: int) -> float:
        self._call("milliseconds")
        return self._marks[second] - self._marks[first]

    def close(self) -> None:
        for address, _ in self._page_locked:
            self._gpu.disown(address, "page-locked")
        for address in self._allocations:
            self._gpu.disown(address, "memory")
        self._gpu.held["graph"] -= self._graphs
        self._page_locked, self._allocations, self._graphs = [], set(), 0
        self._gpu.streams[self.stream].work.clear()
        for kind in ("context", "stream", "event"):
            self._gpu.drop(kind)
