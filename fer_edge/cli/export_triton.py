"""`fer-edge export-triton`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fer_edge._text import did_you_mean
from fer_edge.cli.options import BundleArgument, Json, Runner


def export_triton(
    bundle: BundleArgument,
    repository: Annotated[Path, typer.Option("-o", "--out", help="Model repository to write into.")] = Path("models"),
    engine: Runner = None,
    name: Annotated[str | None, typer.Option(help="Name of the model; default: the bundle's.")] = None,
    instances: Annotated[int, typer.Option(min=1, help="Copies that work side by side on each device.")] = 1,
    kind: Annotated[str | None, typer.Option(help="cpu or gpu; tensorrt has gpu only, openvino cpu only.")] = None,
    queue_delay: Annotated[
        int, typer.Option(min=0, help="Microseconds a request waits for others to share a batch with.")
    ] = 500,
    version: Annotated[int, typer.Option(min=1, help="Version of the model in the repository.")] = 1,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put the version in the place of one that holds another model.")
    ] = False,
    json: Json = False,
) -> None:
    """Write a bundle's model into a model repository of Triton Inference Server.

    Example: fer-edge export-triton edge.fer --engine onnxruntime -o models
    """
    if kind not in (None, "cpu", "gpu"):
        raise typer.BadParameter(f"--kind is {kind!r}; expected cpu or gpu{did_you_mean(kind, ('cpu', 'gpu'))}")
    from fer_edge._files import check_output
    from fer_edge.bundle import Bundle
    from fer_edge.cli.output import console, print_json
    from fer_edge.errors import EngineUnavailableError

    try:
        from fer_edge.export.triton import Serving, server_options
        from fer_edge.export.triton import export_triton as write
    except ImportError as error:
        raise EngineUnavailableError(f"exporting needs onnx ({error}); run: pip install onnx") from error
    check_output(repository, bundle)
    opened = Bundle.open(bundle)
    serving = Serving(instances, kind, queue_delay, version)  # type: ignore[arg-type]
    folder = write(opened, repository, engine=engine, name=name, serving=serving, replace=replace)
    entry = opened.entry(engine)
    needed = server_options(entry)
    if json:
        told = {"engine": entry.engine, "engine_version": entry.engine_version, "server_options": needed}
        print_json({"model": folder, **told})
        return
    console().print(f"{folder}: {entry.engine}, batches of up to {opened.manifest.max_batch}", soft_wrap=True)
    if entry.file is not None:
        console().print(
            f"run it with a Triton that has {entry.engine} {entry.engine_version}, on {', '.join(entry.targets)}"
        )
    if needed:
        console().print(f"start Triton with {' '.join(needed)}", soft_wrap=True)
