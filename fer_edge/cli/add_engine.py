"""`fer-edge add-engine`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fer_edge.cli.options import BundlePath, Json


def add_engine(
    bundle: BundlePath,
    engine: Annotated[str, typer.Option(help="Engine to build.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Bundle to write; may be the same file.")],
    target: Annotated[list[str] | None, typer.Option(help="GPU target such as sm89; may be repeated.")] = None,
    option: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="The engine's own build option; may be repeated.")
    ] = None,
    json: Json = False,
) -> None:
    """Build one more engine for a bundle, on the device it is for; needs no PyTorch.

    Example: fer-edge add-engine edge.fer --engine tensorrt -o edge-orin.fer
    """
    from fer_edge.bundle import Bundle
    from fer_edge.cli.build_engine import options_of_flags
    from fer_edge.cli.output import console, phases, print_json
    from fer_edge.extend import add_engine as extend

    opened = Bundle.open(bundle)
    options = options_of_flags([f"{engine}.{flag}" for flag in option or []]).get(engine, {})
    with phases(f"building {engine} from {bundle}") as progress:
        manifest = extend(opened, out, engine, targets=tuple(target or ()), options=options, progress=progress)
    if json:
        print_json({"bundle": out, "manifest": manifest})
        return
    built = manifest.engines[0]
    size = out.stat().st_size / 1e6
    console().print(f"{out}: {built.engine} {built.engine_version} ({', '.join(built.targets)}), {size:.1f} MB")
