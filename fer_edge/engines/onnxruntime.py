"""ONNX Runtime: runs the typed ONNX on CPUs."""

from __future__ import annotations

import json
import sys
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
from fer_edge.engines.messages import LOAD, engine_error, unavailable
from fer_edge.engines.quiet import import_package
from fer_edge.errors import EngineError, EngineUnavailableError, UnsupportedTargetError
from fer_edge.machine import CPUINFO, cpu_fields, default_threads

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
PROCESSORS = Path("/sys/devices/system/cpu/present")
FATAL = 4  # the severity from which it logs; errors are raised, and their text need not stand on stderr too


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
        return str(onnxruntime().__version__)

    def build(self, model: bytes, request: BuildRequest) -> BuiltEngine:
        if set(request.targets) - {"cpu"}:
            raise UnsupportedTargetError(f"onnxruntime builds for cpu; got {', '.join(request.targets)}")
        return BuiltEngine(("cpu",), self.version(), operators=self._executed_operators(model))

    def check_runnable(self) -> None:
        if "CPUExecutionProvider" not in onnxruntime().get_available_providers():
            raise EngineUnavailableError("ONNX Runtime has no CPU provider; reinstall the onnxruntime package")

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
        settings = onnxruntime().SessionOptions()
        if profile is not None:
            settings.enable_profiling = True
            settings.profile_file_prefix = str(profile)
        settings.log_severity_level = FATAL
        settings.inter_op_num_threads = 1
        threads = options.threads or default_threads(heeds_affinity=False)
        if threads is not None:
            settings.intra_op_num_threads = threads
        # The metadata can be asked for only when the optimizers have run; its key is found as quickly.
        disabled = [*DISABLED_OPTIMIZERS, *(WRONG_IN_HALF if HALF_SCALES.encode() in model else ())]
        return open_session(model, settings, disabled_optimizers=disabled)


def open_session(model: bytes, settings: Any, **keywords: Any) -> Any:
    """Open an `InferenceSession` on the CPU that raises what goes wrong.

    The class itself prints the first error to stdout and tries again without the settings asked for.

    Args:
        model: The typed ONNX.
        settings: Its `SessionOptions`.
        keywords: Further arguments of `InferenceSession`.

    Raises:
        EngineUnavailableError: The package cannot be imported.
        EngineError: ONNX Runtime refused the model, or lacks memory or threads.
    """

    class Session(onnxruntime().InferenceSession):  # type: ignore[misc]
        # Versions up to 1.2x have no argument for it, and set it when they open.
        _enable_fallback = property(lambda self: False, lambda self, value: None)

    try:
        return Session(model, settings, providers=["CPUExecutionProvider"], **keywords)
    except Exception as error:  # its exception types are internal to the extension module
        raise engine_error("ONNX Runtime", LOAD, error) from error


def _run_once(session: Any) -> None:
    try:
        session.run(None, {INPUT_NAME: np.zeros((1, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)})
    except Exception as error:  # its exception types are internal to the extension module
        raise engine_error("ONNX Runtime", "could not run the model", error) from error


def _executed(event: dict[str, Any]) -> ExecutedOperator:
    """An operator's profile event; its precision is the element type of what it reads first, or of what it casts to."""
    details = event["args"]
    kind = details["op_name"]
    types = [next(iter(tensor)) for tensor in details[f"{'output' if kind == 'Cast' else 'input'}_type_shape"]]
    element = types[0] if types else "none"
    name = event["name"].removesuffix("_kernel_time").removeprefix(CAST_PREFIX)
    return ExecutedOperator(kind, PRECISIONS.get(element, element), (name,), kind in MULTIPLYING)


def onnxruntime() -> Any:
    """The package.

    Raises:
        EngineUnavailableError: It cannot be imported.
    """
    if "onnxruntime" not in sys.modules:
        _check_processor_files()
    try:
        return import_package("onnxruntime")
    except Exception as error:  # native code fails to load in ways of its own
        install = 'pip install "fer-edge[onnxruntime]"'
        raise unavailable("ONNX Runtime", "cannot be imported", error, install) from error


def _check_processor_files() -> None:
    """Refuse an import that would crash: with an empty /proc/cpuinfo and nothing below /sys it counts no processors.

    Raises:
        EngineUnavailableError: That is how it is here.
    """
    if sys.platform == "linux" and CPUINFO.exists() and not (cpu_fields() or PROCESSORS.exists()):
        raise EngineUnavailableError(
            "ONNX Runtime cannot find out which processors there are: /proc/cpuinfo is empty and "
            "/sys/devices/system/cpu cannot be read; mount /proc or /sys in this container or chroot"
        )


ENGINE = ONNXRuntimeEngine()
