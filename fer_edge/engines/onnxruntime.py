"""ONNX Runtime: runs the typed ONNX on CPUs."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from fer_edge.engines.base import (
    HALF_SCALES,
    IMAGE_SIZE,
    INPUT_NAME,
    OUTPUT_NAMES,
    Artifact,
    BuildRequest,
    BuiltEngine,
    Engine,
    ExecutedOperator,
    Images,
    Prediction,
    Runner,
    RunOptions,
    check_outputs,
)
from fer_edge.errors import EngineError, EngineUnavailable, UnsupportedTarget

MULTIPLYING = {
    "Conv", "FusedConv", "QLinearConv", "ConvInteger", "Gemm", "FusedGemm", "QGemm", "MatMul", "FusedMatMul",
    "QLinearMatMul", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul",
}  # fmt: skip
CAST_PREFIX = "InsertedPrecisionFreeCast_"  # on the names of operators that run in float for want of a half kernel
PRECISIONS = {"float": "fp32", "float16": "fp16", "bfloat16": "bf16", "int8": "int8", "uint8": "int8"}
# It would merge the quantisation pairs that each reader of a tensor has, and then leave convolutions in float: on x86,
# int8 becomes the uint8 that the kernels want only where one reader follows.
DISABLED_OPTIMIZERS = ["CommonSubexpressionElimination"]
# It would give biases the product of two scales for theirs, which float16 cannot hold: convolutions would be wrong.
WRONG_IN_HALF = ["WeightBiasQuantization"]


class ONNXRuntimeRunner(Runner):
    """One session on the CPU provider.

    Raises:
        EngineError: The model's outputs are not those of a deploy graph.
    """

    title = "ONNX Runtime"

    def __init__(self, session: Any, max_batch: int) -> None:
        super().__init__(max_batch)
        self._session = session
        present = {output.name: output.shape for output in session.get_outputs()}
        check_outputs(present)
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
        return BuiltEngine(("cpu",), self.version(), operators=self._executed_operators(model))

    def check_runnable(self) -> None:
        if "CPUExecutionProvider" not in _onnxruntime().get_available_providers():
            raise EngineUnavailable("ONNX Runtime has no CPU provider; reinstall the onnxruntime package")

    def load(self, artifact: Artifact, options: RunOptions) -> Runner:
        return ONNXRuntimeRunner(self._session(artifact.model, options), artifact.max_batch)

    def _executed_operators(self, model: bytes) -> tuple[ExecutedOperator, ...]:
        """What a session runs for one image, from its own profile.

        Raises:
            EngineError: It refuses the model, does not run it, or there is no folder for the profile.
        """
        try:
            with tempfile.TemporaryDirectory(prefix="fer-edge-") as folder:
                session = self._session(model, RunOptions(), profile=Path(folder) / "profile")
                _run_once(session)
                events = json.loads(Path(session.end_profiling()).read_text())
        except OSError as error:
            raise EngineError(
                f"ONNX Runtime's profile cannot be kept in a temporary folder: {error}; "
                "set TMPDIR to a folder that can be written"
            ) from error
        return tuple(
            _executed(event)
            for event in events
            if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")
        )

    def _session(self, model: bytes, options: RunOptions, profile: Path | None = None) -> Any:
        runtime = _onnxruntime()
        settings = runtime.SessionOptions()
        if profile is not None:
            settings.enable_profiling = True
            settings.profile_file_prefix = str(profile)
        settings.log_severity_level = 3
        settings.inter_op_num_threads = 1
        if options.threads is not None:
            settings.intra_op_num_threads = options.threads
        # The metadata can be asked for only when the optimizers have run; its key is found as quickly.
        disabled = [*DISABLED_OPTIMIZERS, *(WRONG_IN_HALF if HALF_SCALES.encode() in model else ())]
        try:
            return runtime.InferenceSession(
                model, settings, providers=["CPUExecutionProvider"], disabled_optimizers=disabled
            )
        except Exception as error:  # its exception types are internal to the extension module
            raise EngineError(f"ONNX Runtime refused the model: {error}") from error


def _run_once(session: Any) -> None:
    try:
        session.run(None, {INPUT_NAME: np.zeros((1, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)})
    except Exception as error:  # its exception types are internal to the extension module
        raise EngineError(f"ONNX Runtime could not run the model: {error}") from error


def _executed(event: dict[str, Any]) -> ExecutedOperator:
    """An operator's profile event; its precision is the element type of what it reads first, or of what it casts to."""
    details = event["args"]
    kind = details["op_name"]
    types = [next(iter(tensor)) for tensor in details[f"{'output' if kind == 'Cast' else 'input'}_type_shape"]]
    element = types[0] if types else "none"
    name = event["name"].removesuffix("_kernel_time").removeprefix(CAST_PREFIX)
    return ExecutedOperator(kind, PRECISIONS.get(element, element), (name,), kind in MULTIPLYING)


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineUnavailable(
            f'ONNX Runtime cannot be imported ({error}); run: pip install "fer-edge[onnxruntime]"'
        ) from error
    return onnxruntime


ENGINE = ONNXRuntimeEngine()
