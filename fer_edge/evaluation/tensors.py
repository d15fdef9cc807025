"""The tensors inside typed ONNX graphs: as an engine computes them, and where two graphs first differ."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnx

from fer_edge.engines.base import INPUT_NAME, Images
from fer_edge.engines.messages import COMPILE
from fer_edge.engines.onnxruntime import FATAL, onnxruntime, open_session
from fer_edge.engines.openvino import core, failures
from fer_edge.errors import ConfigError, DataError, EngineError, EngineUnavailableError
from fer_edge.evaluation.pictures import save_plot

Tensors = dict[str, npt.NDArray[Any]]
# A tensor has diverged where its signal is less than this many dB above its error. Measured on `edge`: fp32 on another
# engine stays above 120, fp16 above 60, int8 above 20.
DIVERGED = {"fp32": 80.0, "fp16": 40.0, "int8": 12.0, "mixed": 12.0}
SILENT = 1e-30  # mean square of a tensor that is all zero
BEST = 200.0  # dB; what equal tensors get


class TensorReader(Protocol):
    """Runs a graph and gives tensors from inside it."""

    def read(self, images: Images) -> Tensors:
        """The tensors for a batch, (N, ...) each."""


class ONNXRuntimeTensors:
    """As ONNX Runtime computes them, operator by operator.

    Nothing is fused and one thread adds, so that equal images give equal values, bit for bit.

    Args:
        model: The typed ONNX.
        names: Tensors to give, whatever node makes them.
    """

    def __init__(self, model: bytes, names: Sequence[str]) -> None:
        self.names = list(names)
        runtime = onnxruntime()
        settings = runtime.SessionOptions()
        settings.log_severity_level = FATAL
        settings.intra_op_num_threads = 1
        settings.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session = open_session(with_outputs(model, names), settings)

    def read(self, images: Images) -> Tensors:
        return dict(zip(self.names, self._session.run(self.names, {INPUT_NAME: images}), strict=True))


class OpenVINOTensors:
    """As OpenVINO computes them in float32 mode; what is read from inside, it cannot fuse.

    Args:
        model: The typed ONNX.
        names: Tensors to give; see `groups`.
    """

    def __init__(self, model: bytes, names: Sequence[str]) -> None:
        self.names = list(names)
        with failures(COMPILE):
            network = core().read_model(with_outputs(model, names))
            compiled = core().compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        self._request = compiled.create_infer_request()

    def read(self, images: Images) -> Tensors:
        found = {name: value for output, value in self._request.infer([images]).items() for name in output.get_names()}
        return {name: found[name] for name in self.names}


def groups(engine: str, model: bytes, names: Sequence[str]) -> list[list[str]]:
    """Which tensors may be read in one run.

    OpenVINO 2026.4 goes wrong behind some tensors of an int8 graph that are read from inside, additions in place among
    them; the tensor that is read is right. So there each is read by itself.
    """
    quantized = any(node.op_type == "QuantizeLinear" for node in onnx.load_from_string(model).graph.node)
    return [[name] for name in names] if engine == "openvino" and quantized else [list(names)]


READERS: dict[str, Callable[[bytes, Sequence[str]], TensorReader]] = {
    "onnxruntime": ONNXRuntimeTensors,
    "openvino": OpenVINOTensors,
}


def tensor_reader(engine: str, model: bytes, names: Sequence[str]) -> TensorReader:
    """A reader on an engine.

    Raises:
        ConfigError: That engine gives no tensors from inside.
    """
    if engine not in READERS:
        raise ConfigError(f"{engine} gives no tensors from inside; expected one of: {', '.join(READERS)}")
    return READERS[engine](model, names)


def with_outputs(model: bytes, names: Sequence[str]) -> bytes:
    """The model with tensors from inside as further outputs.

    Raises:
        EngineError: No node makes one of them.
    """
    proto = onnx.load_from_string(model)
    made = set(made_tensors(proto))
    missing = [name for name in names if name not in made]
    if missing:
        raise EngineError(f"the graph has no tensor {missing[0]}; it was exported by another version, or is another")
    types = {value.name: value for value in onnx.shape_inference.infer_shapes(proto).graph.value_info}
    present = {value.name for value in proto.graph.output}
    proto.graph.output.extend(types[name] for name in names if name not in present)
    return proto.SerializeToString()


def made_tensors(proto: onnx.ModelProto) -> list[str]:
    """Tensors that nodes make, in the graph's order."""
    return [output for node in proto.graph.node for output in node.output if output]


def common_tensors(model: bytes, other: bytes) -> list[str]:
    """Floating-point tensors that both graphs make under one name, in the first one's order."""
    floating = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)

    def made(serialised: bytes) -> list[str]:
        proto = onnx.shape_inference.infer_shapes(onnx.load_from_string(serialised))
        values = [*proto.graph.value_info, *proto.graph.output]
        types = {value.name: value.type.tensor_type.elem_type for value in values}
        return [name for name in made_tensors(proto) if types.get(name) in floating]

    theirs = set(made(other))
    return [name for name in made(model) if name in theirs]


@dataclass(frozen=True)
class TensorError:
    """How far a tensor is from its reference, over all images."""

    name: str
    sqnr: float  # signal to error, in dB
    cosine: float
    largest: float  # absolute difference
    peak: float  # largest magnitude of the reference


@dataclass(frozen=True)
class TensorReport:
    """Tensors in the graph's order."""

    images: int
    threshold: float  # dB
    tensors: tuple[TensorError, ...]

    @property
    def first(self) -> TensorError | None:
        """The first tensor that has diverged."""
        return next((tensor for tensor in self.tensors if tensor.sqnr < self.threshold), None)


def compare_tensors(
    candidate: tuple[str, bytes],
    reference: tuple[str, bytes],
    batches: Sequence[Images],
    threshold: float,
    progress: Callable[[int], None] | None = None,
) -> TensorReport:
    """Compare two graphs tensor by tensor, for all tensors that bear one name.

    Args:
        candidate: Engine and typed ONNX in question.
        reference: Engine and typed ONNX that it must agree with. All its tensors are held in memory.
        batches: What both run.
        threshold: A tensor below so many dB has diverged.
        progress: Told how many tensors are done.

    Raises:
        DataError: There are no images.
        EngineError: The graphs have no tensor in common.
    """
    if not batches:
        raise DataError("no images to compare on")
    names = common_tensors(reference[1], candidate[1])
    if not names:
        raise EngineError("the graphs have no tensor in common; expected two graphs of one model")
    reader = tensor_reader(*reference, names)
    expected = [reader.read(batch) for batch in batches]
    errors: dict[str, TensorError] = {}
    for group in groups(candidate[0], candidate[1], names):
        found = tensor_reader(*candidate, group)
        given = [found.read(batch) for batch in batches]
        for name in group:
            errors[name] = _error(name, [one[name] for one in given], [one[name] for one in expected])
        if progress is not None:
            progress(len(group))
    return TensorReport(sum(len(batch) for batch in batches), threshold, tuple(errors.values()))


def plot_tensors(report: TensorReport, title: str, path: Path) -> None:
    """Write a picture of the signal to error along the network.

    Raises:
        EngineUnavailableError: Matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise EngineUnavailableError(f'plots need Matplotlib ({error}); run: pip install "fer-edge[report]"') from error
    names = [tensor.name for tensor in report.tensors]
    figure = Figure(figsize=(max(8.0, 0.13 * len(names) + 3), 5.5), layout="constrained")
    axes = figure.subplots()
    axes.plot([tensor.sqnr for tensor in report.tensors], ".-")
    axes.axhline(report.threshold, linestyle="--", color="grey")
    if report.first is not None:
        axes.axvline(names.index(report.first.name), color="tab:red", label=f"first: {report.first.name}")
        axes.legend()
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=5)
    axes.set_ylabel("signal to error, dB")
    axes.set_title(title)
    axes.margins(x=0.01)
    save_plot(figure, path)


def _error(name: str, found: Sequence[npt.NDArray[Any]], expected: Sequence[npt.NDArray[Any]]) -> TensorError:
    ours, theirs = (np.concatenate([one.astype(np.float64).ravel() for one in parts]) for parts in (found, expected))
    difference = ours - theirs
    signal, error = float(theirs @ theirs), float(difference @ difference)
    if not math.isfinite(error):  # NaN compares false with everything, and would pass
        return TensorError(name, sqnr=-BEST, cosine=0.0, largest=math.inf, peak=float(np.abs(theirs).max()))
    lengths = float(np.sqrt((ours @ ours) * signal))
    return TensorError(
        name,
        sqnr=BEST if error <= SILENT else float(np.clip(10 * np.log10(max(signal, SILENT) / error), -BEST, BEST)),
        cosine=float(ours @ theirs) / lengths if lengths > SILENT else float(error <= SILENT),
        largest=float(np.abs(difference).max()),
        peak=float(np.abs(theirs).max()),
    )
