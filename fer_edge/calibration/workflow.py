"""The steps of a calibration: choose images, measure ranges, search for float layers, write and plot the results."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fer_edge._files import write_together
from fer_edge._require import require
from fer_edge.calibration.histograms import measure, passes
from fer_edge.calibration.images import CalibrationImages, CalibrationSet, choose_images, read_set
from fer_edge.calibration.request import COUNT, CalibrationRequest
from fer_edge.calibration.score import Scorer, drop_interval
from fer_edge.calibration.sensitivity import SearchResult, find_float_layers
from fer_edge.choices import DEFAULT_ENGINE
from fer_edge.data.images import ImageSet
from fer_edge.data.layouts import read_split
from fer_edge.data.sources import check_split, image_set
from fer_edge.engines.base import RunOptions
from fer_edge.engines.registry import get_engine
from fer_edge.errors import EngineError
from fer_edge.evaluation.pictures import picture_file
from fer_edge.graph.qdq import check_layers, chosen_layers
from fer_edge.graph.ranges import Ranges
from fer_edge.graph.typed_graph import TypedGraph
from fer_edge.progress import Progress
from fer_edge.results import Result, Table, plain_data

LOG = logging.getLogger("fer_edge")
WORST = 10  # layers that the table lists by default
FLOOR = 1e-9  # smallest divergence on the logarithmic axis


@dataclass(frozen=True)
class CalibrationResult(Result):
    """Activation ranges, and the search for float layers if there was a budget."""

    ranges: Ranges
    out: Path | None  # file of the ranges; None: not written
    calibration_set: CalibrationSet
    search: SearchResult | None = None
    all_layers: bool = False  # whether the table lists every layer, not only the 10 of the largest divergence

    def to_dict(self) -> dict[str, Any]:
        """Return file, hash and description of the ranges, and the figures of the search."""
        data: dict[str, Any] = {
            "ranges": self.out,
            "sha256": self.ranges.sha256(),
            "method": self.ranges.method,
            "images": self.ranges.images,
            "layer_kinds": self.ranges.layer_kinds,
            "float_layers": self.ranges.float_layers,
        }
        if self.search is not None:
            images = self._scored_images()
            data |= asdict(self.search)
            data |= {
                "images_scored": images,
                "resolution": 100 / images,
                "images_allowed": images_allowed(images, self.search.max_drop),
                "drop_interval": drop_interval(self.search.together[-1].score, images),
            }
        return plain_data(data)

    def tables(self) -> Sequence[Table]:
        if self.search is None:
            return ()
        return self._layer_table(self.search), self._step_table(self.search)

    def notes(self) -> Sequence[str]:
        images = self.ranges.images
        summary = (
            f"{len(self.ranges.tensors)} ranges by {self.ranges.method}, on {images['count']} images of "
            f"{images['source']}"
        )
        lines = [summary if self.out is None else f"{self.out}: {summary}"]
        if self.search is not None:
            layers, scored = len(self.search.alone), self._scored_images()
            if not self.all_layers and layers > WORST:
                lines.append(f"the worst {WORST} of {layers} layers are listed; --all lists every layer")
            lines.append(
                f"the budget of {self.search.max_drop:g} points is met with {len(self.search.float_layers)} layers in "
                f"float; +/- is half of a drop's 95 % interval, at least one image ({100 / scored:.2g} points)"
            )
        return lines

    def _scored_images(self) -> int:
        return int(self.ranges.search["images"])

    def _layer_table(self, search: SearchResult) -> Table:
        total = sum(search.macs.values())
        ordered = sorted(search.alone.items(), key=lambda item: -item[1].divergence)
        rows = tuple(
            (
                name,
                f"{score.divergence:.2e}",
                f"{score.drop:+.2f}",
                f"{score.agreement:.2f}",
                f"{100 * search.macs[name] / total:.1f}",
                "float" if name in search.float_layers else "int8",
            )
            for name, score in (ordered if self.all_layers else ordered[:WORST])
        )
        columns = ("layer", "divergence", "drop", "agree %", "macs %", "result")
        return Table("one layer in int8, in order of divergence", columns, rows)

    def _step_table(self, search: SearchResult) -> Table:
        rows = tuple(
            (
                len(step.float_layers),
                f"{step.score.divergence:.2e}",
                f"{step.score.drop:+.2f}",
                f"{drop_interval(step.score, self._scored_images()):.2f}",
                f"{step.score.agreement:.2f}",
            )
            for step in (*search.together, *search.beyond)
        )
        return Table(
            "all layers in int8, except the ones of the largest divergence",
            ("layers in float", "divergence", "drop", "+/-", "agree %"),
            rows,
        )


@dataclass(frozen=True)
class FloatModel:
    """Float deploy graph of a checkpoint, and the labels that images are matched with."""

    graph: TypedGraph
    checkpoint: str  # SHA-256 of the checkpoint
    labels: tuple[str, ...]
    words: tuple[str, ...]


def open_images(request: CalibrationRequest, progress: Progress) -> CalibrationImages:
    """Read the calibration set, or choose one if its file does not exist, and check its images.

    Args:
        request: Checked arguments.
        progress: Progress of the choice.

    Raises:
        ConfigError: Split of a data set without splits.
        DataError: Malformed calibration set, or missing or unfit images.
    """
    check_split(request.data, request.split, request.layout)
    if request.set_exists and request.calibration_set is not None:
        return read_set(request.calibration_set).open(request.data)
    count = request.count or COUNT
    with progress("choosing images", count) as advance:
        data = read_split(request.data, "train", request.layout)
        images = choose_images(data, request.data, count, request.seed or 0, advance)
    images.faces.log_left_out()
    return images


def calibrate_graph(
    model: FloatModel, images: CalibrationImages, request: CalibrationRequest, progress: Progress
) -> CalibrationResult:
    """Calibrate a float graph, and write all files at the end, together or not at all.

    Args:
        model: The float deploy graph.
        images: Images of the calibration set.
        request: Checked arguments.
        progress: Progress of each step.

    Raises:
        ConfigError: Unknown layer in `float_layers`.
        DataError: Missing or unlabelled images for the search.
        EngineError: Budget that no choice of float layers meets.
        NonFiniteError: NaN or infinity in the model's activations or outputs.
        FerEdgeError: File that cannot be written.
    """
    check_layers(model.graph, request.float_layers)
    scored = None if request.max_drop is None else _scored_images(model, request)
    with progress("measuring ranges", len(images.set) * passes(request.method)) as advance:
        ranges = measure(model.graph, model.checkpoint, images, request.method, request.layer_kinds, advance)
    ranges = ranges.with_float_layers(request.float_layers)
    search = None
    if scored is not None and request.max_drop is not None:
        ranges, search = _search(model.graph, ranges, scored, request, progress)
    _write(request, ranges, images.set, search)
    return CalibrationResult(ranges, request.out, images.set, search)


def images_allowed(images: int, max_drop: float) -> int:
    """Return the number of images that may be lost within a budget of `max_drop` points."""
    return int(images * max_drop / 100 + 1e-9)


def resolution(images: int, max_drop: float) -> str:
    """Describe the meaning of an accuracy budget for a number of images.

    Args:
        images: Number of images that accuracy is measured on.
        max_drop: Budget, in points.
    """
    allowed = images_allowed(images, max_drop)
    text = f"{images} images resolve {100 / images:.2g} points; a budget of {max_drop:g} allows {allowed} to be lost"
    return f"{text}: use more images or a larger budget" if not allowed and max_drop else text


def _scored_images(model: FloatModel, request: CalibrationRequest) -> ImageSet:
    """Return the labelled images that accuracy is measured on."""
    images = image_set(request.data, model.labels, model.words, request.split, request.layout)
    images.log_left_out()
    return images.limit(request.eval_count)


def _search(
    graph: TypedGraph, ranges: Ranges, images: ImageSet, request: CalibrationRequest, progress: Progress
) -> tuple[Ranges, SearchResult]:
    """Find the float layers within the budget.

    Raises:
        EngineError: Budget that no choice of float layers meets.
    """
    assert request.max_drop is not None
    LOG.info(resolution(len(images), request.max_drop))
    options, engine = RunOptions(threads=request.threads, device=request.device or 0), request.engine or DEFAULT_ENGINE
    with progress("running the float graph", len(images)) as advance:
        scorer = Scorer(graph, images, engine, options, advance)
    unsigned = get_engine(engine).unsigned_int8
    with progress("measuring layers", len(chosen_layers(graph, ranges, unsigned=unsigned))) as advance:
        result = find_float_layers(
            graph,
            ranges,
            scorer,
            request.max_drop,
            state=request.state,
            key=scorer.key,
            unsigned=unsigned,
            progress=advance,
        )
    step = result.together[-1]
    if not result.met:
        saved = "" if request.state is None else f". The measurements are in {request.state}"
        raise EngineError(
            f"accuracy drops by {step.score.drop:.2f} points with {len(step.float_layers)} layers in float; "
            f"{request.max_drop:g} are allowed: use a larger budget or another method{saved}"
        )
    score = {name: round(value, 6) for name, value in asdict(step.score).items()}
    evaluation = {"images": len(images), "source": images.source, "sha256": scorer.sha256}
    outcome = {"max_drop": request.max_drop, "engine": engine, **evaluation, **score}
    return ranges.with_float_layers(step.float_layers, **outcome), result


def _write(request: CalibrationRequest, ranges: Ranges, chosen: CalibrationSet, search: SearchResult | None) -> None:
    """Write the ranges, a newly chosen set and the plot: all of them or none."""
    files: dict[Path, bytes] = {}
    if request.out is not None:
        files[request.out] = ranges.to_json().encode()
    if request.calibration_set is not None and not request.set_exists:
        files[request.calibration_set] = chosen.to_json().encode()
    if request.plot is not None and search is not None:
        files[request.plot] = plot_search(search, request.plot.suffix)
    write_together(files)


def plot_search(result: SearchResult, suffix: str) -> bytes:
    """Plot the divergence that each layer causes alone, and the accuracy drop over the number of float layers.

    Args:
        result: Result of the search.
        suffix: Format of the picture: `.svg`, `.png` or `.pdf`.

    Raises:
        EngineUnavailableError: Matplotlib is not installed.
    """
    figure_module = require("matplotlib.figure", "report", "plotting")
    names = list(result.alone)
    figure = figure_module.Figure(figsize=(max(8.0, 0.22 * len(names) + 4), 6.5), layout="constrained")
    alone, together = figure.subplots(2, 1, gridspec_kw={"height_ratios": [3, 2]})
    float_layers = set(result.float_layers)
    colours = ["tab:red" if name in float_layers else "tab:blue" for name in names]
    alone.bar(range(len(names)), [max(result.alone[name].divergence, FLOOR) for name in names], color=colours)
    alone.set_yscale("log")
    alone.set_ylabel("divergence, nats")
    alone.set_title("One layer in int8, all others in float" + ("; red: stays in float" if float_layers else ""))
    alone.set_xticks(range(len(names)), names, rotation=90, fontsize=6)
    alone.margins(x=0.01)
    steps = [*result.together, *result.beyond]
    counts = [len(step.float_layers) for step in steps]
    together.plot(counts, [step.score.drop for step in steps], "o-")
    together.plot(len(float_layers), result.together[-1].score.drop, "o", color="tab:red", label="chosen")
    together.axhline(result.max_drop, linestyle="--", color="grey", label="budget")
    together.set_xlabel("layers in float, in order of divergence")
    together.set_ylabel("accuracy drop, points")
    together.set_xlim(-0.5, max(counts) + 0.5)
    together.xaxis.get_major_locator().set_params(integer=True)
    together.legend()
    return picture_file(figure, suffix)
