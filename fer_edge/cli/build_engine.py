"""`fer-edge build-engine`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fer_edge.choices import BuildPrecision, FloatPrecision
from fer_edge.cli import options
from fer_edge.cli.option_checks import check_out_file, shipped_path


def build_engine(
    checkpoint: Annotated[
        Path | None,
        typer.Argument(
            help="Checkpoint (.safetensors), or `edge`, the shipped one; default: the recipe's.",
            callback=shipped_path("checkpoint"),
        ),
    ] = None,
    out: options.BundleOut = Path("out.fer"),
    engine: options.EnginesToBuild = None,
    precision: Annotated[BuildPrecision | None, typer.Option(help="Precision of the layers; default: fp32.")] = None,
    gpu_arch: options.GpuArchs = None,
    max_batch: Annotated[
        int | None, typer.Option(min=1, help="Largest batch that the engines accept; default: 32.")
    ] = None,
    settings: options.BuildSettings = None,
    ranges: Annotated[
        Path | None,
        typer.Option(
            help="Activation ranges (.json) from `fer-edge calibrate`, or `edge`, the shipped ones; required for fp16 "
            "and int8.",
            callback=shipped_path("ranges"),
        ),
    ] = None,
    float_precision: Annotated[
        FloatPrecision | None, typer.Option(help="Precision of the layers that are not int8; default: fp32.")
    ] = None,
    allow_fallback: options.AllowFallback = False,
    recipe: Annotated[
        Path | None,
        typer.Option(
            help="Build recipe (.toml), or the name of a shipped one, such as rtx-fp16; other options override it.",
            callback=shipped_path("recipe"),
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the model in the bundle; default: that of its preset, such as edge.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Build a bundle of engines from a checkpoint.

    Example: fer-edge build-engine edge.safetensors --engine openvino --precision fp32 -o edge.fer
    """
    from fer_edge.cli.output import phases, print_result
    from fer_edge.export.build import build
    from fer_edge.export.recipe import build_arguments, parse_settings

    values = {
        "checkpoint": checkpoint, "engines": engine, "precision": precision, "gpu_archs": gpu_arch,
        "max_batch": max_batch, "ranges": ranges, "float_precision": float_precision,
        "allow_fallback": allow_fallback or None, "name": name,
    }  # fmt: skip
    check_out_file(out, ".fer", "a bundle")
    arguments = build_arguments(recipe, values, parse_settings(settings or []))
    with phases(f"building from {arguments['checkpoint']}") as progress:
        result = build(**arguments, out=out, progress=progress)
    print_result(result, as_json=json)
