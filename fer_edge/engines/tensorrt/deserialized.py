"""A deserialized engine: where runners get their execution contexts from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fer_edge.engines.base import INPUT_NAME, OUTPUT_NAMES, Artifact, RunOptions
from fer_edge.engines.tensorrt.api import Api
from fer_edge.engines.tensorrt.callbacks import logger_for
from fer_edge.engines.tensorrt.errors import loading_failed, started
from fer_edge.errors import EngineError

if TYPE_CHECKING:
    from tensorrt_types import ICudaEngine, IExecutionContext, Runtime


class LoadedEngine:
    """An engine on the GPU. Made, used and closed while a CUDA context is current.

    Contexts take their scratch memory from the runner: several that never run at once share it.
    """

    def __init__(self, api: Api, artifact: Artifact, options: RunOptions) -> None:
        self.api = api
        self.artifact = artifact
        self.options = options
        self._logger, self.messages = logger_for(api.trt)
        self._runtime: Runtime | None = started(api, "runtime", lambda: api.trt.Runtime(self._logger), self.messages)
        try:
            self._load(self._runtime, artifact)
        except BaseException:
            self.close()  # a traceback keeps this object; it must not keep the engine
            raise
        self.scratch_bytes = self.engine.device_memory_size_v2

    def _load(self, runtime: Runtime, artifact: Artifact) -> None:
        assert artifact.file is not None
        runtime.engine_host_code_allowed = self.options.allow_host_code
        self.check_file(runtime, artifact.file)
        self.engine: ICudaEngine = runtime.deserialize_cuda_engine(artifact.file)
        if self.engine is None:  # the stub knows no None here; the documentation does
            raise loading_failed(self.api.name, self.messages)
        self._check_tensors()
        if self.engine.refittable:
            self._refit(artifact.model)

    def check_file(self, runtime: Runtime, file: bytes) -> None:
        """Refuse a file before it is loaded; where the product can tell."""

    def new_context(self) -> IExecutionContext:
        """A context without scratch memory.

        Raises:
            EngineError: There is no memory for it.
        """
        self.messages.clear()
        context = self.engine.create_execution_context(self.api.trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        return self.made(context)

    def made(self, context: IExecutionContext | None) -> IExecutionContext:
        """The context, if there is one."""
        if context is None:
            raise loading_failed(self.api.name, self.messages)
        return context

    def can_capture(self, context: IExecutionContext, stream: int) -> bool:
        """Whether the context's work can be captured into a CUDA graph."""
        return True

    def warmed_up(self) -> None:
        """Told when every context has run once."""

    @property
    def outputs(self) -> dict[str, int]:
        """Output names and their number of classes, in the order of a prediction."""
        names = [self.engine.get_tensor_name(index) for index in range(self.engine.num_io_tensors)]
        return {name: int(self.engine.get_tensor_shape(name)[1]) for name in OUTPUT_NAMES if name in names}

    def profile_for(self, batch: int) -> int:
        """The optimisation profile that fits a batch size best: of those that take it, the one tuned closest to it."""
        best: tuple[int, int] | None = None
        for index in range(self.engine.num_optimization_profiles):
            least, optimal, most = (int(s[0]) for s in self.engine.get_tensor_profile_shape(INPUT_NAME, index))
            if least <= batch <= most:
                distance = (abs(optimal - batch), index)
                best = distance if best is None else min(best, distance)
        if best is None:
            raise EngineError(f"the engine takes no batch of {batch}; {self._ranges()}")
        return best[1]

    def close(self) -> None:
        """Free the engine. Its contexts must be gone."""
        self.__dict__.pop("engine", None)
        self._runtime = None

    def _ranges(self) -> str:
        shapes = [
            self.engine.get_tensor_profile_shape(INPUT_NAME, index)
            for index in range(self.engine.num_optimization_profiles)
        ]
        return "its profiles take " + ", ".join(f"{int(shape[0][0])} to {int(shape[2][0])}" for shape in shapes)

    def _check_tensors(self) -> None:
        trt, types = self.api.trt, {}
        for index in range(self.engine.num_io_tensors):
            name = self.engine.get_tensor_name(index)
            types[name] = self.engine.get_tensor_dtype(name)
        wanted = {INPUT_NAME: trt.DataType.UINT8, **{n: trt.DataType.FLOAT for n in types if n in OUTPUT_NAMES}}
        if types != wanted or not {"label_logits", "probabilities"} <= set(types):
            found = ", ".join(f"{name} {kind.name}" for name, kind in types.items())
            raise EngineError(
                f"the engine has tensors {found}; expected {INPUT_NAME} of UINT8 and {', '.join(OUTPUT_NAMES)} of FLOAT"
            )

    def _refit(self, model: bytes) -> None:
        """Give an engine that was built without weights those of the bundle's model."""
        trt = self.api.trt
        self.messages.clear()
        refitter = started(self.api, "refitter", lambda: trt.Refitter(self.engine, self._logger), self.messages)
        parser = trt.OnnxParserRefitter(refitter, self._logger)
        fits = parser.refit_from_bytes(model) and refitter.refit_cuda_engine()
        missing = "" if fits else ", ".join(refitter.get_missing_weights()[:3])
        del parser, refitter  # before an error: they hold the engine, and a traceback would hold them
        if not fits:
            raise EngineError(
                f"the weights of model.onnx do not fit the engine (missing: {missing or 'none'}): "
                f"{self.messages.reason()}; build the bundle again"
            )
