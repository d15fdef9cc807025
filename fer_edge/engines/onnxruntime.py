"""The `onnxruntime` engine: runs the typed ONNX on CPUs."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

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
)
from fer_edge.engines.capabilities import TensorReader, Tensors, TritonBackend
from fer_edge.engines.graph import Execution, Graph, Port, single_input
from fer_edge.engines.messages import LOAD, engine_error, unavailable
from fer_edge.engines.outputs import check_outputs
from fer_edge.engines.quiet import Package, import_package
from fer_edge.engines.threads import LIMIT
from fer_edge.errors import EngineError, EngineUnavailableError, UnsupportedTargetError
from fer_edge.hardware.cpu import CPUINFO, cpu_fields

# From 1.29 on, its Linux packages write a device id and an event store into the home folder, and send events.
PACKAGE = Package("onnxruntime", "onnxruntime", {"ORT_DISABLE_TELEMETRY": "1"}, loads_libraries=True)
MULTIPLYING = {
    "Conv", "FusedConv", "QLinearConv", "ConvInteger", "Gemm", "FusedGemm", "QGemm", "MatMul", "FusedMatMul",
    "QLinearMatMul", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul",
}  # fmt: skip
TYPES = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32}  # of the inputs of graphs
CAST_PREFIX = "InsertedPrecisionFreeCast_"  # name prefix of operators that run in float: no float16 kernel exists
PRECISIONS = {"float": "fp32", "float16": "fp16", "bfloat16": "bf16", "int8": "int8", "uint8": "int8"}
# This optimizer merges equal Q/DQ pairs of a tensor with several consumers. The x86 kernels need uint8, and int8 is
# converted to it only for pairs with one consumer: with merged pairs, convolutions stay in float.
DISABLED_OPTIMIZERS = ["CommonSubexpressionElimination"]
# This optimizer computes the scale of a bias as a product of two scales. float16 cannot represent that product, and the
# convolutions give wrong results.
INCORRECT_WITH_HALF_SCALES = ["WeightBiasQuantization"]
PROCESSORS = Path("/sys/devices/system/cpu/present")
FATAL = 4  # lowest severity that is logged: errors are raised, so they need not be on stderr too


class ONNXRuntimeRunner(Runner):
    """Runner with one session on the CPU provider.

    Raises:
        EngineError: The model's outputs are not those of a deploy graph.
    """

    engine = "onnxruntime"
    title = "ONNX Runtime"

    def __init__(self, session: Any, max_batch: int, threads: int | None) -> None:
        super().__init__(max_batch)
        self.threads = threads
        self._session = session
        present = {output.name: output.shape for output in session.get_outputs()}
        check_outputs(present)
        self._names = [name for name in OUTPUT_NAMES if name in present]

    def _infer(self, images: Images) -> Prediction:
        outputs = dict(zip(self._names, self._session.run(self._names, {INPUT_NAME: images}), strict=True))
        return Prediction(outputs["label_logits"], outputs.get("text_logits"), outputs["probabilities"])

    def _close(self) -> None:
        del self._session


class ONNXRuntimeTensors(TensorReader):
    """Inner tensors as ONNX Runtime computes them, operator by operator.

    Without fusion and with one thread, equal images give bit-identical values.
    """

    def __init__(self, model: bytes, names: Sequence[str]) -> None:
        self._names = list(names)
        settings = onnxruntime().SessionOptions()
        settings.log_severity_level = FATAL
        settings.intra_op_num_threads = 1
        settings.graph_optimization_level = onnxruntime().GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session = open_session(model, settings)

    def read(self, images: Images) -> Tensors:
        return dict(zip(self._names, self._session.run(self._names, {INPUT_NAME: images}), strict=True))


class ONNXRuntimeGraph(Graph):
    """Session that runs inputs of any accepted shape."""

    def __init__(self, session: Any, threads: int | None) -> None:
        self._session, self._threads = session, threads
        ports = {port.name: port for port in session.get_inputs()}
        port = ports[single_input(list(ports))]
        if port.type not in TYPES:
            raise EngineError(f"the graph's input is of type {port.type}; expected one of {', '.join(TYPES)}")
        sizes = tuple(size if isinstance(size, int) else None for size in port.shape)
        self.port = Port(port.name, sizes, np.dtype(TYPES[port.type]))
        self.outputs = tuple(output.name for output in session.get_outputs())

    def compile(self, shape: tuple[int, ...]) -> Execution:
        sizes = self.port.shape
        if len(sizes) != len(shape) or any(size not in (None, want) for size, want in zip(sizes, shape, strict=True)):
            text = " x ".join("any" if size is None else str(size) for size in sizes)
            raise EngineError(
                f"the graph's input is declared as {text}; got {' x '.join(map(str, shape))}: use the engine openvino, "
                "which changes fixed sizes, or declare them free"
            )
        return ONNXRuntimeExecution(self._session, self.port, self.outputs, shape, self._threads)


class ONNXRuntimeExecution(Execution):
    """Call of a session with inputs of one shape."""

    def __init__(
        self, session: Any, port: Port, outputs: Sequence[str], shape: tuple[int, ...], threads: int | None
    ) -> None:
        super().__init__(shape, port.dtype, threads)
        self._session, self._outputs = session, list(outputs)
        self._feed = {port.name: self.input}

    def _run(self) -> Mapping[str, npt.NDArray[Any]]:
        try:
            return dict(zip(self._outputs, self._session.run(self._outputs, self._feed), strict=True))
        except Exception as error:  # ONNX Runtime's exception types are private
            raise engine_error("ONNX Runtime", "failed on a frame", error) from error


class ONNXRuntimeEngine(Engine):
    """The CPU execution provider of ONNX Runtime."""

    name = "onnxruntime"
    packages = (PACKAGE,)
    runs_graphs = True
    unsigned_int8 = True
    tensor_reader = ONNXRuntimeTensors
    triton = TritonBackend("onnxruntime", "model.onnx", ("cpu", "gpu"))

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
        return ONNXRuntimeRunner(self._session(artifact.model, options), artifact.max_batch, _threads(options))

    def open_graph(self, model: bytes, options: RunOptions) -> Graph:
        return ONNXRuntimeGraph(self._session(model, options), _threads(options))

    def _executed_operators(self, model: bytes) -> tuple[ExecutedOperator, ...]:
        """Return the operators that a session executes for one image, from its profile.

        Raises:
            EngineError: ONNX Runtime refused or failed to run the model, or the profile cannot be written.
        """
        try:
            with tempfile.TemporaryDirectory(prefix="fer-edge-") as folder:
                session = self._session(model, RunOptions(), profile=Path(folder) / "profile")
                _run_once(session)
                events = json.loads(Path(session.end_profiling()).read_text())
        except OSError as error:
            raise EngineError(
                f"ONNX Runtime's profile cannot be written to a temporary folder: {error}; "
                "set TMPDIR to a writable folder"
            ) from error
        return tuple(
            _operator_of(event)
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
        threads = _threads(options)
        if threads is not None:
            settings.intra_op_num_threads = threads
        if LIMIT.get() is not None:
            # By default, the threads of a session spin for a moment after its run, while another network runs.
            settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # A session returns metadata only after running the optimizers, so the key is searched in the serialised model.
        disabled = [*DISABLED_OPTIMIZERS, *(INCORRECT_WITH_HALF_SCALES if HALF_SCALES.encode() in model else ())]
        return open_session(model, settings, disabled_optimizers=disabled)


def _threads(options: RunOptions) -> int | None:
    """Return the number of CPU threads of one inference; None for ONNX Runtime's default."""
    return LIMIT.threads_of_network(options.threads, respects_affinity=False)


def open_session(model: bytes, settings: Any, **keywords: Any) -> Any:
    """Open an `InferenceSession` on the CPU that raises its first error.

    `InferenceSession` itself prints the first error to stdout and tries again without these settings.

    Args:
        model: Typed ONNX model, serialised.
        settings: The session's `SessionOptions`.
        keywords: Further arguments of `InferenceSession`.

    Raises:
        EngineUnavailableError: The package cannot be imported.
        EngineError: ONNX Runtime refused the model, or lacks memory or threads.
    """

    class Session(onnxruntime().InferenceSession):  # type: ignore[misc]
        # Versions up to 1.2x have no argument that disables the fallback: the constructor sets this attribute.
        _enable_fallback = property(lambda self: False, lambda self, value: None)

    try:
        return Session(model, settings, providers=["CPUExecutionProvider"], **keywords)
    except Exception as error:  # ONNX Runtime's exception types are private
        raise engine_error("ONNX Runtime", LOAD, error) from error


def _run_once(session: Any) -> None:
    try:
        session.run(None, {INPUT_NAME: np.zeros((1, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)})
    except Exception as error:  # ONNX Runtime's exception types are private
        raise engine_error("ONNX Runtime", "could not run the model", error) from error


def _operator_of(event: dict[str, Any]) -> ExecutedOperator:
    """Convert a profile event. The precision is the element type of the first input, or of the output of a Cast."""
    details = event["args"]
    kind = details["op_name"]
    types = [next(iter(tensor)) for tensor in details[f"{'output' if kind == 'Cast' else 'input'}_type_shape"]]
    element = types[0] if types else "none"
    name = event["name"].removesuffix("_kernel_time").removeprefix(CAST_PREFIX)
    return ExecutedOperator(kind, PRECISIONS.get(element, element), (name,), kind in MULTIPLYING)


def onnxruntime() -> Any:
    """Return the imported package.

    Raises:
        EngineUnavailableError: The package cannot be imported.
    """
    if "onnxruntime" not in sys.modules:
        _check_processor_files()
    try:
        return import_package(PACKAGE)
    except Exception as error:  # loading native code may raise exceptions other than ImportError
        install = 'pip install "fer-edge[onnxruntime]"'
        raise unavailable("ONNX Runtime", "cannot be imported", error, install) from error


def _check_processor_files() -> None:
    """Check that processors can be counted: without any, importing ONNX Runtime crashes the process.

    Raises:
        EngineUnavailableError: `/proc/cpuinfo` is empty and `/sys` does not list processors.
    """
    if sys.platform == "linux" and CPUINFO.exists() and not (cpu_fields() or PROCESSORS.exists()):
        raise EngineUnavailableError(
            "ONNX Runtime cannot count the processors: /proc/cpuinfo is empty and /sys/devices/system/cpu cannot be "
            "read; mount /proc or /sys in this container or chroot"
        )


ENGINE = ONNXRuntimeEngine()
