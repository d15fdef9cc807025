"""The few CUDA calls that a runner makes: the lowest seam, below which is the driver."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Graph = Any  # what `capture` gave; only the device looks into it

# After one of these the CUDA context is lost: every later call in the process fails with the same error.
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
    """A call of the driver failed."""

    def __init__(self, call: str, code: str, text: str) -> None:
        super().__init__(f"{call} failed: {text} ({code})")
        self.call, self.code, self.text = call, code, text

    @property
    def sticky(self) -> bool:
        """Whether the CUDA context of this process is lost."""
        return self.code in STICKY

    @property
    def out_of_memory(self) -> bool:
        """Whether memory of the GPU, or page-locked memory, ran out."""
        return self.code == "CUDA_ERROR_OUT_OF_MEMORY"


class Device(Protocol):
    """One GPU as one runner uses it: a context, a stream, memory, and two events around what is timed.

    A block of `with device:` makes the context current in the calling thread, whichever that is; every other call but
    `close` stands in one. Every call may raise `CudaError`. Addresses are of the device's memory.
    """

    integrated: bool  # the GPU works in the CPU's memory: nothing needs copying
    stream: int  # handle of the stream that all work goes to
    done_event: int  # handle of the event that `record_done` records

    def __enter__(self) -> Device: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def page_locked(self, size: int) -> Bytes:
        """Host memory that is copied without a detour, (size,); it lives as long as someone holds it."""

    def mapped_address(self, memory: Bytes) -> int:
        """Where the device sees page-locked memory."""

    def allocate(self, size: int) -> int:
        """Memory of the device."""

    def copy_in(self, address: int, memory: Bytes) -> None:
        """Page-locked memory to the device, in stream order."""

    def copy_out(self, memory: Bytes, address: int) -> None:
        """From the device to page-locked memory, in stream order."""

    def copy_within(self, target: int, source: int, size: int) -> None:
        """From one place on the device to another, in stream order."""

    def follow(self, stream: int) -> None:
        """Let our stream wait for what is in another by now."""

    def lead(self, stream: int) -> None:
        """Let another stream wait for what is in ours by now."""

    def capture(self, enqueue: Callable[[], None]) -> Graph:
        """What `enqueue` puts into our stream, recorded instead of run; work of other threads is not disturbed."""

    def launch(self, graph: Graph) -> None:
        """Run a captured graph, in stream order."""

    def record_done(self) -> None:
        """Let `done_event` stand for all that is in our stream by now."""

    def synchronize(self) -> None:
        """Wait until our stream is done; other Python threads run meanwhile."""

    def mark(self, index: int) -> None:
        """Put time mark 0 to 3 into our stream."""

    def milliseconds(self, first: int, second: int) -> float:
        """Time between two marks that have been reached."""

    def close(self) -> None:
        """Free everything. Never raises: what cannot be freed goes with the process."""
