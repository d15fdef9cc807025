"""A deserialized engine, and the execution contexts that runners create from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fer_edge.engines.base import IMAGE_SIZE, INPUT_NAME, OUTPUT_NAMES, Artifact, RunOptions
from fer_edge.engines.tensorrt.api import Api
from fer_edge.engines.tensorrt.cuda import Graph
from fer_edge.engines.tensorrt.errors import create_object, loading_error, logger_for
from fer_edge.errors import EngineError

if TYPE_CHECKING:
    from tensorrt_types import ICudaEngine, IErrorRecorder, IExecutionContext, Runtime


class DeserializedEngine:
    """An engine on the GPU. Create, use and close it while a CUDA context is current.

    Its execution contexts use scratch memory that the runner allocates, so contexts that never run at the same time
    can share it.
    """

    def __init__(self, api: Api, artifact: Artifact, options: RunOptions) -> None:
        self.api = api
        self.artifact = artifact
        self.options = options
        self._logger, self.messages = logger_for(api.trt)
        self._runtime: Runtime | None = create_object(
            api, "runtime", lambda: api.trt.Runtime(self._logger), self.messages
        )
        try:
            self._load(self._runtime, artifact)
        except BaseException:
            self.close()  # the traceback keeps this object alive, but must not keep the engine
            raise
        self.scratch_bytes = self.engine.device_memory_size_v2

    def _load(self, runtime: Runtime, artifact: Artifact) -> None:
        assert artifact.file is not None
        runtime.engine_host_code_allowed = self.options.allow_host_code
        self.check_file(runtime, artifact.file)
        self.engine: ICudaEngine = runtime.deserialize_cuda_engine(artifact.file)
        if self.engine is None:  # returned on failure, although the type stub does not say so
            raise loading_error(self.api.name, self.messages)
        self._check_tensors()
        if self.engine.refittable:
            self._refit(artifact.model)

    def check_file(self, runtime: Runtime, file: bytes) -> None:
        """Check the engine file before it is deserialized, if the product supports it."""

    def new_context(self) -> IExecutionContext:
        """Create an execution context without scratch memory.

        Raises:
            EngineError: Not enough memory.
        """
        self.messages.clear()
        context = self.engine.create_execution_context(self.api.trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        return self.check_context(context)

    def check_context(self, context: IExecutionContext | None) -> IExecutionContext:
        """Return the context, or raise the reason why TensorRT did not create it."""
        if context is None:
            raise loading_error(self.api.name, self.messages)
        return context

    def can_capture(self, context: IExecutionContext, stream: int) -> bool:
        """Return whether the context's work can be captured into a CUDA graph."""
        return True

    def after_warmup(self) -> None:
        """Run product-specific work after every context has run once."""

    @property
    def outputs(self) -> dict[str, int]:
        """Number of classes by output name, in the order of `Prediction`."""
        names = [self.engine.get_tensor_name(index) for index in range(self.engine.num_io_tensors)]
        return {name: int(self.engine.get_tensor_shape(name)[1]) for name in OUTPUT_NAMES if name in names}

    def profile_for(self, batch: int) -> int:
        """Return the index of the optimisation profile whose optimal batch size is closest to `batch`.

        Raises:
            EngineError: No profile that accepts `batch`.
        """
        profiles = [
            tuple(int(shape[0]) for shape in self.engine.get_tensor_profile_shape(INPUT_NAME, index))
            for index in range(self.engine.num_optimization_profiles)
        ]
        accepting = [
            (abs(optimal - batch), index)
            for index, (smallest, optimal, largest) in enumerate(profiles)
            if smallest <= batch <= largest
        ]
        if not accepting:
            ranges = ", ".join(f"{smallest} to {largest}" for smallest, _, largest in profiles)
            raise EngineError(f"the engine does not accept a batch of {batch}; its profiles accept {ranges}")
        return min(accepting)[1]

    def close(self) -> None:
        """Free the engine. Its contexts must be freed before."""
        self.__dict__.pop("engine", None)
        self._runtime = None

    def _check_tensors(self) -> None:
        trt, types = self.api.trt, {}
        for index in range(self.engine.num_io_tensors):
            name = self.engine.get_tensor_name(index)
            types[name] = self.engine.get_tensor_dtype(name)
        outputs = {name: trt.DataType.FLOAT for name in types if name in OUTPUT_NAMES}
        if types != {INPUT_NAME: trt.DataType.UINT8, **outputs} or not {"label_logits", "probabilities"} <= set(types):
            tensors = ", ".join(f"{name} {dtype.name}" for name, dtype in types.items())
            raise EngineError(
                f"the engine has tensors {tensors}; expected {INPUT_NAME} of UINT8 and {', '.join(OUTPUT_NAMES)} of "
                "FLOAT"
            )

    def _refit(self, model: bytes) -> None:
        """Load the weights of the bundle's model into an engine that was built without weights."""
        trt = self.api.trt
        self.messages.clear()
        refitter = create_object(self.api, "refitter", lambda: trt.Refitter(self.engine, self._logger), self.messages)
        parser = trt.OnnxParserRefitter(refitter, self._logger)
        refitted = parser.refit_from_bytes(model) and refitter.refit_cuda_engine()
        missing = "" if refitted else ", ".join(refitter.get_missing_weights()[:3])
        del parser, refitter  # both hold the engine, and the traceback of the error below would hold them
        if not refitted:
            raise EngineError(
                f"the weights of model.onnx do not fit the engine (missing: {missing or 'none'}): "
                f"{self.messages.reason()}; build the bundle again"
            )


class BatchContext:
    """An execution context with its batch size and its CUDA graph.

    A graph contains the context's shapes and addresses, so a context with a graph must not be changed.
    """

    def __init__(self, context: IExecutionContext, recorder: IErrorRecorder) -> None:
        self.context = context
        self.graph: Graph | None = None
        self.batch = 0
        context.error_recorder = recorder

    def bind(self, batch: int, profile: int, stream: int, tensors: dict[str, int]) -> bool:
        """Set batch size and tensor addresses.

        Args:
            batch: Number of images.
            profile: Index of the optimisation profile.
            stream: Handle of the CUDA stream.
            tensors: Device address of each tensor, by name.

        Returns:
            Whether TensorRT accepts them.
        """
        self.batch = 0
        accepted = self.context.set_optimization_profile_async(profile, stream)
        accepted = accepted and self.context.set_input_shape(INPUT_NAME, (batch, IMAGE_SIZE, IMAGE_SIZE, 3))
        for name, address in tensors.items():
            accepted = accepted and self.context.set_tensor_address(name, address)
        self.batch = batch if accepted else 0
        return accepted

    def close(self) -> None:
        """Drop the context, even if this object stays alive in a traceback."""
        self.context.error_recorder = None  # type: ignore[assignment]  # see recorder_for
        del self.context, self.graph
