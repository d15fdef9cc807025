"""Simulated GPU behind the interface of `CudaDevice`: memory, lazy streams, graphs, object counts, injected faults.

Work in a stream runs only when the stream is synchronised. A test therefore fails if a result is read too early or an
input is overwritten too early.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fer_edge.engines.tensorrt.cuda import Bytes, CudaDevice, CudaError

Work = Callable[[], None]
ALIGNMENT = 256


def _do_nothing() -> None:
    pass


@dataclass
class Event:
    """An event that is reached when the first `after` items of a stream have run."""

    stream: Stream | None = None
    after: int = 0


@dataclass
class Stream:
    """Items of work in order; the first `done` items have run."""

    work: list[Work] = field(default_factory=list)
    done: int = 0
    capturing: list[Work] | None = None

    def run(self, until: int | None = None) -> None:
        """Run the waiting items, or those before item `until`."""
        end = len(self.work) if until is None else until
        while self.done < end:
            self.done += 1
            work, self.work[self.done - 1] = self.work[self.done - 1], _do_nothing  # drop references of finished work
            work()


class Gpu:
    """State that all devices of a test share: live objects, recorded calls, injected faults, memory and streams."""

    def __init__(self, *, integrated: bool = False) -> None:
        self.integrated = integrated
        self.live: Counter[str] = Counter()  # kind -> number of objects that are not freed
        self.created: Counter[str] = Counter()  # kind -> number of objects ever created
        self.calls: list[str] = []
        self.faults: dict[int, Any] = {}  # number of a call -> error to raise, or value to return
        self.sticky_error: CudaError | None = None  # raised by every call after a sticky error
        self.streams: dict[int, Stream] = {}
        self.events: dict[int, Event] = {}
        self.current = threading.local()
        self._blocks: dict[int, Bytes] = {}
        self._next_handle = 1 << 32
        self._lock = threading.RLock()

    def call(self, name: str) -> Any:
        """Record a call, then raise or return the fault injected for it; None without a fault."""
        with self._lock:
            number = len(self.calls)
            self.calls.append(name)
        if self.sticky_error is not None:
            raise self.sticky_error
        fault = self.faults.pop(number, None)
        if isinstance(fault, CudaError):
            error = CudaError(name, fault.code, fault.text)
            if error.sticky:
                self.sticky_error = error
            raise error
        if isinstance(fault, BaseException):
            raise fault  # as a signal handler would
        return fault

    def create(self, kind: str) -> int:
        """Count a new object and return its handle."""
        with self._lock:
            self.live[kind] += 1
            self.created[kind] += 1
            self._next_handle += 1 << 20
            return self._next_handle

    def free(self, kind: str) -> None:
        """Count an object as freed."""
        with self._lock:
            self.live[kind] -= 1

    def live_objects(self) -> dict[str, int]:
        """Number of live objects by kind, without zeros."""
        return {kind: count for kind, count in self.live.items() if count}

    def map_memory(self, memory: Bytes, kind: str) -> int:
        """Return a device address for an array."""
        address = self.create(kind)
        self._blocks[address] = memory
        return address

    def unmap_memory(self, address: int, kind: str) -> None:
        """Remove an address; later use of it fails."""
        del self._blocks[address]
        self.free(kind)

    def memory_at(self, address: int, size: int) -> Bytes:
        """Return the bytes at a device address."""
        for start, block in self._blocks.items():
            if start <= address and address + size <= start + len(block):
                return block[address - start : address - start + size]
        raise AssertionError(f"no memory of {size} bytes at {address:#x}")

    def new_stream(self) -> int:
        """Create a stream, as an app does."""
        handle = self.create("stream")
        self.streams[handle] = Stream()
        return handle

    def is_capturing(self, handle: int) -> bool:
        """Return whether work in a stream is captured instead of queued."""
        return self.streams[handle].capturing is not None

    def enqueue(self, handle: int, work: Work) -> None:
        """Add work to a stream, or to the graph that the stream captures."""
        stream = self.streams[handle]
        (stream.work if stream.capturing is None else stream.capturing).append(work)


class DoubleDevice:
    """`CudaDevice` on a simulated `Gpu`."""

    def __init__(self, gpu: Gpu, index: int = 0) -> None:
        self._gpu = gpu
        gpu.call("open")
        self._page_locked: list[tuple[int, Bytes]] = []
        self._allocations: set[int] = set()
        self._graphs = 0
        gpu.create("context")
        self.integrated = gpu.integrated
        self.stream = gpu.new_stream()
        self.done_event = gpu.create("event")
        gpu.events[self.done_event] = Event()
        self._event_times = [0.0] * 4

    def __enter__(self) -> DoubleDevice:
        self._gpu.call("enter")
        depth = getattr(self._gpu.current, "depth", 0)
        self._gpu.current.depth = depth + 1
        return self

    def __exit__(self, *_: object) -> None:
        self._gpu.current.depth -= 1
        self._gpu.call("leave")  # the driver may report an earlier failure here

    def _call(self, name: str) -> Any:
        assert getattr(self._gpu.current, "depth", 0) > 0, f"{name} outside of a context"
        if self._gpu.is_capturing(self.stream) and name in ("allocate", "page_locked", "synchronize"):
            raise CudaError(name, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "operation not permitted when capturing")
        return self._gpu.call(name)

    def page_locked(self, size: int) -> Bytes:
        self._call("page_locked")
        memory = np.zeros(size + ALIGNMENT, np.uint8)[:size].copy()
        self._page_locked.append((self._gpu.map_memory(memory, "page-locked"), memory))
        return memory

    def mapped_address(self, memory: Bytes) -> int:
        self._call("mapped_address")
        return next(address for address, block in self._page_locked if block is memory)

    def allocate(self, size: int) -> int:
        self._call("allocate")
        address = self._gpu.map_memory(np.zeros(size, np.uint8), "memory")
        self._allocations.add(address)
        return address

    def copy_in(self, address: int, memory: Bytes) -> None:
        self._call("copy_in")
        target = self._gpu.memory_at(address, memory.nbytes)
        self._gpu.enqueue(self.stream, lambda: np.copyto(target, memory))

    def copy_out(self, memory: Bytes, address: int) -> None:
        self._call("copy_out")
        source = self._gpu.memory_at(address, memory.nbytes)
        self._gpu.enqueue(self.stream, lambda: np.copyto(memory, source))

    def copy_within(self, target: int, source: int, size: int) -> None:
        self._call("copy_within")
        into, out_of = self._gpu.memory_at(target, size), self._gpu.memory_at(source, size)
        self._gpu.enqueue(self.stream, lambda: np.copyto(into, out_of))

    def wait_for(self, stream: int) -> None:
        self._call("wait_for")
        self._add_wait(self.stream, stream)

    def record_to(self, stream: int) -> None:
        self._call("record_to")
        self._add_wait(stream, self.stream)

    def _add_wait(self, waiting: int, awaited: int) -> None:
        other = self._gpu.streams[awaited]
        until = len(other.work)
        self._gpu.enqueue(waiting, lambda: other.run(until))

    def capture(self, enqueue: Work) -> list[Work]:
        self._call("begin_capture")
        stream = self._gpu.streams[self.stream]
        captured: list[Work] = []
        stream.capturing = captured
        try:
            enqueue()
        finally:
            stream.capturing = None
        self._call("end_capture")
        self._gpu.create("graph")
        self._graphs += 1
        return captured

    def launch(self, graph: list[Work]) -> None:
        self._call("launch")
        for work in graph:
            self._gpu.enqueue(self.stream, work)

    def record_done(self) -> None:
        self._call("record_done")
        stream = self._gpu.streams[self.stream]
        self._gpu.events[self.done_event] = Event(stream, len(stream.work))

    def synchronize(self) -> None:
        self._call("synchronize")
        self._gpu.streams[self.stream].run()

    def record_event(self, index: int) -> None:
        self._call("record_event")

        def record() -> None:
            self._event_times[index] = float(self._gpu.streams[self.stream].done)

        self._gpu.enqueue(self.stream, record)

    def milliseconds(self, first: int, second: int) -> float:
        self._call("milliseconds")
        return self._event_times[second] - self._event_times[first]

    def close(self) -> None:
        for address, _ in self._page_locked:
            self._gpu.unmap_memory(address, "page-locked")
        for address in self._allocations:
            self._gpu.unmap_memory(address, "memory")
        self._gpu.live["graph"] -= self._graphs
        self._page_locked, self._allocations, self._graphs = [], set(), 0
        self._gpu.streams[self.stream].work.clear()
        for kind in ("context", "stream", "event"):
            self._gpu.free(kind)


def device_double(gpu: Gpu) -> CudaDevice:
    """Open the simulated GPU; `test_simulated_device_has_the_real_interface` compares both classes."""
    device: Any = DoubleDevice(gpu)
    return device
