"""`fer-edge add-engine`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fer_edge.cli.option_checks import check_out_file
from fer_edge.cli.options import BundleArgument, EngineToBuild, Json

if TYPE_CHECKING:
    from fer_edge.bundle_builder import Prove


def add_engine(
    bundle: BundleArgument,
    engine: EngineToBuild,
    out: Annotated[Path, typer.Option("-o", "--out", help="Bundle to write (.fer); may be the same file.")],
    target: Annotated[list[str] | None, typer.Option(help="GPU target such as sm89; may be repeated.")] = None,
    option: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="The engine's own build option; may be repeated.")
    ] = None,
    allow_fallback: Annotated[
        bool, typer.Option("--allow-fallback", help="Take an engine that runs layers in another precision than asked.")
    ] = False,
    json: Json = False,
) -> None:
    """Build one more engine for a bundle, on the device it is for; needs no PyTorch.

    Example: fer-edge add-engine edge.fer --engine tensorrt -o edge-orin.fer
    """
    from fer_edge.bundle import Bundle
    from fer_edge.bundle_builder import add_engine as extend
    from fer_edge.cli.build_engine import print_proofs, setting_of_flag
    from fer_edge.cli.output import console, err_console, phases, print_json

    check_out_file(out, ".fer", "a bundle")
    opened = Bundle.open(bundle)
    options = dict(setting_of_flag(flag, "NAME=VALUE") for flag in option or [])
    prove = _prove(allow_fallback)
    with phases(f"building {engine} from {bundle}") as progress:
        manifest = extend(
            opened, out, engine, targets=tuple(target or ()), options=options, prove=prove, progress=progress
        )
    if prove is None:
        err_console().print(
            f"what {engine} executes was not compared with the model: that needs onnx, run: pip install onnx",
            soft_wrap=True,
        )
    if json:
        print_json({"bundle": out, "manifest": manifest})
        return
    built = manifest.engines[0]
    size = out.stat().st_size / 1e6
    console().print(f"{out}: {built.engine} {built.engine_version} ({', '.join(built.targets)}), {size:.1f} MB")
    if prove is not None:
        print_proofs(manifest.engines[:1])


def _prove(allow_fallback: bool) -> Prove | None:
    """How the engine's precision is proven, where onnx is installed: devices often have the runtime only."""
    try:
        from fer_edge.export.precision import proven
    except ImportError:
        return None
    return partial(proven, allow_fallback=allow_fallback)
