"""The `openvino` engine: runs the typed ONNX on CPUs. Part of the core."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_edge.engines.base import (
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
from fer_edge.engines.capabilities import Profiler, TensorReader, Tensors, TritonBackend, TritonSettings
from fer_edge.engines.graph import Execution, Graph, Port, single_input
from fer_edge.engines.messages import COMPILE, LOAD, READ, unavailable
from fer_edge.engines.openvino.core import PACKAGE, core, failures, openvino, rt_info
from fer_edge.engines.openvino.fusion import bypass_pairs, join_prelus
from fer_edge.engines.openvino.winograd import rewrite_convolutions
from fer_edge.engines.outputs import check_outputs
from fer_edge.engines.threads import LIMIT
from fer_edge.errors import UnsupportedTargetError
from fer_edge.hardware.cpu import processors

# Element types in OpenVINO's runtime model; operators of type u8 and i8 run integer kernels.
PRECISIONS = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "u8": "int8", "i8": "int8"}
MULTIPLYING = {"Convolution", "GroupConvolution", "FullyConnected", "MatMul"}
NOT_OPERATORS = {"Const", "Input", "Output", "Parameter", "Result"}


class OpenVINORunner(Runner):
    """Runner with two compiled models: one for a batch of one image, one for larger batches, compiled on first use.

    With a fixed batch, the plugin skips shape inference and memory planning on every call, which saves a sixth of the
    time of a small model. It also allows the rewrite of wide convolutions (`winograd.py`), which saves an eleventh of
    the time of `paper`. Input and output tensors are bound to arrays once, because passing an array with every call
    costs 20 microseconds in OpenVINO's Python code.

    Raises:
        EngineError: The model's input or outputs are not those of a deploy graph.
    """

    engine = "openvino"
    title = "OpenVINO"

    def __init__(self, compile_model: Callable[[bool], Any], max_batch: int, threads: int | None) -> None:
        super().__init__(max_batch)
        self.threads = threads
        self._compile = compile_model
        self._batch: Any = None
        self._image = np.zeros((1, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
        with failures(LOAD):
            self._single = compile_model(True).create_infer_request()
            outputs = {output.get_any_name(): output for output in self._single.model_outputs}
            shapes = {name: tuple(output.shape) if name in OUTPUT_NAMES else () for name, output in outputs.items()}
            check_outputs(shapes)
            names = list(outputs)
            self._outputs = [names.index(name) if name in names else None for name in OUTPUT_NAMES]
            self._values = np.zeros((len(OUTPUT_NAMES), *shapes["probabilities"]), np.float32)  # (outputs, 1, classes)
            self._bind()

    def _bind(self) -> None:
        """Bind the tensors of the single-image request to the runner's arrays."""
        tensor = openvino().Tensor
        self._single.set_input_tensor(tensor(self._image, shared_memory=True))
        for row, index in enumerate(self._outputs):
            if index is not None:
                self._single.set_output_tensor(index, tensor(self._values[row], shared_memory=True))

    def _infer(self, images: Images) -> Prediction:
        if len(images) > 1:
            return self._infer_batch(images)
        np.copyto(self._image, images)
        self._single.infer(share_outputs=True)
        label, text, probabilities = self._values.copy()
        return Prediction(label, None if self._outputs[1] is None else text, probabilities)

    def _infer_batch(self, images: Images) -> Prediction:
        if self._batch is None:
            self._batch = self._compile(False).create_infer_request()
        # The request reads the caller's array in place. The small outputs are copied, so callers may keep them.
        self._batch.infer([images], share_inputs=True, share_outputs=True)
        label, text, probabilities = (
            None if index is None else np.array(self._batch.get_output_tensor(index).data, np.float32)
            for index in self._outputs
        )
        assert label is not None and probabilities is not None
        return Prediction(label, text, probabilities)

    def _close(self) -> None:
        del self._single, self._batch, self._compile


class OpenVINOTensors(TensorReader):
    """Inner tensors as OpenVINO computes them in float32; operators are not fused across a tensor that is read."""

    # With OpenVINO 2026.4, reading an inner tensor of an int8 graph can corrupt later tensors, for example through
    # in-place additions; the tensor itself is correct.
    reads_int8_together = False

    def __init__(self, model: bytes, names: Sequence[str]) -> None:
        self._names = list(names)
        with failures(COMPILE):
            compiled = core().compile_model(core().read_model(model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        self._request = compiled.create_infer_request()

    def read(self, images: Images) -> Tensors:
        outputs = self._request.infer([images]).items()
        values = {name: value for output, value in outputs for name in output.get_names()}
        return {name: values[name] for name in self._names}


class _TritonBackend(TritonBackend):
    def settings(self, version: str, options: Mapping[str, Any], max_batch: int, rebuild: str) -> TritonSettings:
        # The backend compiles for the largest batch, and refuses others unpadded.
        return TritonSettings(parameters={"ENABLE_BATCH_PADDING": "YES"} if max_batch > 1 else {})


class OpenVINOGraph(Graph):
    """Graph that is compiled anew for every input shape."""

    def __init__(self, network: Any, compile_network: Callable[[Any], Any], threads: int | None) -> None:
        self._network, self._threads = network, threads
        self._compile = compile_network
        name = single_input([port.get_any_name() for port in network.inputs])
        port = network.input(name)
        sizes = tuple(None if size.is_dynamic else size.get_length() for size in port.get_partial_shape())
        self.port = Port(name, sizes, np.dtype(port.get_element_type().to_dtype()))
        self.outputs = tuple(output.get_any_name() for output in network.outputs)

    def compile(self, shape: tuple[int, ...]) -> Execution:
        with failures(COMPILE):
            network = self._network.clone()
            network.reshape({self.port.name: list(shape)})
        return OpenVINOExecution(self._compile(network), self.outputs, shape, self.port.dtype, self._threads)


class OpenVINOExecution(Execution):
    """Infer request whose input tensor is the array `input`."""

    def __init__(
        self, compiled: Any, outputs: Sequence[str], shape: tuple[int, ...], dtype: np.dtype[Any], threads: int | None
    ) -> None:
        super().__init__(shape, dtype, threads)
        with failures(LOAD):
            self._request = compiled.create_infer_request()
            self._request.set_input_tensor(openvino().Tensor(self.input, shared_memory=True))
            self._outputs = {name: self._request.get_output_tensor(index) for index, name in enumerate(outputs)}

    def _run(self) -> Mapping[str, npt.NDArray[Any]]:
        with failures("failed on a frame"):
            self._request.infer(share_outputs=True)
            return {name: tensor.data for name, tensor in self._outputs.items()}


class OpenVINOEngine(Engine):
    """OpenVINO's CPU plugin, with float arithmetic fixed to float32, so that it runs the types of the typed graph."""

    name = "openvino"
    packages = (PACKAGE,)
    runs_graphs = True
    unsigned_int8 = True
    tensor_reader = OpenVINOTensors
    triton = _TritonBackend("openvino", "model.onnx", ("cpu",))  # by default the backend expects model.xml

    @property
    def profiler(self) -> Profiler:
        from fer_edge.engines.openvino.profiler import OpenVINOProfiler  # imported here, since few runs need it

        return OpenVINOProfiler()

    def version(self) -> str:
        return str(openvino().__version__).split("-")[0]

    def build(self, model: bytes, request: BuildRequest) -> BuiltEngine:
        if set(request.targets) - {"cpu"}:
            raise UnsupportedTargetError(f"openvino builds for cpu; got {', '.join(request.targets)}")
        compiled = self._compile(model, RunOptions(), single=True)  # refusals appear at build time, not on the device
        return BuiltEngine(("cpu",), self.version(), operators=executed_operators(compiled))

    def check_runnable(self) -> None:
        engine = core()
        try:
            engine.get_property("CPU", "FULL_DEVICE_NAME")  # unlike `available_devices`, loads no GPU drivers
        except Exception as error:
            raise unavailable("OpenVINO", "cannot use the processor", error) from error

    def load(self, artifact: Artifact, options: RunOptions) -> Runner:
        return OpenVINORunner(
            lambda single: self._compile(artifact.model, options, single=single),
            artifact.max_batch,
            _threads(options),
        )

    def open_graph(self, model: bytes, options: RunOptions) -> Graph:
        with failures(READ):
            network = core().read_model(model)
        return OpenVINOGraph(network, lambda network: self.compile_network(network, options), _threads(options))

    def network_for_one(self, model: bytes) -> Any:
        """Return the `openvino.Model` with a fixed batch of one image.

        Raises:
            EngineError: OpenVINO refused the typed ONNX.
        """
        network = self._read(model)
        with failures(READ):
            network.reshape({INPUT_NAME: [1, IMAGE_SIZE, IMAGE_SIZE, 3]})
        rewrite_convolutions(network)
        return network

    def compile_network(self, network: Any, options: RunOptions, settings: Mapping[str, Any] | None = None) -> Any:
        """Compile an `openvino.Model`.

        Args:
            network: Model to compile.
            options: Options of the runner; `threads` is used.
            settings: Additional plugin properties; they replace the default ones.

        Raises:
            EngineError: OpenVINO refused the model.
        """
        properties: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            # On CPUs with bf16 or f16 units, the default silently lowers the precision.
            "INFERENCE_PRECISION_HINT": "f32",
        }
        threads = _threads(options)
        if threads is not None:
            properties["INFERENCE_NUM_THREADS"] = threads
        if options.threads is None or options.threads < processors() or LIMIT.get() is not None:
            # OpenVINO pins every runner to the same first cores: two runners of one thread share a core. A pinned
            # thread also waits for its core while other cores are idle: next to other programs on two cores, `edge` at
            # 30 frames per second took 9 to 13 ms pinned, and 5 to 6 ms unpinned. Only a runner for all cores keeps
            # OpenVINO's default, pinning: it is 1 % faster on an idle machine.
            properties["ENABLE_CPU_PINNING"] = False
        properties |= settings or {}
        with failures(COMPILE):
            return core().compile_model(network, "CPU", properties)

    def _read(self, model: bytes) -> Any:
        with failures(READ):
            network = core().read_model(model)
        join_prelus(network)
        bypass_pairs(network)
        return network

    def _compile(self, model: bytes, options: RunOptions, *, single: bool) -> Any:
        return self.compile_network(self.network_for_one(model) if single else self._read(model), options)


def _threads(options: RunOptions) -> int | None:
    """Return the number of CPU threads of one inference; None for OpenVINO's default."""
    return LIMIT.threads_of_network(options.threads, respects_affinity=True)


def executed_operators(compiled: Any) -> tuple[ExecutedOperator, ...]:
    """Return the operators of a compiled model, from its runtime model."""
    operators = []
    for node in compiled.get_runtime_model().get_ordered_ops():
        kind = rt_info(node, "layerType")
        if kind in NOT_OPERATORS:
            continue
        names = tuple(name for name in rt_info(node, "originalLayersNames").split(",") if name)
        # A Subgraph is one kernel for several operators; the matrix products of attention run in one.
        multiplies = kind in MULTIPLYING or (kind == "Subgraph" and any("MatMul" in name for name in names))
        element = rt_info(node, "runtimePrecision")
        operators.append(ExecutedOperator(kind, PRECISIONS.get(element, element), names, multiplies))
    return tuple(operators)


ENGINE = OpenVINOEngine()
