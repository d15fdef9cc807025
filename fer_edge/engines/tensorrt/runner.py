"""Runner of TensorRT and TensorRT-RTX: buffers allocated once, a CUDA graph for each batch size."""

from __future__ import annotations

import atexit
import sys
import weakref
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from fer_edge.engines.base import IMAGE_SIZE, INPUT_NAME, DeviceTiming, Prediction, Runner
from fer_edge.engines.tensorrt.cuda import CudaDevice, CudaError, check_cuda
from fer_edge.engines.tensorrt.deserialized import BatchContext, DeserializedEngine
from fer_edge.engines.tensorrt.errors import driver_error, recorder_for
from fer_edge.errors import EngineError, InputError

if TYPE_CHECKING:
    from fer_edge.engines.base import Artifact, Floats, Images, RunOptions
    from fer_edge.engines.tensorrt.api import Api

IMAGE_BYTES = IMAGE_SIZE * IMAGE_SIZE * 3
ALIGNMENT = 256  # bytes; of every tensor's address
# Batch sizes with their own context and graph. For larger ones the launch overhead is small beside the computation.
GRAPH_BATCHES = 16

# Runners are closed at exit: the interpreter could free an engine after the CUDA context that contains it.
_OPEN: weakref.WeakSet[TensorRTRunner] = weakref.WeakSet()


@atexit.register
def _close_open_runners() -> None:
    for runner in list(_OPEN):
        runner.close()


def load_runner(
    api: Api, load: Callable[[Api, Artifact, RunOptions], DeserializedEngine], artifact: Artifact, options: RunOptions
) -> Runner:
    """Open a runner for a bundle's engine file, which `load` deserializes.

    Raises:
        EngineUnavailableError: Missing GPU or CUDA package.
        EngineError: Engine file that is missing or refused, or not enough GPU memory.
    """
    if artifact.file is None:
        raise EngineError(f"the bundle contains no engine file for {api.name}; build one with: fer-edge build-engine")
    check_cuda(options.device)
    return TensorRTRunner(
        lambda: CudaDevice(options.device),
        lambda: load(api, artifact, options),
        artifact.max_batch,
        graphs=options.graphs,
    )


class TensorRTRunner(Runner):
    """Runs one engine on one GPU.

    Besides `infer` there is an asynchronous interface without copies on the CPU. Fill `input_buffer()` and call
    `submit`, or call `submit_from_device` with frames that are already on the GPU. Then call `collect`, or let your own
    stream wait for `done_event` and read `output_addresses`.
    """

    has_device = True

    def __init__(
        self,
        open_device: Callable[[], CudaDevice],
        load: Callable[[], DeserializedEngine],
        max_batch: int,
        *,
        graphs: bool = True,
    ) -> None:
        super().__init__(max_batch)
        self._running = _ErrorHandler(self, "running")
        self._in_flight = 0
        self._contexts: dict[int, BatchContext] = {}
        self._loaded: DeserializedEngine | None = None
        try:
            self._device = open_device()
        except CudaError as error:
            raise driver_error(error, "opening the GPU") from error
        try:
            with _ErrorHandler(self, "loading the engine"), self._device:
                self._loaded = load()
                self.engine = self._loaded.api.product
                self._allocate()
                self._prepare(graphs)
        except BaseException:
            self.close()
            raise
        self.done_event = self._device.done_event
        _OPEN.add(self)

    def input_buffer(self) -> Images:
        """Return page-locked memory, (max_batch, 112, 112, 3) uint8, whose first images run without a CPU copy.

        Raises:
            EngineError: Closed runner.
        """
        self._check_open()
        return self._input

    @property
    def output_addresses(self) -> dict[str, int]:
        """Device address of each output, (max_batch, classes) float32, valid once `done_event` is reached."""
        return dict(self._addresses)

    def submit(self, batch: int) -> None:
        """Start on the first `batch` images of `input_buffer()`, which must not change until `collect`.

        Raises:
            InputError: Batch size outside of 1 to `max_batch`.
            EngineError: Batch in flight, closed runner or failed engine.
        """
        self._check_batch(batch)
        with self._running, self._device:
            self._copy_in(batch)
            self._start(batch)

    def submit_from_device(self, address: int, batch: int, stream: int) -> None:
        """Start on frames in GPU memory.

        The frames are read after all work that `stream` contains now. Work that is added to `stream` later may
        overwrite them.

        Args:
            address: Device address of uint8 RGB (batch, 112, 112, 3), contiguous.
            batch: Number of images.
            stream: Handle of the CUDA stream that writes the frames.

        Raises:
            InputError: Batch size outside of 1 to `max_batch`.
            EngineError: Batch in flight, closed runner or failed engine.
        """
        self._check_batch(batch)
        with self._running, self._device as device:
            device.wait_for(stream)
            device.copy_within(self._input_address, address, batch * IMAGE_BYTES)
            device.record_to(stream)
            self._start(batch)

    def collect(self) -> Prediction:
        """Wait for the batch in flight and return its outputs; other Python threads run meanwhile.

        Raises:
            EngineError: No batch in flight, or failed engine.
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
        """Measure copy in, computation and copy out with CUDA events.

        Each timed run is queued behind an untimed run. Otherwise the events would include the time that the CPU needs
        to submit the work.

        Returns:
            Milliseconds of each run; None if `graph` is set and the batch size has no graph.
        """
        self._check_batch(batch)
        times = np.zeros((repeats, 3))
        with _ErrorHandler(self, "timing"), self._device as device:
            if graph and self._context_for(batch).graph is None:
                return None
            for row in times:
                self._copy_in(batch)
                self._compute(batch, graph=graph)
                self._copy_out()
                device.record_event(0)
                self._copy_in(batch)
                device.record_event(1)
                self._compute(batch, graph=graph)
                device.record_event(2)
                self._copy_out()
                device.record_event(3)
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
            raise  # already handled by `_handle_error`
        except BaseException as error:  # from a signal handler, such as Ctrl-C: nobody will collect this batch
            self._in_flight = 0
            self._drain(error)
            raise

    def _is_input(self, images: Images) -> bool:
        """Return whether these are the first images of the input buffer, which need no copy."""
        return images.base is self._memory and np.may_share_memory(images, self._first_byte)

    def _check_batch(self, batch: int) -> None:
        self._check_open()
        if self._in_flight:
            raise EngineError("a batch is in flight; call collect first")
        if not 1 <= batch <= self.max_batch:
            raise InputError(f"a batch of {batch} images; this engine takes 1 to {self.max_batch}")
        if self._loaded is not None:
            self._loaded.messages.clear()  # later errors belong to this batch

    def _check_open(self) -> None:
        if self._closed:
            raise EngineError("the runner is closed; load the bundle again")

    def _allocate(self) -> None:
        """Allocate all memory: input, outputs and the scratch memory of the contexts."""
        assert self._loaded is not None
        device, outputs = self._device, self._loaded.outputs
        self._memory = device.page_locked(self.max_batch * IMAGE_BYTES)
        self._input = self._memory.reshape(self.max_batch, IMAGE_SIZE, IMAGE_SIZE, 3)
        self._first_byte = self._memory[:1]
        self._input_views = [self._memory[: size * IMAGE_BYTES] for size in range(self.max_batch + 1)]
        offsets, size = {}, 0
        for name, classes in outputs.items():
            offsets[name] = size
            size += -(-self.max_batch * classes * 4 // ALIGNMENT) * ALIGNMENT
        self._output_memory = device.page_locked(size)
        if device.integrated:
            self._input_address = device.mapped_address(self._memory)
            self._output_address = device.mapped_address(self._output_memory)
        else:
            self._input_address = device.allocate(self._memory.nbytes)
            self._output_address = device.allocate(size)
        self._addresses = {name: self._output_address + offset for name, offset in offsets.items()}
        self._tensors = {INPUT_NAME: self._input_address, **self._addresses}
        self._outputs: list[Floats | None] = []
        for name in Prediction._fields:
            view = None
            if name in offsets:
                count = self.max_batch * outputs[name] * 4
                view = self._output_memory[offsets[name] : offsets[name] + count].view(np.float32)
                view = view.reshape(self.max_batch, outputs[name])
            self._outputs.append(view)
        self._scratch = device.allocate(self._loaded.scratch_bytes) if self._loaded.scratch_bytes else 0

    def _prepare(self, graphs: bool) -> None:
        """Run every batch size once, as TensorRT requires before a capture, and capture it."""
        assert self._loaded is not None
        loaded = self._loaded
        self._recorder = recorder_for(loaded.api.trt, loaded.messages)
        sizes = range(1, min(self.max_batch, GRAPH_BATCHES) + 1) if graphs else ()
        for batch in sizes:
            prepared = self._add_context(batch, batch)
            if loaded.can_capture(prepared.context, self._device.stream):
                prepared.graph = self._device.capture(partial(self._enqueue, prepared))
        if self.max_batch > len(sizes):
            self._add_context(0, self.max_batch)  # shared by all batch sizes without a graph
        loaded.after_warmup()

    def _add_context(self, key: int, batch: int) -> BatchContext:
        """Create a context for a batch size and run it once. `close` finds it under its key, even if the run fails."""
        assert self._loaded is not None
        prepared = self._contexts[key] = BatchContext(self._loaded.new_context(), self._recorder)
        self._bind(prepared, batch)
        self._enqueue(prepared)
        self._device.synchronize()
        return prepared

    def _bind(self, prepared: BatchContext, batch: int) -> None:
        """Set a context's batch size, buffers and the optimisation profile that fits."""
        assert self._loaded is not None
        loaded = self._loaded
        if loaded.scratch_bytes:
            prepared.context.set_device_memory(self._scratch, loaded.scratch_bytes)
        if not prepared.bind(batch, loaded.profile_for(batch), self._device.stream, self._tensors):
            raise EngineError(f"{loaded.api.name} refused a batch of {batch}: {loaded.messages.reason()}")

    def _context_for(self, batch: int) -> BatchContext:
        prepared = self._contexts.get(batch)
        if prepared is not None:
            return prepared
        shared = self._contexts[0]
        if shared.batch != batch:
            self._bind(shared, batch)
        return shared

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

    def _handle_error(self, error: CudaError | EngineError, activity: str) -> None:
        """Raise CUDA errors as engine errors, and close the runner if its CUDA context is lost."""
        self._in_flight = 0
        cause = self._drain(error)
        if not isinstance(cause, CudaError):
            return
        if cause.sticky:
            self.close()
        raise driver_error(cause, activity) from cause

    def _drain(self, error: BaseException) -> BaseException:
        """Wait for the work of a failed batch; return the sticky CUDA error that this may raise, otherwise `error`."""
        try:
            with self._device as device:
                device.synchronize()
        except CudaError as later_error:
            return later_error if later_error.sticky else error
        return error

    def __del__(self) -> None:
        """Close the runner: garbage collection could free the engine before its contexts."""
        if not sys.is_finalizing():
            self.close()

    def _close(self) -> None:
        """Free contexts, engine and memory, in this order, while the CUDA context is current."""
        if not hasattr(self, "_device"):
            return
        try:
            with self._device as device:
                device.synchronize()  # running work must not use freed memory
        except CudaError:
            pass  # nothing runs in a lost context
        try:
            with self._device:
                self._free_engine()
        except CudaError:
            self._free_engine()  # without a current context; `close` of the device logs the reason
        # Drop the views of page-locked memory; a caller who holds `input_buffer()` keeps that memory alive.
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


class _ErrorHandler:
    """Context manager that passes errors to the runner's `_handle_error`. One object serves every frame."""

    def __init__(self, runner: TensorRTRunner, activity: str) -> None:
        self._runner = weakref.ref(runner)  # a reference cycle would delay freeing the GPU memory of a dropped runner
        self._activity = activity

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        runner = self._runner()
        if runner is not None and isinstance(error, (CudaError, EngineError)):
            runner._handle_error(error, self._activity)
