"""Training and validation data: splits, their checks, and images in memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from fer_edge.data.duplicates import separate
from fer_edge.data.images import ImageSet, Pixels
from fer_edge.data.layouts import AUTO, layouts, read_split
from fer_edge.data.layouts.folders import EMPTY_FOLDER
from fer_edge.data.targets import target_rows
from fer_edge.errors import ConfigError, DataError, ImageError
from fer_edge.labels import join_names
from fer_edge.progress import Progress, silent
from fer_edge.training.batches import TrainingData
from fer_edge.training.config import TrainingConfig
from fer_edge.training.initialization import Sources, Statistics
from fer_edge.training.recipe import Recipe
from fer_edge.walk import UNREADABLE, LeftOut, notes

Skip = Callable[[ImageError], None]


def read_splits(recipe: Recipe, sources: Sources) -> tuple[ImageSet, ImageSet, list[str]]:
    """Read and check the training and the validation split.

    Returns:
        Training split without copies of validation images, validation images whose labels are indices into those of the
        training split, and a note on each kind of images that are left out or occur twice.

    Raises:
        DataError: A file in both splits, no label in common, or a label without training images.
        FerEdgeError: A data set that cannot be read.
    """
    train = read_split(sources.data, "train", recipe.layout)
    layout = recipe.layout
    if sources.valid_data is not None and layout != AUTO and not layouts()[layout].matches(sources.valid_data):
        layout = AUTO  # separate validation images may have another layout
    valid = read_split(sources.valid_data or sources.data, recipe.valid_split, layout)
    if train.votes is None and recipe.training.targets in ("probability", "multi_target"):
        raise ConfigError(f"targets {recipe.training.targets} has no effect: {train.source} has no votes; leave it out")
    _check_folders(train)
    train, lines = separate(train, valid)
    valid = valid.match(train.label_set.labels, owner=train.source)
    untargeted = np.flatnonzero(target_rows(train, recipe.training.targets).sum(axis=1) == 0)
    reason = f'no target for targets = "{recipe.training.targets}", because of its votes'
    train_left_out = (*train.left_out, *(LeftOut(train.paths[i], reason) for i in untargeted))
    lines += [f"{train.source}: {line}" for line in notes(train_left_out)]
    lines += [f"{valid.source}: {line}" for line in notes(valid.left_out)]
    return train, valid, lines


def _check_folders(train: ImageSet) -> None:
    """Check that every label folder is readable and has images, and that there are two labels."""
    unreadable = [entry for entry in train.left_out if entry.reason.startswith(UNREADABLE)]
    if unreadable:
        raise DataError(f"{train.source}: {'; '.join(notes(unreadable))}; make all training folders readable")
    empty = [entry.path for entry in train.left_out if entry.reason == EMPTY_FOLDER]
    if empty:
        inside = [entry for entry in train.left_out if entry.path.is_relative_to(empty[0]) and entry.path != empty[0]]
        names = join_names([path.name for path in empty])
        raise DataError("; ".join([f"{train.source}: no images in {names}: fill or remove the folder", *notes(inside)]))
    if len(train.label_set) < 2:
        raise DataError(f"{train.source} has the one label {train.label_set.labels[0]}; expected at least two to learn")


def load_data(
    train: ImageSet,
    valid: ImageSet,
    config: TrainingConfig,
    skip: Skip | None = None,
    progress: Progress = silent,
) -> TrainingData:
    """Decode the training images with a target and the validation images that the protocol counts.

    Args:
        train: Training split.
        valid: Validation split.
        config: Targets and limits.
        skip: Callback that receives the error of each unreadable image, which is left out; None raises the first one.
        progress: Progress display.

    Raises:
        DataError: No training or no validation image.
        ImageError: Unreadable image, without `skip`.
    """
    train = train.take(np.flatnonzero(target_rows(train, config.targets).sum(axis=1) > 0))
    train = train.choose(config.limit_train, config.seed)
    valid = valid.match(train.label_set.labels, owner=train.source).choose(config.limit_valid, config.seed)
    if not len(train) or not len(valid):
        raise DataError(
            f"{train.source} has {len(train)} images to train on and {valid.source} {len(valid)} to validate on"
        )
    with progress("reading images", len(train) + len(valid)) as advance:
        images, rows = train.decode(skip, advance)
        valid_images, valid_rows = valid.decode(skip, advance)
    return TrainingData(
        torch.from_numpy(images),
        torch.from_numpy(target_rows(train, config.targets)[rows]),
        torch.from_numpy(valid_images),
        torch.from_numpy(valid.required_labels[valid_rows]),
    )


def statistics(images: Pixels) -> Statistics:
    """Return mean and standard deviation of RGB in [0, 1], to four digits; equal ones for grey images (N, 1, H, W)."""
    histograms = [np.bincount(images[:, channel].ravel(), minlength=256) for channel in range(images.shape[1])]
    levels = np.arange(256) / 255
    means = [float(np.average(levels, weights=counts)) for counts in histograms]
    stds = [
        float(np.sqrt(np.average((levels - mean) ** 2, weights=counts)))
        for mean, counts in zip(means, histograms, strict=True)
    ]
    mean, std = ([round(value, 4) for value in values] * (3 // len(values)) for values in (means, stds))
    return (mean[0], mean[1], mean[2]), (max(std[0], 1e-3), max(std[1], 1e-3), max(std[2], 1e-3))
