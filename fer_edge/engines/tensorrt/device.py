"""Interface between the runner and CUDA: the driver calls that a runner needs."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Graph = Any  # result of `capture`, opaque to the runner

# After one of these errors the CUDA context is unusable: every later call in the process fails with the same error.
STICKY = frozenset(
    f"CUDA_ERROR_{name}"
    for name in (
        "ASSERT",
        "CONTAINED",
        "CONTEXT_IS_DESTROYED",
        "ECC_UNCORRECTABLE",
        "HARDWARE_STACK_ERROR",
        "ILLEGAL_ADDRESS",
        "ILLEGAL_INSTRUCTION",
        "INVALID_ADDRESS_SPACE",
        "INVALID_PC",
        "LAUNCH_FAILED",
        "LAUNCH_TIMEOUT",
        "MISALIGNED_ADDRESS",
        "NVLINK_UNCORRECTABLE",
        "TENSOR_MEMORY_LEAK",
    )
)


class CudaError(Exception):
    """A failed driver call."""

    def __init__(self, call: str, code: str, text: str) -> None:
        super().__init__(f"{call} failed: {text} ({code})")
        self.call, self.code, self.text = call, code, text

    @property
    def sticky(self) -> bool:
        """True if the CUDA context of this process is unusable from now on."""
        return self.code in STICKY

    @property
    def out_of_memory(self) -> bool:
        """True if GPU memory or page-locked memory is exhausted."""
        return self.code == "CUDA_ERROR_OUT_OF_MEMORY"


class Device(Protocol):
    """A GPU as seen by one runner: context, stream, memory, a completion event and four timing events.

    `with device:` makes the context current in the calling thread, in any thread. All calls except `close` must be
    inside of such a block. Every call may raise `CudaError`. Addresses are device addresses.
    """

    integrated: bool  # the GPU shares the CPU's memory: no copies needed
    stream: int  # handle of the stream that receives all work
    done_event: int  # handle of the event that `record_done` records

    def __enter__(self) -> Device: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def page_locked(self, size: int) -> Bytes:
        """Allocate page-locked host memory, (size,) uint8, which is freed with its last reference."""

    def mapped_address(self, memory: Bytes) -> int:
        """Return the device address of page-locked memory."""

    def allocate(self, size: int) -> int:
        """Allocate device memory and return its address."""

    def copy_in(self, address: int, memory: Bytes) -> None:
        """Enqueue a copy from page-locked memory to the device."""

    def copy_out(self, memory: Bytes, address: int) -> None:
        """Enqueue a copy from the device to page-locked memory."""

    def copy_within(self, target: int, source: int, size: int) -> None:
        """Enqueue a copy within device memory."""

    def wait_for(self, stream: int) -> None:
        """Make the device's stream wait for all work that another stream contains now."""

    def record_to(self, stream: int) -> None:
        """Make another stream wait for all work that the device's stream contains now."""

    def capture(self, enqueue: Callable[[], None]) -> Graph:
        """Capture the work that `enqueue` submits into a graph without running it; other threads are not affected."""

    def launch(self, graph: Graph) -> None:
        """Enqueue a captured graph."""

    def record_done(self) -> None:
        """Record `done_event` after all work that the stream contains now."""

    def synchronize(self) -> None:
        """Wait until the stream is idle; other Python threads run meanwhile."""

    def record_event(self, index: int) -> None:
        """Record timing event 0 to 3."""

    def milliseconds(self, first: int, second: int) -> float:
        """Return the time between two completed timing events."""

    def close(self) -> None:
        """Free everything. Never raises: memory that cannot be freed is released at the end of the process."""
