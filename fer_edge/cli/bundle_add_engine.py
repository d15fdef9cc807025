"""`fer-edge bundle add-engine`."""

from __future__ import annotations

from fer_edge.cli.option_checks import check_out_file
from fer_edge.cli.options import (
    AllowFallback,
    BuildSettings,
    BundleArgument,
    BundleOut,
    EngineToBuild,
    GpuArchs,
    Json,
)


def bundle_add_engine(
    bundle: BundleArgument,
    out: BundleOut,
    engine: EngineToBuild,
    gpu_arch: GpuArchs = None,
    settings: BuildSettings = None,
    allow_fallback: AllowFallback = False,
    json: Json = False,
) -> None:
    """Build one more engine for a bundle, on its target device, without PyTorch.

    Example: fer-edge bundle add-engine edge.fer --engine tensorrt -o edge-orin.fer
    """
    from fer_edge.cli.output import phases, print_result
    from fer_edge.export.build import add_engine
    from fer_edge.export.recipe import parse_settings

    check_out_file(out, ".fer", "a bundle")
    options = parse_settings(settings or [])
    with phases(f"building {engine} from {bundle}") as progress:
        result = add_engine(
            bundle,
            out,
            engine=engine,
            gpu_archs=gpu_arch or (),
            options=options,
            allow_fallback=allow_fallback,
            progress=progress,
        )
    print_result(result, as_json=json)
