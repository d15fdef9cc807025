"""The CUDA calls of a runner, on PyCUDA; graphs and the streams of other libraries go through cuda-python."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_edge.engines.quiet import Package, import_package
from fer_edge.engines.tensorrt.api import LOG
from fer_edge.errors import EngineUnavailableError
from fer_edge.hardware.gpu import compute_capability

PYCUDA = Package("pycuda.driver", "pycuda")
CUDA_PYTHON = Package("cuda.bindings.driver", "cuda-bindings")
NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: no implicit synchronisation with the legacy default stream
NO_TIMING = 2  # CU_EVENT_DISABLE_TIMING
TIMING_EVENTS = 4
# After one of these errors the CUDA context is unusable: every later call in the process fails with the same error.
STICKY = {
    f"CUDA_ERROR_{name}"
    for name in (
        "ASSERT", "CONTAINED", "CONTEXT_IS_DESTROYED", "ECC_UNCORRECTABLE", "HARDWARE_STACK_ERROR", "ILLEGAL_ADDRESS",
        "ILLEGAL_INSTRUCTION", "INVALID_ADDRESS_SPACE", "INVALID_PC", "LAUNCH_FAILED", "LAUNCH_TIMEOUT",
        "MISALIGNED_ADDRESS", "NVLINK_UNCORRECTABLE", "TENSOR_MEMORY_LEAK",
    )
}  # fmt: skip

Bytes = npt.NDArray[np.uint8]
Graph = Any  # result of `capture`, opaque to the runner


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


class CudaDevice:
    """A GPU as one runner uses it: its primary context, a stream of our own, memory, a completion event, timing events.

    `with device:` makes the context current in the calling thread, in any thread. All calls except `close` must be
    inside of such a block. Every call may raise `CudaError`. Addresses are device addresses.

    PyCUDA keeps a stack of contexts for each thread, and aborts the process if a thread ends with a context on its
    stack. The context is therefore pushed before and popped after every block of calls.
    """

    def __init__(self, index: int = 0) -> None:
        self._cuda, self._driver = import_pycuda(), import_cuda_python()
        self.pycuda_error: type[Exception] = self._cuda.Error
        self._codes: dict[str, str] = {}
        self._translated = _ErrorTranslator(self)
        self._graphs: list[Graph] = []
        self._timing_events: list[Any] = []
        self._events: list[Any] = []
        self._allocations: dict[int, Any] = {}
        self._page_locked: list[Bytes] = []
        with self._translated:
            self._cuda.init()
            device = self._cuda.Device(index)
            self._context = device.retain_primary_context()
        try:
            with self:
                self._create_stream(device)
        except BaseException:
            self.close()
            raise

    def _create_stream(self, device: Any) -> None:
        with self._translated:
            self.integrated = bool(device.get_attribute(self._cuda.device_attribute.INTEGRATED))
            self._stream = self._cuda.Stream(NON_BLOCKING)
            self._timing_events = [self._cuda.Event() for _ in range(TIMING_EVENTS)]
        self.stream = int(self._stream.handle)
        self._stream_handle = self._driver.CUstream(self.stream)
        for _ in range(2):
            self._events.append(self._check("cuEventCreate", self._driver.cuEventCreate(NO_TIMING)))
        self._done, self._order_event = self._events
        self.done_event = int(self._done)

    def __enter__(self) -> CudaDevice:
        with self._translated:
            self._context.push()
        return self

    def __exit__(self, *_: object) -> None:
        with self._translated:
            self._context.pop()

    def page_locked(self, size: int) -> Bytes:
        """Allocate page-locked host memory, (size,) uint8, which is freed with its last reference."""
        flags = self._cuda.host_alloc_flags.DEVICEMAP
        with self._translated:
            memory: Bytes = self._cuda.pagelocked_empty(size, np.uint8, mem_flags=flags)
        self._page_locked.append(memory)
        return memory

    def mapped_address(self, memory: Bytes) -> int:
        """Return the device address of page-locked memory."""
        with self._translated:
            return int(memory.base.get_device_pointer())  # type: ignore[union-attr]

    def allocate(self, size: int) -> int:
        """Allocate device memory and return its address."""
        with self._translated:
            allocation = self._cuda.mem_alloc(size)
        self._allocations[int(allocation)] = allocation
        return int(allocation)

    def copy_in(self, address: int, memory: Bytes) -> None:
        """Enqueue a copy from page-locked memory to the device."""
        with self._translated:
            self._cuda.memcpy_htod_async(address, memory, self._stream)

    def copy_out(self, memory: Bytes, address: int) -> None:
        """Enqueue a copy from the device to page-locked memory."""
        with self._translated:
            self._cuda.memcpy_dtoh_async(memory, address, self._stream)

    def copy_within(self, target: int, source: int, size: int) -> None:
        """Enqueue a copy within device memory."""
        with self._translated:
            self._cuda.memcpy_dtod_async(target, source, size, self._stream)

    def wait_for(self, stream: int) -> None:
        """Make the device's stream wait for all work that another stream contains now."""
        self._order(self._driver.CUstream(stream), self._stream_handle)

    def record_to(self, stream: int) -> None:
        """Make another stream wait for all work that the device's stream contains now."""
        self._order(self._stream_handle, self._driver.CUstream(stream))

    def _order(self, first: Any, second: Any) -> None:
        """Make the second stream wait for the present work of the first."""
        self._check("cuEventRecord", self._driver.cuEventRecord(self._order_event, first))
        self._check("cuStreamWaitEvent", self._driver.cuStreamWaitEvent(second, self._order_event, 0))

    def capture(self, enqueue: Callable[[], None]) -> Graph:
        """Capture the work that `enqueue` submits into a graph without running it; other threads are not affected."""
        driver = self._driver
        mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self._check("cuStreamBeginCapture", driver.cuStreamBeginCapture(self._stream_handle, mode))
        try:
            enqueue()
        except BaseException:
            # End the capture, so that the stream can be used again; its error code and its graph are not needed.
            _, unfinished = driver.cuStreamEndCapture(self._stream_handle)
            if unfinished is not None and int(unfinished):
                driver.cuGraphDestroy(unfinished)
            raise
        captured = self._check("cuStreamEndCapture", driver.cuStreamEndCapture(self._stream_handle))
        try:
            graph = self._check("cuGraphInstantiate", driver.cuGraphInstantiate(captured, 0))
        finally:
            driver.cuGraphDestroy(captured)
        self._graphs.append(graph)
        self._check("cuGraphUpload", driver.cuGraphUpload(graph, self._stream_handle))
        return graph

    def launch(self, graph: Graph) -> None:
        """Enqueue a captured graph."""
        self._check("cuGraphLaunch", self._driver.cuGraphLaunch(graph, self._stream_handle))

    def record_done(self) -> None:
        """Record `done_event` after all work that the stream contains now."""
        self._check("cuEventRecord", self._driver.cuEventRecord(self._done, self._stream_handle))

    def synchronize(self) -> None:
        """Wait until the stream is idle; other Python threads run meanwhile."""
        with self._translated:
            self._stream.synchronize()  # PyCUDA releases the GIL here

    def record_event(self, index: int) -> None:
        """Record timing event 0 to 3."""
        with self._translated:
            self._timing_events[index].record(self._stream)

    def milliseconds(self, first: int, second: int) -> float:
        """Return the time between two completed timing events."""
        with self._translated:
            return float(self._timing_events[second].time_since(self._timing_events[first]))

    def close(self) -> None:
        """Free everything. Never raises: memory that cannot be freed is released at the end of the process."""
        context, self._context = self._context, None
        if context is None:
            return
        try:
            context.push()
        except self.pycuda_error as error:
            LOG.warning("the CUDA context cannot be made current to free its memory: %s", error)
            self._release_context(context)  # its last reference: the driver frees its memory with it
            return
        self._free()
        in_use = [memory for memory in (reference() for reference in self._drop_page_locked()) if memory is not None]
        if not in_use:
            self._release_context(context)
            return
        # A caller still holds the input buffer. The context stays alive until the caller drops it.
        self._pop_context(context)
        remaining = [len(in_use)]
        for memory in in_use:
            weakref.finalize(memory, self._free_page_locked, context, memory.base, remaining).atexit = False

    def _free(self) -> None:
        for graph in self._graphs:
            self._driver.cuGraphExecDestroy(graph)
        for event in self._events:
            self._driver.cuEventDestroy(event)
        for allocation in self._allocations.values():
            try:
                allocation.free()
            except self.pycuda_error as error:
                LOG.warning("GPU memory cannot be freed: %s", error)
        self._graphs, self._allocations, self._events, self._timing_events = [], {}, [], []
        self._stream = self._stream_handle = self._done = self._order_event = None

    def _drop_page_locked(self) -> list[weakref.ref[Bytes]]:
        """Drop page-locked memory, which frees it at once unless a caller holds it.

        Returns:
            Weak references to the memory.
        """
        references = [weakref.ref(memory) for memory in self._page_locked]
        self._page_locked = []
        return references

    def _free_page_locked(self, context: Any, allocation: Any, remaining: list[int]) -> None:
        remaining[0] -= 1
        context.push()
        allocation.free()
        if remaining[0]:
            self._pop_context(context)
        else:
            self._release_context(context)

    def _pop_context(self, context: Any) -> None:
        try:
            context.pop()
        except self.pycuda_error as error:
            LOG.warning("the CUDA context cannot be popped: %s", error)

    def _release_context(self, context: Any) -> None:
        """Release the context, which is current or could not be pushed or popped.

        It must be detached explicitly. PyCUDA's destructor releases a primary context with the wrong driver call, and
        a context that is still on PyCUDA's stack when the thread ends aborts the process. `detach` removes the context
        from PyCUDA's own stack only; without the pop below, later CUDA work would run in it.
        """
        try:
            context.detach()
        except self.pycuda_error as error:
            LOG.warning("the CUDA context cannot be released: %s", error)
        self._driver.cuCtxPopCurrent()

    def _check(self, call: str, result: tuple[Any, ...]) -> Any:
        """Return the value of a cuda-python call, or raise its error."""
        code = result[0]
        if int(code) != 0:
            raise CudaError(call, code.name, self._describe(code))
        return result[1] if len(result) > 1 else None

    def _describe(self, code: Any) -> str:
        text = self._driver.cuGetErrorString(code)[1]
        return text.decode() if text else "no description"

    def code_of(self, text: str) -> str:
        """Return the name of an error code from the driver's description, which is all that PyCUDA reports."""
        if not self._codes:
            self._codes = {self._describe(code): code.name for code in self._driver.CUresult}
        return self._codes.get(text.strip(), "CUDA_ERROR_UNKNOWN")


class _ErrorTranslator:
    """Context manager that turns PyCUDA's errors into `CudaError`. One object serves all calls."""

    def __init__(self, device: CudaDevice) -> None:
        self._device = device

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and isinstance(error, self._device.pycuda_error):
            # PyCUDA's error has no code, only a text: "cuMemAlloc failed: out of memory".
            call, _, text = str(error).partition(" failed: ")
            raise CudaError(call, self._device.code_of(text), text) from error


def check_cuda(device: int = 0) -> None:
    """Check that this machine has a driver, the GPU and both CUDA packages.

    Args:
        device: Index of the GPU, counted from 0.

    Raises:
        EngineUnavailableError: The first of these that is missing.
    """
    compute_capability(device)
    import_pycuda()
    import_cuda_python()


def import_pycuda() -> Any:
    """Import `pycuda.driver`; errors as in `check_cuda`."""
    return _import(PYCUDA, "PyCUDA", ". pip compiles it, which needs the CUDA toolkit: see docs/guides")


def import_cuda_python() -> Any:
    """Import the driver bindings of cuda-python; errors as in `check_cuda`."""
    return _import(CUDA_PYTHON, "cuda-python")


def _import(package: Package, title: str, advice: str = "") -> Any:
    try:
        return import_package(package)
    except (ImportError, OSError) as error:
        raise EngineUnavailableError(
            f'{title} cannot be imported ({error}); run: pip install "fer-edge[cuda]"{advice}'
        ) from error
