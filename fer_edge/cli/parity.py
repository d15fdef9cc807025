"""`fer-edge parity`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fer_edge.cli.options import BundlePath, EngineName, Json, Limit, Threads


def parity(
    bundle: BundlePath,
    reference: Annotated[Path, typer.Option(help="The checkpoint the bundle was built from.")],
    images: Annotated[Path, typer.Option(help="Folder of real images; labelled ones give accuracy too.")],
    engine: EngineName = None,
    tolerance: Annotated[
        float | None, typer.Option(help="Largest relative logit error; default: 1e-4 for fp32, 2e-2 for fp16.")
    ] = None,
    threads: Threads = None,
    limit: Limit = 256,
    json: Json = False,
) -> None:
    """Compare a bundle's engine with PyTorch, stage by stage.

    Exits with 1 if a stage fails.

    Example: fer-edge parity edge.fer --reference edge.safetensors --images faces/
    """
    from fer_edge.cli.output import console, print_json, print_table, progress
    from fer_edge.evaluation.dataset import image_set
    from fer_edge.evaluation.parity import TOLERANCES, compare
    from fer_edge.evaluation.runners import open_model

    candidate = open_model(bundle, engine, threads)
    truth = open_model(reference, "pytorch", threads)
    data = image_set(images, truth.labels, truth.words).limited(limit)
    allowed = TOLERANCES[candidate.precision] if tolerance is None else tolerance
    with candidate.runner, truth.runner, progress("comparing", len(data)) as advance:
        report = compare(candidate.runner, truth.runner, data, tolerance=allowed, progress=advance)
    if json:
        print_json({"engine": candidate.engine, "passed": report.passed, **vars(report)})
    else:
        rows = [(stage.name, "pass" if stage.passed else "FAIL", stage.detail) for stage in report.stages]
        print_table(f"{candidate.engine} against PyTorch, {report.images} images", ("stage", "", "found"), rows)
        console().print("parity holds" if report else "parity FAILS")
    if not report:
        raise typer.Exit(1)
