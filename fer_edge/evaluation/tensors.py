"""Comparison of two typed ONNX graphs, tensor by tensor, each on an engine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_edge._files import write_atomically
from fer_edge._require import require
from fer_edge.engines.base import Images
from fer_edge.engines.capabilities import TensorReader
from fer_edge.engines.registry import get_engine, names_with
from fer_edge.errors import ConfigError, DataError, EngineError
from fer_edge.evaluation.pictures import picture_file
from fer_edge.graph.typed_graph import TypedGraph, name_of
from fer_edge.progress import Advance, ignore
from fer_edge.results import Result, Table, plain_data

# Smallest signal-to-error ratio of a tensor that has not diverged, in dB. Measured on `edge`: fp32 on another engine
# stays above 120, fp16 above 60, int8 above 20.
THRESHOLDS = {"fp32": 80.0, "fp16": 40.0, "int8": 12.0, "mixed": 12.0}
ZERO = 1e-30  # mean square below which a tensor counts as zero
BEST = 200.0  # signal-to-error ratio of equal tensors, in dB
WORST = 10  # tensors in the printed table


def tensor_reader(engine: str, graph: TypedGraph, names: Sequence[str]) -> TensorReader:
    """Open a reader on an engine.

    Args:
        engine: Name of the engine.
        graph: Typed ONNX graph.
        names: Tensors to read, any node outputs; see `groups` for which can be read together.

    Raises:
        ConfigError: Engine that cannot return inner tensors.
        EngineError: Tensor that is not the output of a node, or graph that the engine refuses.
    """
    return _reader_class(engine)(graph.with_outputs(names), names)


def groups(engine: str, graph: TypedGraph, names: Sequence[str]) -> list[list[str]]:
    """Split tensors into groups that the engine can read in one run; in some, each tensor of an int8 graph is alone."""
    quantised = "QuantizeLinear" in graph.operator_types()
    alone = quantised and not _reader_class(engine).reads_int8_together
    return [[name] for name in names] if alone else [list(names)]


def _reader_class(engine: str) -> type[TensorReader]:
    reader = get_engine(engine).tensor_reader
    if reader is None:
        raise ConfigError(f"{engine} cannot return inner tensors; expected one of: {names_with('tensor_reader')}")
    return reader


def common_tensors(graph: TypedGraph, other: TypedGraph) -> list[str]:
    """Return the floating-point tensors with the same name in both graphs, in the order of the first."""
    in_other = {value.name for value in other.float_tensors()}
    return [name_of(value) for value in graph.float_tensors() if value.name in in_other]


@dataclass(frozen=True)
class TensorError:
    """Error of a tensor against its reference, over all images."""

    name: str
    sqnr: float  # signal-to-error ratio, in dB
    cosine: float  # cosine similarity
    largest: float  # largest absolute error
    peak: float  # largest magnitude of the reference


@dataclass(frozen=True)
class TensorReport(Result):
    """Tensor-by-tensor comparison; true if no tensor diverged."""

    images: int
    threshold: float  # dB
    tensors: tuple[TensorError, ...]  # in topological order
    engine: str = ""  # engine of the candidate
    title: str = ""
    rows: int | None = WORST  # tensors in the printed table, the worst; None: all, in topological order

    @property
    def first(self) -> TensorError | None:
        """First tensor that diverged."""
        return next((tensor for tensor in self.tensors if tensor.sqnr < self.threshold), None)

    def __bool__(self) -> bool:
        return self.first is None

    def tables(self) -> list[Table]:
        """Return the worst tensors, or all of them."""
        listed = self.tensors
        if self.rows is not None:
            listed = tuple(sorted(self.tensors, key=lambda tensor: tensor.sqnr)[: self.rows])
        rows = tuple(
            (tensor.name, f"{tensor.sqnr:.1f}", f"{tensor.cosine:.5f}", f"{tensor.largest:.3g}", f"{tensor.peak:.3g}")
            for tensor in listed
        )
        part = "" if len(listed) == len(self.tensors) else f", worst {len(listed)} of {len(self.tensors)}"
        return [Table(self.title, (f"tensor{part}", "dB", "cosine", "max error", "max value"), rows)]

    def notes(self) -> list[str]:
        """Return the verdict."""
        first = self.first
        if first is None:
            return [f"the signal-to-error ratio of every tensor is at least {self.threshold:g} dB"]
        return [f"first to diverge: {first.name}, {first.sqnr:.1f} dB; expected at least {self.threshold:g} dB"]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data: engine, first diverged tensor, and all tensors."""
        return plain_data(
            {
                "engine": self.engine,
                "first": self.first,
                "images": self.images,
                "threshold": self.threshold,
                "tensors": self.tensors,
            }
        )


def compare_graphs(
    candidate: tuple[str, TypedGraph],
    reference: tuple[str, TypedGraph],
    batches: Sequence[Images],
    threshold: float,
    advance: Advance = ignore,
) -> TensorReport:
    """Compare all floating-point tensors that have the same name in two graphs.

    Args:
        candidate: Engine and typed graph to check.
        reference: Engine and typed graph to compare with. All its tensors are held in memory.
        batches: Input images.
        threshold: Smallest signal-to-error ratio of a tensor that has not diverged, in dB.
        advance: Callback that receives the number of tensors just finished.

    Raises:
        DataError: No images.
        EngineError: No common tensor.
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
        reader = tensor_reader(*candidate, group)
        computed = [reader.read(batch) for batch in batches]
        for name in group:
            errors[name] = _error(name, [part[name] for part in computed], [part[name] for part in expected])
        advance(len(group))
    return TensorReport(sum(len(batch) for batch in batches), threshold, tuple(errors.values()), candidate[0])


def plot_tensors(report: TensorReport, path: Path) -> None:
    """Draw the signal-to-error ratio of all tensors along the network.

    Args:
        report: Comparison to draw.
        path: Picture to write: `.svg`, `.png` or `.pdf`.

    Raises:
        EngineUnavailableError: Matplotlib is not installed.
    """
    require("matplotlib", "report", "a plot")
    from matplotlib.figure import Figure

    names = [tensor.name for tensor in report.tensors]
    figure = Figure(figsize=(max(8.0, 0.13 * len(names) + 3), 5.5), layout="constrained")
    axes = figure.subplots()
    axes.plot([tensor.sqnr for tensor in report.tensors], ".-")
    axes.axhline(report.threshold, linestyle="--", color="grey")
    if report.first is not None:
        axes.axvline(names.index(report.first.name), color="tab:red", label=f"first: {report.first.name}")
        axes.legend()
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=5)
    axes.set_ylabel("signal-to-error ratio, dB")
    axes.set_title(report.title)
    axes.margins(x=0.01)
    write_atomically(path, picture_file(figure, path.suffix))


def _error(
    name: str, candidate_parts: Sequence[npt.NDArray[Any]], reference_parts: Sequence[npt.NDArray[Any]]
) -> TensorError:
    """Compute the error of a tensor from its batches, in float64."""
    candidate, reference = (
        np.concatenate([part.astype(np.float64).ravel() for part in parts])
        for parts in (candidate_parts, reference_parts)
    )
    difference = candidate - reference
    signal, error = float(reference @ reference), float(difference @ difference)
    peak = float(np.abs(reference).max())
    if not math.isfinite(error):  # a comparison with NaN is false, so that NaN would pass the threshold
        return TensorError(name, sqnr=-BEST, cosine=0.0, largest=math.inf, peak=peak)
    lengths = float(np.sqrt((candidate @ candidate) * signal))
    return TensorError(
        name,
        sqnr=BEST if error <= ZERO else float(np.clip(10 * np.log10(max(signal, ZERO) / error), -BEST, BEST)),
        cosine=float(candidate @ reference) / lengths if lengths > ZERO else float(error <= ZERO),
        largest=float(np.abs(difference).max()),
        peak=peak,
    )
