"""From a recipe and files to a trainer."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric

from fer_edge.data.duplicates import keep_apart
from fer_edge.data.folders import EMPTY_FOLDER
from fer_edge.data.images import Pixels, decode
from fer_edge.data.layouts import AUTO, LAYOUTS, read_split
from fer_edge.data.matching import match_split
from fer_edge.data.splits import Indices, LabelledSplit
from fer_edge.data.targets import target_rows
from fer_edge.errors import ConfigError, DataError, ImageError
from fer_edge.labels import join_names
from fer_edge.model.checkpoint import load_checkpoint
from fer_edge.training.batches import TrainingData
from fer_edge.training.config import TrainingConfig
from fer_edge.training.devices import make_fabric
from fer_edge.training.initialization import Sources, Statistics, starting_point
from fer_edge.training.loop import Trainer
from fer_edge.training.recipe import Recipe
from fer_edge.walk import UNREADABLE, LeftOut, notes

Skip = Callable[[ImageError], None]
Progress = Callable[[int, int], None]  # images read, and all of them


def prepare_run(
    recipe: Recipe,
    sources: Sources,
    folder: Path,
    skip: Skip | None = None,
    note: Callable[[str], None] | None = None,
    *,
    fabric: Fabric | None = None,
    progress: Progress | None = None,
) -> Trainer:
    """A trainer in `folder`, before its first step; call its `resume` to go on where it stopped.

    Args:
        recipe: Model, data layout and training.
        sources: Files.
        folder: Where checkpoints and the resume point go.
        skip: Told of each image that cannot be read, which is then left out; without it, the first one raises.
        note: Function that is given, in the first process, one line on each kind of images left out or found twice.
        fabric: Devices and processes, launched; those of the recipe without it.
        progress: Told how many images are read, and how many there are.

    Raises:
        DataError: Training and validation share images, or a label folder of the training split has none.
        FerEdgeError: Data, model, features or devices cannot be used.
    """
    fabric = fabric or make_fabric(recipe.training)
    train = read_split(sources.data, "train", recipe.layout)
    layout = recipe.layout
    if sources.valid is not None and layout != AUTO and not LAYOUTS[layout].matches(sources.valid):
        layout = AUTO  # validation images that lie elsewhere may be laid out otherwise
    valid = read_split(sources.valid or sources.data, recipe.valid_split, layout)
    if train.votes is None and recipe.training.targets in ("probability", "multi_target"):
        raise ConfigError(f"targets {recipe.training.targets} has no effect: {train.source} has no votes; leave it out")
    train, lines = _checked(train, valid, recipe.training)
    if note is not None and fabric.is_global_zero:
        for line in lines:
            note(line)
    teachers = [load_checkpoint(path) for path in sources.teachers]
    data = load(train, valid, recipe.training, skip, progress)
    learner, info = starting_point(recipe, sources, train.label_set, statistics(data.images.numpy()))
    from_data = {"data": train.source, "validation": valid.source, "images": len(data.images)}
    info = replace(info, provenance={**info.provenance, **from_data})
    return Trainer(learner, info, recipe.training, data, folder, teachers, fabric)


def _checked(train: LabelledSplit, valid: LabelledSplit, config: TrainingConfig) -> tuple[LabelledSplit, list[str]]:
    """The training split without copies of validation images, and a line on each kind of image left out of a split.

    Raises:
        DataError: They share images or no label, or a label has no image to learn from.
    """
    unreadable = [entry for entry in train.left_out if entry.reason.startswith(UNREADABLE)]
    if unreadable:
        raise DataError(f"{train.source}: {'; '.join(notes(unreadable))}; make every folder to learn from readable")
    empty = [entry.path for entry in train.left_out if entry.reason == EMPTY_FOLDER]
    if empty:
        inside = [entry for entry in train.left_out if entry.path.is_relative_to(empty[0]) and entry.path != empty[0]]
        names = join_names([path.name for path in empty])
        raise DataError("; ".join([f"{train.source}: no images in {names}: fill or remove the folder", *notes(inside)]))
    if len(train.label_set) < 2:
        raise DataError(f"{train.source} has the one label {train.label_set.labels[0]}; expected at least two to learn")
    train, lines = keep_apart(train, valid)
    _, valid_left_out = match_split(valid, train.label_set.labels, whose=train.source)
    untargeted = np.flatnonzero(target_rows(train, config.targets).sum(axis=1) == 0)
    reason = f'votes that give no target of the kind "{config.targets}"'
    train_left_out = (*train.left_out, *(LeftOut(train.paths[i], reason) for i in untargeted))
    lines += [f"{train.source}: {line}" for line in notes(train_left_out)]
    lines += [f"{valid.source}: {line}" for line in notes((*valid.left_out, *valid_left_out))]
    return train, lines


def load(
    train: LabelledSplit,
    valid: LabelledSplit,
    config: TrainingConfig,
    skip: Skip | None = None,
    progress: Progress | None = None,
) -> TrainingData:
    """Decode the images that have a target, and the validation images that the protocol counts.

    Raises:
        DataError: None is left.
        ImageError: An image cannot be read and is not to be skipped.
    """
    targets = target_rows(train, config.targets)
    used = _chosen(np.flatnonzero(targets.sum(axis=1) > 0), config.limit_train, config.seed)
    valid_labels, _ = match_split(valid, train.label_set.labels, whose=train.source)
    counted = _chosen(np.flatnonzero(valid_labels >= 0), config.limit_valid, config.seed)
    if not len(used) or not len(counted):
        raise DataError(
            f"{train.source} has {len(used)} images to learn from and {valid.source} {len(counted)} to validate on"
        )
    done = itertools.count(1)

    def read(_: int) -> None:
        if progress is not None:
            progress(next(done), len(used) + len(counted))

    images, kept = decode(train.take(used), skip, read)
    valid_images, valid_kept = decode(valid.take(counted), skip, read)
    return TrainingData(
        torch.from_numpy(images),
        torch.from_numpy(targets[used[kept]]),
        torch.from_numpy(valid_images),
        torch.from_numpy(valid_labels[counted[valid_kept]]),
    )


def _chosen(indices: Indices, limit: int, seed: int) -> Indices:
    """As many indices as `limit`, chosen by the seed, in order; all for 0."""
    if not limit or limit >= len(indices):
        return indices
    return indices[np.sort(np.random.default_rng(seed).permutation(len(indices))[:limit])]


def statistics(images: Pixels) -> Statistics:
    """Mean and standard deviation of RGB in [0, 1], to four digits; three equal ones for grey images (N, 1, H, W)."""
    histograms = [np.bincount(images[:, channel].ravel(), minlength=256) for channel in range(images.shape[1])]
    levels = np.arange(256) / 255
    means = [float(np.average(levels, weights=counts)) for counts in histograms]
    stds = [
        float(np.sqrt(np.average((levels - mean) ** 2, weights=counts)))
        for mean, counts in zip(means, histograms, strict=True)
    ]
    mean, std = ([round(value, 4) for value in values] * (3 // len(values)) for values in (means, stds))
    return (mean[0], mean[1], mean[2]), (max(std[0], 1e-3), max(std[1], 1e-3), max(std[2], 1e-3))
