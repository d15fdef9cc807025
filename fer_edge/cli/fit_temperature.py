"""`fer-edge fit-temperature`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fer_edge.cli.foreign_options import CheckpointOut
from fer_edge.cli.option_checks import check_split
from fer_edge.cli.options import CheckpointArgument, Count, Json, Layout, Split, Threads


def fit_temperature(
    checkpoint: CheckpointArgument,
    data: Annotated[Path, typer.Argument(help="Images it was not trained on: FERPlus, or one folder per label.")],
    out: CheckpointOut,
    split: Split = None,
    layout: Layout = "auto",
    half: Annotated[bool, typer.Option("--half", help="Store weights as float16.")] = False,
    threads: Threads = None,
    limit: Count = None,
    json: Json = False,
) -> None:
    """Fit a checkpoint's temperature, so that its probabilities mean what they say.

    Both heads' logits are divided by one number, which goes into the weights. No head decides otherwise for it; the
    mean of two heads that disagree may.

    Example: fer-edge fit-temperature best.safetensors ferplus/ -o edge.safetensors
    """
    from fer_edge._files import check_output
    from fer_edge.cli.output import console, print_json, print_notes, print_table, progress
    from fer_edge.errors import EngineUnavailableError
    from fer_edge.evaluation.accuracy import run_all
    from fer_edge.evaluation.dataset import image_set

    check_output(out, checkpoint, data)
    try:
        from fer_edge.evaluation import temperature
        from fer_edge.model.checkpoint import Checkpoint
        from fer_edge.model.runner import load_reference
    except ImportError as error:
        raise EngineUnavailableError(f'fitting needs PyTorch ({error}); run: pip install "fer-edge[export]"') from error
    runner = load_reference(checkpoint, threads)
    info = runner.info
    images = image_set(data, info.labels, info.words, check_split(split, data, layout), layout).limited(limit)
    print_notes(images.left_out)
    if images.labels is not None:
        temperature.check_images(images.labels)  # before the model runs for nothing
    with runner, progress("running", len(images)) as advance:
        outputs = run_all(runner, images, advance)
    fit = temperature.fit_temperature(outputs, info.head)
    temperature.with_temperature(Checkpoint(runner.model, info), fit).save(out, half=half)
    if json:
        print_json({"checkpoint": out, **vars(fit)})
        return
    rows = [
        ("negative log-likelihood", f"{fit.likelihood_before:.4f}", f"{fit.likelihood_after:.4f}"),
        ("calibration error", f"{fit.error_before:.4f}", f"{fit.error_after:.4f}"),
        ("the same, each half with the other's temperature", "", f"{fit.error_crossed:.4f}"),
    ]
    title = f"temperature {fit.temperature:.3f}, fitted on {fit.images} images"
    print_table(title, ("", "before", "after"), rows)
    console().print(f"wrote {out}", soft_wrap=True)
