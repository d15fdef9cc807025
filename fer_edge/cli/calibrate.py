"""`fer-edge calibrate`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from fer_edge.choices import EngineName
from fer_edge.choices import Split as SplitName
from fer_edge.cli.calibrate_display import WORST
from fer_edge.cli.option_checks import (
    check_out_file,
    check_outputs,
    check_split,
    not_negative,
    plot_file,
    refuse_given,
    shipped_path,
)
from fer_edge.cli.options import CalibrationMethod, CheckpointArgument, Count, Json, LayerKinds, Layout, Split, Threads

if TYPE_CHECKING:
    from fer_edge.calibration.images import CalibrationImages, CalibrationSet
    from fer_edge.calibration.ranges import Ranges
    from fer_edge.calibration.sensitivity import SearchResult
    from fer_edge.evaluation.dataset import ImageSet
    from fer_edge.model.checkpoint import CheckpointInfo

CHOICE = "Which images"
BUDGET = "Accuracy budget"
ENGINE = "openvino"  # accuracy is measured on, unless told otherwise
IMAGES = 512  # chosen, unless told otherwise


class _Budget(NamedTuple):
    """How far accuracy may drop, and how that is measured."""

    max_drop: float
    engine: str
    threads: int | None
    state: Path


def calibrate(
    checkpoint: CheckpointArgument,
    data: Annotated[Path, typer.Argument(help="Data set; images are chosen from its training split.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Activation ranges to write (.json).")],
    image_set: Annotated[
        Path | None,
        typer.Option(
            "--set",
            help="Calibration set (.json; ferplus-512 is shipped): read if it is there, else chosen and written.",
            callback=shipped_path("calibration set"),
            rich_help_panel=CHOICE,
        ),
    ] = None,
    images: Annotated[
        int | None, typer.Option(min=1, help=f"How many to choose; default: {IMAGES}.", rich_help_panel=CHOICE)
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of the choice; default: 0.", rich_help_panel=CHOICE)
    ] = None,
    method: CalibrationMethod = "moving-average",
    layers: LayerKinds = None,
    layout: Layout = "auto",
    max_drop: Annotated[
        float | None,
        typer.Option(help="Largest drop of accuracy, in points.", callback=not_negative, rich_help_panel=BUDGET),
    ] = None,
    split: Split = None,
    limit: Count = None,
    engine: Annotated[
        EngineName | None,
        typer.Option(help=f"Engine that measures accuracy; default: {ENGINE}.", rich_help_panel=BUDGET),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(help="Measurements of the search; default: beside the ranges.", rich_help_panel=BUDGET),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="Picture of the search to write (.svg, .png or .pdf).", callback=plot_file, rich_help_panel=BUDGET
        ),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help=f"List every layer, not the worst {WORST} alone.", rich_help_panel=BUDGET)
    ] = False,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Measure activation ranges on real images, for int8 and fp16.

    With --max-drop, the harm of each layer is measured too, on the split that --split names, and the fewest layers
    that keep accuracy within the budget are marked to stay in float. A search that was stopped goes on.

    Example: fer-edge calibrate edge.safetensors ferplus/ -o edge.ranges.json --max-drop 0.3
    """
    if max_drop is None:
        refuse_given("the search", "add --max-drop", engine=engine, plot=plot, limit=limit, split=split, state=state)
        refuse_given("the search", "add --max-drop", threads=threads, all=every or None)
    present = image_set is not None and image_set.exists()
    if present:
        refuse_given(f"choosing a set, and {image_set} is there", "name another --set", images=images, seed=seed)
        if max_drop is None:
            refuse_given("data sets", f"{image_set} names its images", layout=None if layout == "auto" else layout)
    check_out_file(out, ".json", "a file of ranges")
    state = None if max_drop is None else state or out.with_suffix(".search.json")
    outputs = {"--out": out, "--state": state, "--plot": plot, "--set": None if present else image_set}
    check_outputs(outputs, checkpoint, data, image_set if present else None)
    from fer_edge.cli.calibrate_display import describe, print_result
    from fer_edge.cli.output import err_console, print_json
    from fer_edge.errors import EngineUnavailableError

    try:
        from fer_edge.calibration.images import read_set
        from fer_edge.calibration.ranges import DEFAULT_KINDS, check_choices
        from fer_edge.export.onnx_graph import onnx_from_checkpoint
        from fer_edge.model.checkpoint import load_checkpoint
    except ImportError as error:
        raise EngineUnavailableError(
            f'calibrating needs PyTorch ({error}); run: pip install "fer-edge[export]"'
        ) from error
    kinds = tuple(layers) if layers else DEFAULT_KINDS
    check_choices(method, kinds)
    known = read_set(image_set) if present and image_set is not None else None
    with err_console().status(f"exporting {checkpoint}"):
        loaded = load_checkpoint(checkpoint)
        model = onnx_from_checkpoint(loaded)
    budget, scored = None, None
    if max_drop is not None and state is not None:
        budget = _Budget(max_drop, engine or ENGINE, threads, state)
        scored = _labelled(data, loaded.info, split, layout, limit)
    chosen = known or _choose(data, layout, IMAGES if images is None else images, seed or 0)
    ranges, result = _measure(model, checkpoint, chosen.open(data), method, kinds), None
    if budget is not None:
        ranges, result = _search(model, ranges, scored, budget)
    _write(out, ranges, None if known else image_set, chosen, plot, result)
    if json:
        print_json({"ranges": out, "sha256": ranges.sha256(), **describe(ranges, result)})
    else:
        print_result(out, ranges, result, every=every)


def _labelled(data: Path, info: CheckpointInfo, split: SplitName | None, layout: str, limit: int | None) -> ImageSet:
    """Images that accuracy is measured on."""
    from fer_edge.cli.output import print_notes
    from fer_edge.evaluation.dataset import image_set

    found = image_set(data, info.labels, info.words, check_split(split, data, layout), layout)
    print_notes(found.left_out)
    return found.limited(limit)


def _write(
    out: Path,
    ranges: Ranges,
    image_set: Path | None,
    chosen: CalibrationSet,
    plot: Path | None,
    result: SearchResult | None,
) -> None:
    """Write the ranges, the set where it was chosen now, and the picture: all of them or none."""
    from tempfile import TemporaryDirectory

    from fer_edge._files import write_together

    files = {out: ranges.to_json().encode()}
    if image_set is not None:
        files[image_set] = chosen.to_json().encode()
    if plot is not None and result is not None:
        from fer_edge.calibration.plot import plot_search

        with TemporaryDirectory(prefix="fer-edge-") as folder:
            drawn = Path(folder, f"plot{plot.suffix}")
            plot_search(result, drawn)
            files[plot] = drawn.read_bytes()
    write_together(files)


def _choose(data: Path, layout: str, count: int, seed: int) -> CalibrationSet:
    from fer_edge.calibration.images import choose_images
    from fer_edge.cli.output import print_notes, progress
    from fer_edge.data.layouts import read_split

    with progress("choosing", count) as advance:
        choice = choose_images(read_split(data, "train", layout), data, count, seed, advance)
    print_notes(choice.passed_over)
    return choice.set


def _measure(model: bytes, checkpoint: Path, images: CalibrationImages, method: Any, kinds: Any) -> Ranges:
    from fer_edge._files import file_sha256
    from fer_edge.calibration.histograms import passes
    from fer_edge.calibration.ranges import measure
    from fer_edge.cli.output import progress

    with progress("observing", len(images.set) * passes(method)) as advance:
        return measure(model, file_sha256(checkpoint), images, method, kinds, advance)


def _search(model: bytes, ranges: Ranges, images: Any, budget: _Budget) -> tuple[Ranges, SearchResult]:
    """Layers to keep in float, within the budget.

    Raises:
        EngineError: No choice of layers keeps it.
    """
    from fer_edge.calibration.graph import Graph
    from fer_edge.calibration.qdq import chosen_layers
    from fer_edge.calibration.score import Scorer
    from fer_edge.calibration.sensitivity import find_float_layers
    from fer_edge.cli.calibrate_display import resolution
    from fer_edge.cli.output import err_console, print_note, progress
    from fer_edge.errors import EngineError

    print_note(resolution(len(images), budget.max_drop))
    with err_console().status("running the float graph"):
        scorer = Scorer(model, images, budget.engine, budget.threads)
    with progress("layers", len(chosen_layers(Graph.parse(model), ranges))) as advance:
        result = find_float_layers(
            model, ranges, scorer, budget.max_drop, state=budget.state, key=scorer.key, progress=advance
        )
    if not result.met:
        last = result.together[-1]
        raise EngineError(
            f"accuracy drops by {last.score.drop:.2f} points with {len(last.kept)} layers in float; "
            f"{budget.max_drop:g} are allowed: take a larger budget or another --method. "
            f"The measurements are in {budget.state}"
        )
    outcome = result.together[-1]
    score = {name: round(value, 6) for name, value in asdict(outcome.score).items()}
    found = {"max_drop": budget.max_drop, "engine": budget.engine, "images": len(images), **score}
    return ranges.keeping(outcome.kept, **found), result
