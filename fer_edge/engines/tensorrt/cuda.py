"""The device seam on PyCUDA, with graphs and other people's streams through cuda-python."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any

import numpy as np

from fer_edge.engines.quiet import import_package
from fer_edge.engines.tensorrt.callbacks import LOG
from fer_edge.engines.tensorrt.device import Bytes, CudaError, Graph
from fer_edge.errors import EngineUnavailableError

NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: no waiting for what others do in the legacy default stream
NO_TIMING = 2  # CU_EVENT_DISABLE_TIMING
TIME_MARKS = 4


class CudaDevice:
    """A GPU's primary context, as other libraries in the process use it too, and a stream of our own.

    PyCUDA keeps a stack of contexts for each thread and ends the process if a thread ends with one on it. So the
    context is pushed and popped around every block of calls and never left behind.
    """

    def __init__(self, index: int = 0) -> None:
        self._cuda, self._driver = pycuda_driver(), cuda_python()
        self.pycuda_error: type[Exception] = self._cuda.Error
        self._names: dict[str, str] = {}
        self._named = _Named(self)
        self._graphs: list[Graph] = []
        self._marks: list[Any] = []
        self._events: list[Any] = []
        self._allocations: dict[int, Any] = {}
        self._page_locked: list[Bytes] = []
        with self._named:
            self._cuda.init()
            device = self._cuda.Device(index)
            self._context = device.retain_primary_context()
        try:
            with self:
                self._make(device)
        except BaseException:
            self.close()
            raise

    def _make(self, device: Any) -> None:
        with self._named:
            self.integrated = bool(device.get_attribute(self._cuda.device_attribute.INTEGRATED))
            self._stream = self._cuda.Stream(NON_BLOCKING)
            self._marks = [self._cuda.Event() for _ in range(TIME_MARKS)]
        self.stream = int(self._stream.handle)
        self._own = self._driver.CUstream(self.stream)
        for _ in range(2):
            self._events.append(self._check("cuEventCreate", self._driver.cuEventCreate(NO_TIMING)))
        self._done, self._crossing = self._events
        self.done_event = int(self._done)

    def __enter__(self) -> CudaDevice:
        with self._named:
            self._context.push()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._named:
            self._context.pop()

    def page_locked(self, size: int) -> Bytes:
        with self._named:
            memory: Bytes = self._cuda.pagelocked_empty(size, np.uint8, mem_flags=self._cuda.host_alloc_flags.DEVICEMAP)
        self._page_locked.append(memory)
        return memory

    def mapped_address(self, memory: Bytes) -> int:
        with self._named:
            return int(memory.base.get_device_pointer())  # type: ignore[union-attr]

    def allocate(self, size: int) -> int:
        with self._named:
            allocation = self._cuda.mem_alloc(size)
        self._allocations[int(allocation)] = allocation
        return int(allocation)

    def copy_in(self, address: int, memory: Bytes) -> None:
        with self._named:
            self._cuda.memcpy_htod_async(address, memory, self._stream)

    def copy_out(self, memory: Bytes, address: int) -> None:
        with self._named:
            self._cuda.memcpy_dtoh_async(memory, address, self._stream)

    def copy_within(self, target: int, source: int, size: int) -> None:
        with self._named:
            self._cuda.memcpy_dtod_async(target, source, size, self._stream)

    def follow(self, stream: int) -> None:
        self._cross(self._driver.CUstream(stream), self._own)

    def lead(self, stream: int) -> None:
        self._cross(self._own, self._driver.CUstream(stream))

    def _cross(self, first: Any, second: Any) -> None:
        self._check("cuEventRecord", self._driver.cuEventRecord(self._crossing, first))
        self._check("cuStreamWaitEvent", self._driver.cuStreamWaitEvent(second, self._crossing, 0))

    def capture(self, enqueue: Callable[[], None]) -> Graph:
        driver = self._driver
        mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self._check("cuStreamBeginCapture", driver.cuStreamBeginCapture(self._own, mode))
        try:
            enqueue()
        except BaseException:
            # The stream must leave capture mode; whether it does is no news, what it recorded is of no use.
            _, unfinished = driver.cuStreamEndCapture(self._own)
            if unfinished is not None and int(unfinished):
                driver.cuGraphDestroy(unfinished)
            raise
        recorded = self._check("cuStreamEndCapture", driver.cuStreamEndCapture(self._own))
        try:
            graph = self._check("cuGraphInstantiate", driver.cuGraphInstantiate(recorded, 0))
        finally:
            driver.cuGraphDestroy(recorded)
        self._graphs.append(graph)
        self._check("cuGraphUpload", driver.cuGraphUpload(graph, self._own))
        return graph

    def launch(self, graph: Graph) -> None:
        self._check("cuGraphLaunch", self._driver.cuGraphLaunch(graph, self._own))

    def record_done(self) -> None:
        self._check("cuEventRecord", self._driver.cuEventRecord(self._done, self._own))

    def synchronize(self) -> None:
        with self._named:
            self._stream.synchronize()  # PyCUDA lets the GIL go here

    def mark(self, index: int) -> None:
        with self._named:
            self._marks[index].record(self._stream)

    def milliseconds(self, first: int, second: int) -> float:
        with self._named:
            return float(self._marks[second].time_since(self._marks[first]))

    def close(self) -> None:
        context, self._context = self._context, None
        if context is None:
            return
        try:
            context.push()
        except self.pycuda_error as error:
            LOG.warning("the CUDA context cannot be entered to free what it holds: %s", error)
            self._leave(context)  # its last user; what it holds goes with it
            return
        self._free()
        held = [memory for memory in (reference() for reference in self._let_go()) if memory is not None]
        if not held:
            self._leave(context)
            return
        # A caller still has the input buffer. The context stays for it, and both end when it is let go.
        self._pop(context)
        left = [len(held)]
        for memory in held:
            weakref.finalize(memory, self._free_late, context, memory.base, left).atexit = False

    def _free(self) -> None:
        for graph in self._graphs:
            self._driver.cuGraphExecDestroy(graph)
        for event in self._events:
            self._driver.cuEventDestroy(event)
        for allocation in self._allocations.values():
            try:
                allocation.free()
            except self.pycuda_error as error:
                LOG.warning("memory of the GPU cannot be freed: %s", error)
        self._graphs, self._allocations, self._events, self._marks = [], {}, [], []
        self._stream = self._own = self._done = self._crossing = None

    def _let_go(self) -> list[weakref.ref[Bytes]]:
        """Drop page-locked memory, which is freed at once unless a caller holds it; references that tell."""
        watched = [weakref.ref(memory) for memory in self._page_locked]
        self._page_locked = []
        return watched

    def _free_late(self, context: Any, allocation: Any, left: list[int]) -> None:
        left[0] -= 1
        context.push()
        allocation.free()
        if left[0]:
            self._pop(context)
        else:
            self._leave(context)

    def _pop(self, context: Any) -> None:
        try:
            context.pop()
        except self.pycuda_error as error:
            LOG.warning("the CUDA context cannot be left: %s", error)

    def _leave(self, context: Any) -> None:
        """Give up a context that is current, or that could not be entered or left.

        Always so, and never by dropping it: PyCUDA's destructor releases a primary context by the wrong call, and a
        context on PyCUDA's stack at the thread's end aborts the process. And its `detach` takes the context from its
        own stack only; left on the driver's, later CUDA work would meet it.
        """
        try:
            context.detach()
        except self.pycuda_error as error:
            LOG.warning("the CUDA context cannot be given up: %s", error)
        self._driver.cuCtxPopCurrent()

    def _check(self, call: str, result: tuple[Any, ...]) -> Any:
        """The value of a call of cuda-python."""
        code = result[0]
        if int(code) != 0:
            raise CudaError(call, code.name, self._text(code))
        return result[1] if len(result) > 1 else None

    def _text(self, code: Any) -> str:
        found = self._driver.cuGetErrorString(code)[1]
        return found.decode() if found else "no description"

    def code_of(self, text: str) -> str:
        """The code of an error that PyCUDA gave as the driver's text for it."""
        if not self._names:
            self._names = {self._text(code): code.name for code in self._driver.CUresult}
        return self._names.get(text.strip(), "CUDA_ERROR_UNKNOWN")


class _Named:
    """PyCUDA's errors as ours; one object for all calls."""

    def __init__(self, device: CudaDevice) -> None:
        self._device = device

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and isinstance(error, self._device.pycuda_error):
            # Its message is all it tells: "cuMemAlloc failed: out of memory".
            call, _, text = str(error).partition(" failed: ")
            raise CudaError(call, self._device.code_of(text), text) from error


def pycuda_driver() -> Any:
    """The module `pycuda.driver`.

    Raises:
        EngineUnavailableError: It cannot be imported; says what to install.
    """
    try:
        return import_package("pycuda.driver")
    except (ImportError, OSError) as error:
        raise EngineUnavailableError(
            f'PyCUDA cannot be imported ({error}); run: pip install "fer-edge[cuda]". It is compiled when installed '
            "and needs the CUDA toolkit: see docs/guides"
        ) from error


def cuda_python() -> Any:
    """cuda-python's driver bindings.

    Raises:
        EngineUnavailableError: They cannot be imported; says what to install.
    """
    try:
        return import_package("cuda.bindings.driver")
    except (ImportError, OSError) as error:
        raise EngineUnavailableError(
            f'cuda-python cannot be imported ({error}); run: pip install "fer-edge[cuda]"'
        ) from error
