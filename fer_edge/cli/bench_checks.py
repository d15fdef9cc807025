"""What `fer-edge bench` refuses before anything is measured."""

from __future__ import annotations

from pathlib import Path

import typer

from fer_edge.cli.option_checks import refuse_given


def check_effect(scenarios: tuple[str, ...], **given: object) -> None:
    """Refuse settings of scenarios that are not run.

    Raises:
        BadParameter: One was given.
    """
    lasting = ("single-stream", "batches", "on-device", "open-loop", "multi-stream", "scaling")
    users = {"queries": ("single-stream",), "seconds": lasting, "minutes": ("sustained",), "rate": ("open-loop",)}
    for name, using in users.items():
        if not set(using) & set(scenarios):
            refuse_given(f"the scenario {using[0]}", f"add --scenario {using[0]}", **{name: given[name]})


def check_files(bundle: Path, tune: str | None, csv: Path | None, report: Path | None, *inputs: Path | None) -> None:
    """Refuse outputs that are inputs, before anything is measured.

    Raises:
        BadParameter: A tuning would be written into the shipped bundle.
        ConfigError: An output is an input.
    """
    from fer_edge._files import check_output
    from fer_edge.shipped import shipped_bundle

    for out in (csv, report):
        if out is not None:
            check_output(out, bundle, *inputs)
    if tune is not None and bundle.resolve() == shipped_bundle().resolve():
        raise typer.BadParameter(
            f"--tune writes into the bundle, and this is the shipped one; copy it: cp {bundle} edge.fer"
        )


def check_device(bundle: Path, engine: str | None, device: int | None) -> None:
    """Refuse a GPU's number for an engine on the processor.

    Raises:
        BadParameter: The engine has no GPU.
    """
    from fer_edge.bundle import Bundle
    from fer_edge.engines.registry import get_engine

    if device is not None:
        name = Bundle.open(bundle).entry(engine).engine
        if not get_engine(name).for_gpus:
            raise typer.BadParameter(
                f"--device is about engines on a GPU, and {name} runs on the processor; leave it out"
            )


def check_comparison(bundle: Path, reference: Path | None, faces: Path | None) -> None:
    """Whether there is something to compare with, before anything is measured; without PyTorch, which is large.

    Raises:
        BadParameter: One is missing.
        FerEdgeError: There is no such checkpoint, there are no such faces, or PyTorch is not installed.
    """
    from importlib.util import find_spec

    from fer_edge.bundle import Bundle
    from fer_edge.errors import CheckpointError, EngineUnavailableError
    from fer_edge.evaluation.dataset import image_set
    from fer_edge.file_kind import describe_file

    if (reference is None) != (faces is None):
        raise typer.BadParameter("--reference and --faces go together")
    if reference is None or faces is None:
        return
    if not reference.is_file():
        raise CheckpointError(
            f"--reference: no checkpoint at {reference}; expected the file that the bundle was built from"
        )
    described = describe_file(reference)
    if described != "a fer-edge checkpoint":
        raise CheckpointError(
            f"--reference: {reference} is {described}; expected the checkpoint that the bundle was built from"
        )
    if find_spec("torch") is None:
        raise EngineUnavailableError('--reference needs PyTorch; run: pip install "fer-edge[export]"')
    manifest = Bundle.open(bundle).manifest
    image_set(faces, manifest.labels, manifest.words)
