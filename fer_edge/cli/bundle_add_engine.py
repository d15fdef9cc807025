"""`fer-edge bundle add-engine`."""

from __future__ import annotations

from fer_edge.cli import options
from fer_edge.cli.option_checks import check_out_file


def bundle_add_engine(
    bundle: options.BundleArgument,
    out: options.BundleOut,
    engine: options.EngineToBuild,
    gpu_arch: options.GpuArchs = None,
    settings: options.BuildSettings = None,
    allow_fallback: options.AllowFallback = False,
    json: options.Json = False,
) -> None:
    """Build one more engine for a bundle, on its target device, without PyTorch.

    Example: fer-edge bundle add-engine edge.fer --engine tensorrt -o edge-orin.fer
    """
    from fer_edge.cli.output import phases, print_result
    from fer_edge.export.add_engine import add_engine
    from fer_edge.export.recipe import parse_settings

    check_out_file(out, ".fer", "a bundle")
    build_options = parse_settings(settings or [])
    with phases(f"building {engine} from {bundle}") as progress:
        result = add_engine(
            bundle,
            out,
            engine=engine,
            gpu_archs=gpu_arch or (),
            options=build_options,
            allow_fallback=allow_fallback,
            progress=progress,
        )
    print_result(result, as_json=json)
