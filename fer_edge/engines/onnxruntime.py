"""ONNX Runtime: runs the typed ONNX on CPUs."""

from __future__ import annotations

from typing import Any

from fer_edge.engines.base import (
    INPUT_NAME,
    OUTPUT_NAMES,
    Artifact,
    BuildRequest,
    BuiltEngine,
    Engine,
    Images,
    Prediction,
    Runner,
    RunOptions,
)
from fer_edge.errors import EngineError, EngineUnavailable, UnsupportedTarget


class ONNXRuntimeRunner(Runner):
    """One session on the CPU provider."""

    def __init__(self, session: Any, max_batch: int) -> None:
        super().__init__(max_batch)
        self._session = session
        present = {output.name for output in session.get_outputs()}
        self._names = [name for name in OUTPUT_NAMES if name in present]

    def _infer(self, images: Images) -> Prediction:
        found = dict(zip(self._names, self._session.run(self._names, {INPUT_NAME: images}), strict=True))
        return Prediction(found["label_logits"], found.get("text_logits"), found["probabilities"])

    def _close(self) -> None:
        del self._session


class ONNXRuntimeEngine(Engine):
    """ONNX Runtime's CPU execution provider."""

    name = "onnxruntime"
    extra = "onnxruntime"

    def version(self) -> str:
        return str(_onnxruntime().__version__)

    def build(self, model: bytes, request: BuildRequest) -> BuiltEngine:
        if set(request.targets) - {"cpu"}:
            raise UnsupportedTarget(f"onnxruntime builds for cpu; got {', '.join(request.targets)}")
        self._session(model, RunOptions())  # a model it refuses is found now, not on the device
        return BuiltEngine(targets=("cpu",), engine_version=self.version())

    def check_runnable(self) -> None:
        if "CPUExecutionProvider" not in _onnxruntime().get_available_providers():
            raise EngineUnavailable("ONNX Runtime has no CPU provider; reinstall the onnxruntime package")

    def load(self, artifact: Artifact, options: RunOptions) -> Runner:
        return ONNXRuntimeRunner(self._session(artifact.model, options), artifact.max_batch)

    def _session(self, model: bytes, options: RunOptions) -> Any:
        runtime = _onnxruntime()
        settings = runtime.SessionOptions()
        settings.log_severity_level = 3
        settings.inter_op_num_threads = 1
        if options.threads is not None:
            settings.intra_op_num_threads = options.threads
        try:
            return runtime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exception types are internal to the extension module
            raise EngineError(f"ONNX Runtime refused the model: {error}") from error


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineUnavailable(
            f'ONNX Runtime cannot be imported ({error}); run: pip install "fer-edge[onnxruntime]"'
        ) from error
    return onnxruntime


ENGINE = ONNXRuntimeEngine()
