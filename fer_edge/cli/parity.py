"""`fer-edge parity`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from fer_edge.cli.option_checks import check_outputs, check_split, not_negative, plot_file, refuse_given, shipped_path
from fer_edge.cli.options import AllowHostCode, BundleArgument, Count, Json, Layout, Runner, Split, Threads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fer_edge.evaluation.dataset import ImageSet
    from fer_edge.evaluation.parity import ParityReport
    from fer_edge.evaluation.tensors import TensorReport

LAYERS = "Tensor by tensor"
IMAGES = 256  # compared, unless told otherwise
LAYER_IMAGES = 16  # with every tensor of each in memory
WORST = 10  # tensors that are listed


def parity(
    bundle: BundleArgument,
    reference: Annotated[
        Path,
        typer.Option(
            help="The checkpoint the bundle was built from, edge for the shipped one; with --layers, another bundle "
            "may be it.",
            callback=shipped_path("checkpoint"),
        ),
    ],
    images: Annotated[Path, typer.Option(help="Folder of real images; labelled ones give accuracy too.")],
    split: Split = None,
    layout: Layout = "auto",
    engine: Runner = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            help="Largest relative error of logits and absolute one of probabilities; "
            "default: 1e-4 for fp32, 2e-2 for fp16, 0.25 for int8.",
            callback=not_negative,
        ),
    ] = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="Compare every tensor inside, on 16 images.", rich_help_panel=LAYERS)
    ] = False,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="A tensor has diverged below so many dB; default: 80 for fp32, 40 for fp16, 12 for int8.",
            callback=not_negative,
            rich_help_panel=LAYERS,
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="Picture along the network to write (.svg, .png or .pdf).",
            callback=plot_file,
            rich_help_panel=LAYERS,
        ),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help=f"List every tensor, not the worst {WORST} alone.", rich_help_panel=LAYERS)
    ] = False,
    threads: Threads = None,
    allow_host_code: AllowHostCode = False,
    limit: Count = None,
    json: Json = False,
) -> None:
    """Compare a bundle's engine with PyTorch, stage by stage.

    With --layers, the typed graph on its engine with the fp32 graph, tensor by tensor: the first that diverges is
    named. Exits with 1 if a stage fails or a tensor diverges.

    Example: fer-edge parity edge.fer --reference edge.safetensors --images faces/
    """
    if layers:
        about = "outputs, which --layers does not compare"
        refuse_given(about, "leave out --layers", tolerance=tolerance, threads=threads)
    else:
        refuse_given("what --layers compares", "add --layers", plot=plot, threshold=threshold, all=every or None)
    check_outputs({"--plot": plot}, bundle, reference, images)
    from fer_edge.cli.output import print_json

    faces = Faces(images, check_split(split, images, layout), layout, limit or (LAYER_IMAGES if layers else IMAGES))
    if layers:
        _compare_layers(bundle, reference, faces, engine, threshold, plot, every, json)
        return
    name, report = measure_parity(bundle, reference, faces, engine, threads, allow_host_code, tolerance=tolerance)
    if json:
        print_json({"engine": name, "passed": report.passed, **vars(report)})
    else:
        print_parity(name, report)
    if not report:
        raise typer.Exit(1)


class Faces(NamedTuple):
    """Images to compare on."""

    root: Path
    split: str = "valid"
    layout: str = "auto"
    limit: int = IMAGES

    def open(self, labels: Sequence[str], words: Sequence[str]) -> ImageSet:
        """So many of them, with indices into a model's labels."""
        from fer_edge.cli.output import print_notes
        from fer_edge.evaluation.dataset import image_set

        found = image_set(self.root, labels, words, self.split, self.layout)  # type: ignore[arg-type]
        print_notes(found.left_out)
        return found.limited(self.limit)


def measure_parity(
    bundle: Path,
    reference: Path,
    images: Faces,
    engine: str | None = None,
    threads: int | None = None,
    allow_host_code: bool = False,
    *,
    device: int = 0,
    tolerance: float | None = None,
) -> tuple[str, ParityReport]:
    """The engine's name, and how a bundle on it compares with its checkpoint in PyTorch.

    Raises:
        FerEdgeError: A file cannot be read, or an engine failed.
    """
    from dataclasses import replace

    from fer_edge.cli.output import progress
    from fer_edge.evaluation.open_model import open_model
    from fer_edge.evaluation.parity import GATES, compare, compare_labels

    candidate = open_model(bundle, engine, threads, device, allow_host_code=allow_host_code)
    truth = open_model(reference, "pytorch", threads)
    data = images.open(truth.labels, truth.words)
    gate = GATES[candidate.precision]
    gate = gate if tolerance is None else replace(gate, tolerance=tolerance)
    before = (compare_labels(candidate, truth),)
    with candidate.runner, truth.runner, progress("comparing", len(data)) as advance:
        report = compare(candidate.runner, truth.runner, data, gate=gate, before=before, progress=advance)
    return candidate.engine, report


def print_parity(engine: str, report: ParityReport) -> None:
    """Every stage, and the verdict."""
    from fer_edge.cli.output import console, print_table

    rows = [(stage.name, "pass" if stage.passed else "FAIL", stage.detail) for stage in report.stages]
    print_table(f"{engine} against PyTorch, {report.images} images", ("stage", "", "found"), rows)
    console().print("parity holds" if report else "parity FAILS")


def _compare_layers(
    path: Path,
    reference: Path,
    images: Faces,
    engine: str | None,
    threshold: float | None,
    plot: Path | None,
    every: bool,
    json: bool,
) -> None:
    from fer_edge.bundle import MODEL, Bundle
    from fer_edge.cli.output import print_json, progress
    from fer_edge.evaluation.tensors import DIVERGED, common_tensors, compare_tensors, plot_tensors

    bundle = Bundle.open(path)
    manifest, name = bundle.manifest, bundle.entry(engine).engine
    expected = _fp32_graph(reference) if reference.suffix == ".safetensors" else Bundle.open(reference).read(MODEL)
    batches = [batch for batch, _ in images.open(manifest.labels, manifest.words).batches(8)]
    least = DIVERGED[manifest.precision] if threshold is None else threshold
    graph = bundle.read(MODEL)
    with progress("tensors", len(common_tensors(expected, graph))) as advance:
        report = compare_tensors((name, graph), ("onnxruntime", expected), batches, least, advance)
    title = f"{path.name} on {name} {manifest.precision} against {reference.name}, {report.images} images"
    if plot is not None:
        plot_tensors(report, title, plot)
    first = report.first
    if json:
        print_json({"engine": name, "first": first, **vars(report)})
    else:
        _print_tensors(title, report, every)
    if first is not None:
        raise typer.Exit(1)


def _print_tensors(title: str, report: TensorReport, every: bool) -> None:
    """Print the worst tensors, or all of them in the graph's order, and the verdict."""
    from fer_edge.cli.output import console, print_note, print_table

    worst = sorted(report.tensors, key=lambda tensor: tensor.sqnr)[:WORST]
    listed = report.tensors if every else tuple(worst)
    rows = [
        (tensor.name, f"{tensor.sqnr:.1f}", f"{tensor.cosine:.5f}", f"{tensor.largest:.3g}", f"{tensor.peak:.3g}")
        for tensor in listed
    ]
    print_table(title, ("tensor", "dB", "cosine", "error", "largest"), rows)
    if len(listed) < len(report.tensors):
        print_note(f"the worst {len(listed)} of {len(report.tensors)} tensors; --all lists every one")
    first = report.first
    console().print(
        f"every tensor is at least {report.threshold:g} dB above its error"
        if first is None
        else f"first to diverge: {first.name}, {first.sqnr:.1f} dB above its error; expected {report.threshold:g}",
        soft_wrap=True,
    )


def _fp32_graph(checkpoint: Path) -> bytes:
    from fer_edge.errors import EngineUnavailableError

    try:
        from fer_edge.export.onnx_graph import onnx_from_checkpoint
        from fer_edge.model.checkpoint import load_checkpoint
    except ImportError as error:
        raise EngineUnavailableError(
            f'checkpoints need PyTorch ({error}); run: pip install "fer-edge[export]"'
        ) from error
    return onnx_from_checkpoint(load_checkpoint(checkpoint))
