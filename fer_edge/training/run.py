"""Training as one call: recipe and input files to checkpoints in a folder."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from fer_edge._files import as_path, make_folder
from fer_edge._lock import lock_folder
from fer_edge._settings import convert
from fer_edge._stop_signals import StopSignals
from fer_edge.errors import ImageError
from fer_edge.model.checkpoint import load_checkpoint
from fer_edge.progress import Progress, silent
from fer_edge.shipped import path_or_shipped
from fer_edge.training.callbacks import CallbackList, TensorBoard
from fer_edge.training.dataset import Skip, load_data, read_splits, statistics
from fer_edge.training.devices import convert_errors, make_fabric
from fer_edge.training.effects import check_effects, check_recipe_file, check_run_folder
from fer_edge.training.files import RunFiles
from fer_edge.training.initialization import Sources, initial_module
from fer_edge.training.loop import Trainer
from fer_edge.training.recipe import Recipe, change_settings, read_recipe
from fer_edge.training.results import Callback, DryRunResult, EpochResult, TrainingResult
from fer_edge.training.stop import TrainingStopped

LOG = "tensorboard"  # folder of the TensorBoard log, in the folder of a run
PathLike = str | os.PathLike[str]
Display = Callable[[Trainer], AbstractContextManager[Callback]]
logger = logging.getLogger("fer_edge")


@dataclass
class UnusedImages:
    """Images of a data set that a run does not use."""

    skipped: list[str] = field(default_factory=list)  # reason for each damaged image
    left_out: list[str] = field(default_factory=list)  # one line for each other kind


def no_display(trainer: Trainer) -> AbstractContextManager[Callback]:
    """Show no progress of a training."""
    return nullcontext(CallbackList(()))


def train(
    data: PathLike,
    out: PathLike,
    *,
    recipe: PathLike = "edge-ferplus",
    settings: Mapping[str, Any] | None = None,
    valid_data: PathLike | None = None,
    init: PathLike | None = None,
    stem_weights: PathLike | None = None,
    text_features: PathLike | None = None,
    teachers: Sequence[PathLike] = (),
    skip_damaged: bool = False,
    threads: int | None = None,
    dry_run: bool = False,
    display: Display = no_display,
    progress: Progress = silent,
) -> TrainingResult | DryRunResult | None:
    """Train a model on labelled face images, or continue an interrupted training.

    Ctrl-C and SIGTERM write a resume point before the run ends; an equal call continues from there.

    Args:
        data: Data set with a training split.
        out: Folder of the run, for checkpoints and logs.
        recipe: Shipped training recipe, or a TOML file.
        settings: Values that replace the recipe's, by name: `epochs`, `augmentation.flip`, `model.patches`, ...
        valid_data: Separate validation images.
        init: Initial checkpoint, or "edge", the shipped one.
        stem_weights: face.evoLVe's IR_50 weights for the stem.
        text_features: File of text features, which stay fixed.
        teachers: Checkpoints for distillation.
        skip_damaged: Whether to skip images that cannot be read; by default the first one is an error.
        threads: Number of CPU threads; PyTorch's choice by default.
        dry_run: Whether to run one step only, without writing files.
        display: Function that makes the progress display of a training.
        progress: Progress display of reading the images.

    Returns:
        Result of the training or the dry run; None in all processes but the first.

    Raises:
        TrainingStopped: A signal that stopped the run.
        ConfigError: Unknown settings, or settings without effect.
        NonFiniteError: NaN or infinity in the training.
        FerEdgeError: Unusable data, model or devices, or a file that cannot be written.
    """
    sources = make_sources(data, valid_data, init, stem_weights, text_features, teachers)
    folder = as_path(out, "the output")
    _, chosen = configure(recipe, settings or {}, sources)
    check_run_folder(folder, sources)
    if threads is not None:
        torch.set_num_threads(threads)
    if not dry_run:
        return run_recipe(chosen, sources, folder, skip_damaged=skip_damaged, display=display, progress=progress)
    with open_run(chosen, sources, None, skip_damaged=skip_damaged, progress=progress) as (trainer, _):
        result = DryRunResult(trainer.dry_run(), trainer.batches.steps, trainer.config.epochs)
        return result if trainer.fabric.is_global_zero else None


def make_sources(
    data: PathLike,
    valid_data: PathLike | None = None,
    init: PathLike | None = None,
    stem_weights: PathLike | None = None,
    text_features: PathLike | None = None,
    teachers: Sequence[PathLike] = (),
) -> Sources:
    """Convert path arguments to the input files of a run; "edge" is the shipped checkpoint."""
    return Sources(
        as_path(data, "the data set"),
        None if valid_data is None else as_path(valid_data, "the validation data"),
        None if init is None else path_or_shipped("checkpoint", as_path(init, "the initial checkpoint")),
        None if stem_weights is None else as_path(stem_weights, "the stem weights"),
        None if text_features is None else as_path(text_features, "the text features"),
        tuple(path_or_shipped("checkpoint", as_path(path, "a teacher")) for path in teachers),
    )


def configure(name: PathLike, settings: Mapping[str, Any], sources: Sources) -> tuple[dict[str, Any], Recipe]:
    """Read a recipe, change its settings, and check that each has an effect.

    Returns:
        The changed recipe as plain data, and as `Recipe`.

    Raises:
        ConfigError: Unknown recipe, unknown settings, or settings without effect.
    """
    text = os.fspath(name)
    data = read_recipe(text)
    if sources.text_features is not None:
        settings = {**settings, "text": settings.get("text", "features")}
    changed = change_settings(data, settings)
    recipe = convert(changed, Recipe)
    check_effects(settings, recipe, sources)
    check_recipe_file(text, data, recipe, sources)
    return changed, recipe


def run_recipe(
    recipe: Recipe,
    sources: Sources,
    folder: Path,
    *,
    skip_damaged: bool = False,
    display: Display = no_display,
    progress: Progress = silent,
) -> TrainingResult | None:
    """Train a checked recipe in a folder; see `train`."""
    with open_run(recipe, sources, folder, skip_damaged=skip_damaged, progress=progress) as (trainer, unused):
        best = _run(trainer, folder, display)
        if not trainer.fabric.is_global_zero:
            return None
        if best.only_label is not None:
            logger.warning(
                "the model predicts %s for every validation image: it has learned nothing; train more epochs, or start "
                "from a checkpoint with --init edge",
                best.only_label,
            )
        return TrainingResult(
            trainer.files.best,
            best,
            tuple(trainer.results),
            tuple(unused.skipped),
            tuple(unused.left_out),
            len(trainer.data.valid_labels),
            trainer.info.text_source,
        )


@contextmanager
def open_run(
    recipe: Recipe, sources: Sources, folder: Path | None, *, skip_damaged: bool = False, progress: Progress = silent
) -> Iterator[tuple[Trainer, UnusedImages]]:
    """Read the images and make a trainer; the folder of the run stays locked meanwhile.

    Args:
        recipe: Model, data layout and training settings.
        sources: Input files.
        folder: Folder of the run, which is created; None for a dry run.
        skip_damaged: Whether to skip images that cannot be read.
        progress: Progress display of reading the images.

    Raises:
        ImageError: Unreadable image, without `skip_damaged`.
        FerEdgeError: A folder that another process uses; unusable data, model, text features or devices.
    """
    unused = UnusedImages()

    def skip(error: ImageError) -> None:
        unused.skipped.append(str(error))

    if folder is not None:
        make_folder(folder)
    fabric = make_fabric(recipe.training)
    first = fabric.is_global_zero
    with ExitStack() as stack:
        if folder is not None and first:
            stack.enter_context(lock_folder(folder))
            RunFiles(folder).remove_temporary()
        advice = "use fewer images with --set limit_train=N, or smaller ones"
        with convert_errors(recipe.training, advice):
            trainer, unused.left_out = make_trainer(
                recipe,
                sources,
                folder or Path(),
                skip if skip_damaged else None,
                fabric=fabric,
                progress=progress if first else silent,
            )
        if first:
            for line in (*unused.left_out, *(f"skipped: {reason}" for reason in unused.skipped)):
                logger.info("%s", line)
            logger.info("%d training images, %d skipped", len(trainer.data.images), len(unused.skipped))
        yield trainer, unused


def make_trainer(
    recipe: Recipe,
    sources: Sources,
    folder: Path,
    skip: Skip | None = None,
    *,
    fabric: Fabric | None = None,
    progress: Progress = silent,
) -> tuple[Trainer, list[str]]:
    """Read the images and make a trainer before its first step; `Trainer.resume` continues an interrupted run.

    Args:
        recipe: Model, data layout and training settings.
        sources: Input files.
        folder: Folder for checkpoints and the resume point.
        skip: Callback that receives the error of each unreadable image, which is left out; None raises the first one.
        fabric: Launched devices and processes; those of the recipe by default.
        progress: Progress display of reading the images.

    Returns:
        The trainer, and a note on each kind of images that are left out or occur twice.

    Raises:
        DataError: Images in both splits, or a label without training images.
        FerEdgeError: Unusable data, model, text features or devices.
    """
    fabric = fabric or make_fabric(recipe.training)
    train_split, valid_split, lines = read_splits(recipe, sources)
    teachers = [load_checkpoint(path) for path in sources.teachers]
    data = load_data(train_split, valid_split, recipe.training, skip, progress)
    module, info = initial_module(recipe, sources, train_split.label_set, statistics(data.images.numpy()))
    from_data = {"data": train_split.source, "validation": valid_split.source, "images": len(data.images)}
    info = replace(info, provenance={**info.provenance, **from_data})
    return Trainer(module, info, recipe.training, data, folder, teachers, fabric), lines


def _run(trainer: Trainer, folder: Path, display: Display) -> EpochResult:
    """Run a trainer to the end, with display and TensorBoard log in the first process.

    Raises:
        TrainingStopped: A signal that stopped the run.
    """
    with StopSignals() as stop_signal:
        try:
            trainer.resume()
            if not trainer.fabric.is_global_zero or trainer.done:
                return trainer.run(CallbackList(()), stop_signal)
            if trainer.next_epoch or trainer.next_step:
                logger.info("resuming in epoch %d at step %d", trainer.next_epoch + 1, trainer.next_step + 1)
            with display(trainer) as callback:
                board = TensorBoard(folder / LOG)
                try:
                    return trainer.run(CallbackList((callback, board)), stop_signal)
                finally:
                    board.close()
        except TrainingStopped:
            raise
        except KeyboardInterrupt:
            message = f"stopped at once; {trainer.resume_point()}"
            raise TrainingStopped(message, stop_signal() or signal.SIGINT) from None
