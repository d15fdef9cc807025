"""`fer-edge calibrate`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from fer_edge.cli.options import Json, Layout, Limit, Split, Threads, refuse_given
from fer_edge.cli.plot_option import check_plot

if TYPE_CHECKING:
    from fer_edge.calibration.images import CalibrationImages, CalibrationSet
    from fer_edge.calibration.ranges import Ranges
    from fer_edge.calibration.search import SearchResult

CHOICE = "Which images"
BUDGET = "Accuracy budget"
ENGINE = "openvino"  # accuracy is measured on, unless told otherwise


class _Budget(NamedTuple):
    """How far accuracy may drop, and how that is measured."""

    max_drop: float
    engine: str
    threads: int | None
    state: Path


def calibrate(
    checkpoint: Annotated[Path, typer.Argument(help="A fer-edge checkpoint (.safetensors).")],
    data: Annotated[Path, typer.Argument(help="Data set; images are chosen from its training split.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Activation ranges to write (.json).")],
    image_set: Annotated[
        Path | None,
        typer.Option(
            "--set",
            help="Calibration set (.json): read if it is there, else chosen and written.",
            rich_help_panel=CHOICE,
        ),
    ] = None,
    images: Annotated[int, typer.Option(min=1, help="How many to choose.", rich_help_panel=CHOICE)] = 512,
    seed: Annotated[int, typer.Option(min=0, help="Of the choice.", rich_help_panel=CHOICE)] = 0,
    method: Annotated[str, typer.Option(help="minmax, moving-average, percentile, entropy or mse.")] = "moving-average",
    layers: Annotated[
        list[str] | None,
        typer.Option(help="Kind of layer to be int8: conv, depthwise, linear, attention, head; default: conv, linear."),
    ] = None,
    layout: Layout = "auto",
    max_drop: Annotated[
        float | None, typer.Option(min=0, help="Largest drop of accuracy, in points.", rich_help_panel=BUDGET)
    ] = None,
    split: Split = "valid",
    limit: Limit = None,
    engine: Annotated[
        str | None,
        typer.Option(help=f"Engine that accuracy is measured on; default: {ENGINE}.", rich_help_panel=BUDGET),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(help="Measurements of the search; default: beside the ranges.", rich_help_panel=BUDGET),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="Picture of the search to write (.svg, .png or .pdf).", callback=check_plot, rich_help_panel=BUDGET
        ),
    ] = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Measure activation ranges on real images, for int8 and fp16.

    With --max-drop, the harm of each layer is measured too, on the split that --split names, and the fewest layers
    that keep accuracy within the budget are marked to stay in float. A search that was stopped goes on.

    Example: fer-edge calibrate edge.safetensors ferplus/ -o edge.ranges.json --max-drop 0.3
    """
    if max_drop is None:
        refuse_given("the search", "add --max-drop", engine=engine, plot=plot, limit=limit, state=state)
    from fer_edge.cli.output import console, err_console, print_json, print_notes
    from fer_edge.errors import EngineUnavailable

    try:
        from fer_edge.calibration.images import read_set
        from fer_edge.calibration.ranges import DEFAULT_KINDS, check_choices
        from fer_edge.evaluation.dataset import image_set as labelled
        from fer_edge.export.onnx_graph import onnx_from_checkpoint
        from fer_edge.model.checkpoint import load_checkpoint
    except ImportError as error:
        raise EngineUnavailable(f'calibrating needs PyTorch ({error}); run: pip install "fer-edge[export]"') from error
    kinds = tuple(layers) if layers else DEFAULT_KINDS
    check_choices(method, kinds)
    known = None if image_set is None or not image_set.exists() else read_set(image_set)
    chosen = known or _choose(data, layout, images, seed)
    opened = chosen.open(data)
    with err_console().status(f"exporting {checkpoint}"):
        loaded = load_checkpoint(checkpoint)
        model = onnx_from_checkpoint(loaded)
    ranges, result = _measure(model, checkpoint, opened, method, kinds), None
    if image_set is not None and known is None:
        chosen.save(image_set)
    if max_drop is not None:
        info = loaded.info
        found = labelled(data, info.labels, info.words, split, layout).limited(limit)  # type: ignore[arg-type]
        print_notes(found.left_out)
        budget = _Budget(max_drop, engine or ENGINE, threads, state or out.with_suffix(".search.json"))
        ranges, result = _search(model, ranges, found, budget)
    ranges.save(out)
    if plot is not None and result is not None:
        from fer_edge.calibration.plot import plot_search

        plot_search(result, plot)
    if json:
        print_json({"ranges": out, "sha256": ranges.sha256(), **_described(ranges, result)})
        return
    console().print(
        f"{out}: {len(ranges.tensors)} ranges by {method}, on {len(chosen)} images of {chosen.source}", soft_wrap=True
    )
    if result is not None:
        _print_search(result)


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
    from fer_edge.calibration.observe import passes
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
    from fer_edge.calibration.search import find_kept
    from fer_edge.cli.output import err_console, progress
    from fer_edge.errors import EngineError

    with err_console().status("running the float graph"):
        scorer = Scorer(model, images, budget.engine, budget.threads)
    with progress("layers", len(chosen_layers(Graph.parse(model), ranges))) as advance:
        result = find_kept(model, ranges, scorer, budget.max_drop, state=budget.state, key=scorer.key, progress=advance)
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


def _described(ranges: Ranges, result: SearchResult | None) -> dict[str, Any]:
    """For machines: all but the ranges themselves."""
    described: dict[str, Any] = {
        "method": ranges.method, "images": ranges.images, "layers": ranges.kinds, "kept": ranges.kept,
    }  # fmt: skip
    if result is not None:
        described |= vars(result)
    return described


def _print_search(result: SearchResult) -> None:
    from fer_edge.cli.output import console, print_table

    total = sum(result.macs.values())
    rows = [
        (
            name, f"{score.divergence:.2e}", f"{score.drop:+.2f}", f"{score.agreement:.2f}",
            f"{100 * result.macs[name] / total:.1f}", "float" if name in result.kept else "int8",
        )
        for name, score in sorted(result.alone.items(), key=lambda item: -item[1].divergence)
    ]  # fmt: skip
    columns = ("layer", "divergence", "drop", "agree %", "multiplications %", "stays")
    print_table("each layer in int8 alone, the most harmful first", columns, rows)
    steps = [
        (len(step.kept), f"{step.score.divergence:.2e}", f"{step.score.drop:+.2f}", f"{step.score.agreement:.2f}")
        for step in (*result.together, *result.beyond)
    ]
    print_table("together", ("layers in float", "divergence", "drop", "agree %"), steps)
    console().print(f"budget of {result.max_drop:g} points met with {len(result.kept)} layers in float")
