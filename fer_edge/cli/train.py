"""`fer-edge train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fer_edge.cli.options import Json, Threads


def train(
    data: Annotated[Path, typer.Argument(help="Folder in FERPlus's layout.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the run; an interrupted run goes on.")],
    preset: Annotated[str, typer.Option(help="Model preset: edge, paper, release or teacher.")] = "edge",
    epochs: Annotated[int, typer.Option(min=1)] = 12,
    batch: Annotated[int, typer.Option(min=2)] = 128,
    learning_rate: Annotated[float, typer.Option(help="Peak of the one-cycle schedule.")] = 2e-3,
    targets: Annotated[str, typer.Option(help="majority (one-hot) or crossentropy (votes).")] = "crossentropy",
    seed: Annotated[int, typer.Option()] = 0,
    amp: Annotated[bool, typer.Option("--amp", help="bfloat16 where it is safe.")] = False,
    compile: Annotated[bool, typer.Option("--compile", help="torch.compile; needs a C++ compiler.")] = False,
    mixup: Annotated[float, typer.Option(min=0, help="Alpha of mixup; 0 for none.")] = 0.0,
    teacher: Annotated[
        list[Path] | None, typer.Option(help="Checkpoint to learn from as well; may be given several times.")
    ] = None,
    accelerator: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "cpu",
    text_features: Annotated[
        Path | None, typer.Option(help="Text features of the labels, kept fixed; default: learned.")
    ] = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Train a model on FERPlus.

    Example: fer-edge train ferplus/ -o runs/edge --epochs 12
    """
    from fer_edge.cli.output import console, err_console, print_json
    from fer_edge.errors import ConfigError, EngineUnavailable

    try:
        import torch

        from fer_edge.training.config import TrainingConfig
        from fer_edge.training.ferplus import ferplus_trainer
    except ImportError as error:
        raise EngineUnavailable(f'training needs PyTorch ({error}); run: pip install "fer-edge[train]"') from error
    if targets not in ("majority", "crossentropy"):
        raise ConfigError(f"targets are {targets!r}; expected majority or crossentropy")
    if threads is not None:
        torch.set_num_threads(threads)
    config = TrainingConfig(
        epochs=epochs,
        batch=batch,
        learning_rate=learning_rate,
        targets=targets,  # type: ignore[arg-type]
        seed=seed,
        amp=amp,
        compile=compile,
        mixup=mixup,
        accelerator=accelerator,
    )
    with err_console().status("reading images"):
        trainer = ferplus_trainer(data, out, preset, config, text_features, teacher or ())
    if trainer.resume():
        err_console().print(f"going on after epoch {trainer.next_epoch}")
    with _Display(trainer.steps) as display:
        checkpoint = trainer.run(display)
    best = max(trainer.results, key=lambda result: result.mean_accuracy)
    if json:
        print_json({"checkpoint": out / "best.safetensors", "best": best, "epochs": trainer.results})
        return
    source = checkpoint.info.text_source
    console().print(f"{out / 'best.safetensors'}: {best.mean_accuracy:.2f} % on validation, text features {source}")


class _Display:
    """A bar for the epoch and a line for each one done, on stderr."""

    def __init__(self, steps: int) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        from fer_edge.cli.output import err_console

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.progress = Progress(*columns, console=err_console())
        self.task = self.progress.add_task("epoch 1", total=steps)

    def batch(self, epoch: int, done: int, total: int, loss: float) -> None:
        self.progress.update(self.task, description=f"epoch {epoch + 1}  loss {loss:.3f}", completed=done)

    def epoch(self, result: Any) -> None:
        text = "" if result.text_accuracy is None else f", text {result.text_accuracy:.2f} %"
        self.progress.console.print(
            f"epoch {result.epoch + 1}: loss {result.loss:.3f}, validation {result.mean_accuracy:.2f} % "
            f"(label {result.label_accuracy:.2f} %{text}), {result.seconds:.0f} s"
        )

    def __enter__(self) -> _Display:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()
