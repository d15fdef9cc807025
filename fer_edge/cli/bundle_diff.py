"""`fer-edge bundle diff`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fer_edge.cli import options
from fer_edge.cli.option_checks import shipped_path


def bundle_diff(
    bundle: options.BundleArgument,
    other: Annotated[
        Path,
        typer.Argument(help="Bundle (.fer) to compare with, or `edge`.", callback=shipped_path("bundle")),
    ],
    json: options.Json = False,
) -> None:
    """Show in which parts two bundles differ, and why.

    Exits with 1 if they differ in more than two builds of the same inputs may: files of OpenVINO and ONNX Runtime are
    equal, those of TensorRT and TensorRT-RTX vary.

    Example: fer-edge bundle diff a.fer b.fer
    """
    from fer_edge.cli.output import print_result
    from fer_edge.evaluation.difference import compare_bundles

    result = compare_bundles(bundle, other)
    print_result(result, as_json=json)
    if not result.equal_builds:
        raise typer.Exit(1)
