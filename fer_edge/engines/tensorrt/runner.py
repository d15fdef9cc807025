"""The runner of TensorRT and TensorRT-RTX: buffers once, a CUDA graph for each batch size, nothing new per frame."""

from __future__ import annotations

import atexit
import sys
import weakref
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from fer_edge.engines.base import IMAGE_SIZE, INPUT_NAME, DeviceTiming, Floats, Images, Prediction, Runner
from fer_edge.engines.tensorrt.callbacks import recorder_for
from fer_edge.engines.tensorrt.device import CudaError, Device, Graph
from fer_edge.engines.tensorrt.errors import cuda_failed
from fer_edge.errors import EngineError, InputError

if TYPE_CHECKING:
    from tensorrt_types import IErrorRecorder, IExecutionContext

    from fer_edge.engines.tensorrt.deserialized import LoadedEngine

IMAGE_BYTES = IMAGE_SIZE * IMAGE_SIZE * 3
ALIGNMENT = 256  # of every tensor's address
# Batch sizes with a context and a graph of their own. For larger ones launching costs little beside the work.
GRAPH_BATCHES = 16


# Left to the interpreter's end, an engine would be freed after the CUDA context that it lives in.
_OPEN: weakref.WeakSet[TensorRTRunner] = weakref.WeakSet()


@atexit.register
def _close_what_is_open() -> None:
    for runner in list(_OPEN):
        runner.close()


class BatchContext:
    """An execution context held to one batch size, and its graph.

    A graph records the context's shapes and addresses, so a context that has one is never changed again.
    """

    def __init__(self, context: IExecutionContext, recorder: IErrorRecorder) -> None:
        self.context = context
        self.graph: Graph | None = None
        self.batch = 0
        context.error_recorder = recorder

    def hold(self, batch: int, profile: int, stream: int, tensors: dict[str, int]) -> bool:
        """Hold the context to a batch size and to where its tensors lie; whether TensorRT takes that."""
        self.batch = 0
        taken = self.context.set_optimization_profile_async(profile, stream)
        taken = taken and self.context.set_input_shape(INPUT_NAME, (batch, IMAGE_SIZE, IMAGE_SIZE, 3))
        for name, address in tensors.items():
            taken = taken and self.context.set_tensor_address(name, address)
        self.batch = batch if taken else 0
        return taken

    def close(self) -> None:
        """Let go of the context, whoever else holds this object: a traceback's frames do."""
        self.context.error_recorder = None  # type: ignore[assignment]  # see recorder_for
        del self.context, self.graph


class TensorRTRunner(Runner):
    """Runs one engine on one GPU.

    Beside `infer` there is a way without copies on the CPU: fill `input_buffer()` and call `submit`, or call
    `submit_from_device` with frames that are on the GPU already; then `collect`, or let a stream of your own wait for
    `done_event` and read `output_addresses`.
    """

    has_device = True

    def __init__(
        self,
        open_device: Callable[[], Device],
        load: Callable[[], LoadedEngine],
        max_batch: int,
        *,
        graphs: bool = True,
    ) -> None:
        super().__init__(max_batch)
        self._running = _Reporting(self, "running")
        self._in_flight = 0
        self._contexts: dict[int, BatchContext] = {}
        self._loaded: LoadedEngine | None = None
        try:
            self._device = open_device()
        except CudaError as error:
            raise cuda_failed(error, "opening the GPU") from error
        try:
            with _Reporting(self, "loading the engine"), self._device:
                self._loaded = load()
                self._allocate()
                self._prepare(graphs)
        except BaseException:
            self.close()
            raise
        self.done_event = self._device.done_event
        _OPEN.add(self)

    def input_buffer(self) -> Images:
        """Page-locked memory, (max_batch, 112, 112, 3) uint8: what is in its first images is not copied on the CPU.

        Raises:
            EngineError: The runner is closed.
        """
        self._check_open()
        return self._input

    @property
    def output_addresses(self) -> dict[str, int]:
        """Where on the GPU each output lies, (max_batch, classes) float32, complete once `done_event` is reached."""
        return dict(self._addresses)

    def submit(self, batch: int) -> None:
        """Start on the first `batch` images of `input_buffer()`, which must not change until `collect`.

        Raises:
            InputError: The batch is too large or none.
            EngineError: A batch is in flight, the runner is closed or the engine failed.
        """
        self._check_batch(batch)
        with self._running, self._device:
            self._copy_in(batch)
            self._start(batch)

    def submit_from_device(self, address: int, batch: int, stream: int) -> None:
        """Start on frames that are on the GPU.

        They are read after the work that is in `stream` by now; work that is put into it later may overwrite them.

        Args:
            address: Device address of uint8 RGB (batch, 112, 112, 3), without gaps.
            batch: Number of images.
            stream: Handle of the CUDA stream that writes them.

        Raises:
            InputError: The batch is too large or none.
            EngineError: A batch is in flight, the runner is closed or the engine failed.
        """
        self._check_batch(batch)
        with self._running, self._device as device:
            device.follow(stream)
            device.copy_within(self._input_address, address, batch * IMAGE_BYTES)
            device.lead(stream)
            self._start(batch)

    def collect(self) -> Prediction:
        """Wait for the batch in flight and return its outputs; other Python threads run meanwhile.

        Raises:
            EngineError: No batch is in flight, or the engine failed.
        """
        self._check_open()
        batch = self._in_flight
        if not batch:
            raise EngineError("no batch is in flight; call submit first")
        with self._running, self._device as device:
            device.synchronize()
        self._in_flight = 0
        label, text, probabilities = (None if view is None else view[:batch].copy() for view in self._outputs)
        assert label is not None and probabilities is not None
        return Prediction(label, text, probabilities)

    def time_on_device(self, batch: int, repeats: int, *, graph: bool = True) -> DeviceTiming | None:
        """Milliseconds of copying in, computing and copying out, by CUDA events; None where there is no graph.

        What is timed waits behind a run that is not: else the events would also time how the CPU submits it.
        """
        self._check_batch(batch)
        times = np.zeros((repeats, 3))
        with _Reporting(self, "timing"), self._device as device:
            if graph and self._context_for(batch).graph is None:
                return None
            for row in times:
                self._copy_in(batch)
                self._compute(batch, graph=graph)
                self._copy_out()
                device.mark(0)
                self._copy_in(batch)
                device.mark(1)
                self._compute(batch, graph=graph)
                device.mark(2)
                self._copy_out()
                device.mark(3)
                device.synchronize()
                row[:] = [device.milliseconds(index, index + 1) for index in range(3)]
        return DeviceTiming(*times.T)

    def _infer(self, images: Images) -> Prediction:
        batch = len(images)
        if self._in_flight:
            raise EngineError("a batch is in flight; call collect first")
        if not self._is_input(images):
            np.copyto(self._input[:batch], images)
        try:
            self.submit(batch)
            return self.collect()
        except EngineError:
            raise  # `_failed` has seen to it
        except BaseException as error:  # a signal handler's, Ctrl-C for one: nobody will collect this batch
            self._in_flight = 0
            self._settled(error)
            raise

    def _is_input(self, images: Images) -> bool:
        """Whether these are the first images of the input buffer, already in place."""
        return images.base is self._memory and np.may_share_memory(images, self._first_byte)

    def _check_batch(self, batch: int) -> None:
        self._check_open()
        if self._in_flight:
            raise EngineError("a batch is in flight; call collect first")
        if not 1 <= batch <= self.max_batch:
            raise InputError(f"a batch of {batch} images; this engine takes 1 to {self.max_batch}")
        if self._loaded is not None:
            self._loaded.messages.clear()  # what is said from here on is of this batch

    def _check_open(self) -> None:
        if self._closed:
            raise EngineError("the runner is closed; load the bundle again")

    def _allocate(self) -> None:
        """All memory there will be: input, outputs and what contexts compute in."""
        assert self._loaded is not None
        device, outputs = self._device, self._loaded.outputs
        self._memory = device.page_locked(self.max_batch * IMAGE_BYTES)
        self._input = self._memory.reshape(self.max_batch, IMAGE_SIZE, IMAGE_SIZE, 3)
        self._first_byte = self._memory[:1]
        self._input_views = [self._memory[: size * IMAGE_BYTES] for size in range(self.max_batch + 1)]
        places, size = {}, 0
        for name, classes in outputs.items():
            places[name] = size
            size += -(-self.max_batch * classes * 4 // ALIGNMENT) * ALIGNMENT
        self._output_memory = device.page_locked(size)
        if device.integrated:
            self._input_address = device.mapped_address(self._memory)
            self._output_address = device.mapped_address(self._output_memory)
        else:
            self._input_address = device.allocate(self._memory.nbytes)
            self._output_address = device.allocate(size)
        self._addresses = {name: self._output_address + place for name, place in places.items()}
        self._tensors = {INPUT_NAME: self._input_address, **self._addresses}
        self._outputs: list[Floats | None] = []
        for name in Prediction._fields:
            view = None
            if name in places:
                count = self.max_batch * outputs[name] * 4
                view = self._output_memory[places[name] : places[name] + count].view(np.float32)
                view = view.reshape(self.max_batch, outputs[name])
            self._outputs.append(view)
        self._scratch = device.allocate(self._loaded.scratch_bytes) if self._loaded.scratch_bytes else 0

    def _prepare(self, graphs: bool) -> None:
        """Run every batch size once, as TensorRT asks before a capture, and capture it."""
        assert self._loaded is not None
        loaded = self._loaded
        self._recorder = recorder_for(loaded.api.trt, loaded.messages)
        sizes = range(1, min(self.max_batch, GRAPH_BATCHES) + 1) if graphs else ()
        for batch in sizes:
            prepared = self._contexts[batch] = BatchContext(loaded.new_context(), self._recorder)
            self._shape(prepared, batch)
            self._enqueue(prepared)
            self._device.synchronize()
            if loaded.can_capture(prepared.context, self._device.stream):
                prepared.graph = self._device.capture(partial(self._enqueue, prepared))
        if self.max_batch > len(sizes):
            rest = self._contexts[0] = BatchContext(loaded.new_context(), self._recorder)
            self._shape(rest, self.max_batch)
            self._enqueue(rest)
            self._device.synchronize()
        loaded.warmed_up()

    def _shape(self, prepared: BatchContext, batch: int) -> None:
        """Hold a context to a batch size, our memory and the profile that fits."""
        assert self._loaded is not None
        loaded = self._loaded
        if loaded.scratch_bytes:
            prepared.context.set_device_memory(self._scratch, loaded.scratch_bytes)
        if not prepared.hold(batch, loaded.profile_for(batch), self._device.stream, self._tensors):
            raise EngineError(f"{loaded.api.name} refused a batch of {batch}: {loaded.messages.reason()}")

    def _context_for(self, batch: int) -> BatchContext:
        prepared = self._contexts.get(batch)
        if prepared is not None:
            return prepared
        rest = self._contexts[0]
        if rest.batch != batch:
            self._shape(rest, batch)
        return rest

    def _copy_in(self, batch: int) -> None:
        if not self._device.integrated:
            self._device.copy_in(self._input_address, self._input_views[batch])

    def _copy_out(self) -> None:
        if not self._device.integrated:
            self._device.copy_out(self._output_memory, self._output_address)

    def _start(self, batch: int) -> None:
        self._compute(batch)
        self._copy_out()
        self._device.record_done()
        self._in_flight = batch

    def _compute(self, batch: int, *, graph: bool = True) -> None:
        prepared = self._context_for(batch)
        if graph and prepared.graph is not None:
            self._device.launch(prepared.graph)
        else:
            self._enqueue(prepared)

    def _enqueue(self, prepared: BatchContext) -> None:
        assert self._loaded is not None
        if prepared.context.execute_async_v3(self._device.stream):
            return
        messages = self._loaded.messages
        raise EngineError(f"{self._loaded.api.name} could not run a batch of {prepared.batch}: {messages.reason()}")

    def _failed(self, error: CudaError | EngineError, doing: str) -> None:
        """Raise CUDA's errors as ours; a runner whose CUDA context is lost is closed."""
        self._in_flight = 0
        cause = self._settled(error)
        if not isinstance(cause, CudaError):
            return
        if cause.sticky:
            self.close()
        raise cuda_failed(cause, doing) from cause

    def _settled(self, error: BaseException) -> BaseException:
        """Wait until nothing of a failed batch is left in the stream; that may tell a graver cause."""
        try:
            with self._device as device:
                device.synchronize()
        except CudaError as graver:
            return graver if graver.sticky else error
        return error

    def __del__(self) -> None:
        """Closed late, if nobody did: freed piece by piece, an engine may go before its contexts."""
        if not sys.is_finalizing():
            self.close()

    def _close(self) -> None:
        """Free contexts, engine and memory, in this order, in the CUDA context."""
        if not hasattr(self, "_device"):
            return
        try:
            with self._device as device:
                device.synchronize()  # nothing may be running of what is freed
        except CudaError:
            pass  # nothing runs in a context that is lost
        try:
            with self._device:
                self._free_engine()
        except CudaError:
            self._free_engine()  # without its CUDA context; the device says why it cannot be entered
        # Views of page-locked memory; a caller who holds `input_buffer()` keeps that alive.
        for name in ("_memory", "_input", "_first_byte", "_input_views", "_output_memory", "_outputs"):
            self.__dict__.pop(name, None)
        self._device.close()

    def _free_engine(self) -> None:
        for prepared in self._contexts.values():
            prepared.close()
        self._contexts.clear()
        if self._loaded is not None:
            self._loaded.close()
        self._loaded = None


class _Reporting:
    """Errors in a block go to the runner's `_failed`. One object serves every frame."""

    def __init__(self, runner: TensorRTRunner, doing: str) -> None:
        self._runner = weakref.ref(runner)  # a circle would keep a forgotten runner, and its GPU memory, for a while
        self._doing = doing

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        runner = self._runner()
        if runner is not None and isinstance(error, (CudaError, EngineError)):
            runner._failed(error, self._doing)
