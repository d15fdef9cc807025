"""`fer-edge bundle export-triton`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fer_edge.choices import InstanceKind
from fer_edge.cli import options


def bundle_export_triton(
    bundle: options.BundleArgument,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Model repository to write into.")] = Path(
        "models"
    ),
    engine: options.EngineToExport = None,
    model_name: Annotated[str | None, typer.Option(help="Name of the model; default: the bundle's name.")] = None,
    instances: Annotated[int, typer.Option(min=1, help="Number of copies per device that run in parallel.")] = 1,
    instance_kind: Annotated[
        InstanceKind | None,
        typer.Option(
            help="Device of the instances, if the engine's backend runs there; default: gpu for engines that are built "
            "for GPUs, else cpu."
        ),
    ] = None,
    queue_delay: Annotated[
        int, typer.Option(min=0, help="Microseconds that a request waits for others to form a batch.")
    ] = 500,
    model_version: Annotated[int, typer.Option(min=1, help="Version of the model in the repository.")] = 1,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a version that contains another model.")] = False,
    json: options.Json = False,
) -> None:
    """Write a bundle into a model repository of Triton Inference Server.

    Example: fer-edge bundle export-triton edge.fer --engine onnxruntime -o models
    """
    from fer_edge.cli.output import print_result
    from fer_edge.export.triton import export_triton

    result = export_triton(
        bundle,
        out,
        engine=engine,
        model_name=model_name,
        instances=instances,
        instance_kind=instance_kind,
        queue_delay=queue_delay,
        model_version=model_version,
        replace=replace,
    )
    print_result(result, as_json=json)
