"""Training targets: one row per image, made from labels or votes. Imports no torch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fer_edge.choices import LabelTargets
from fer_edge.data.ferplus import multi_targets, vote_distributions
from fer_edge.data.splits import LabelledSplit


def target_rows(split: LabelledSplit, targets: LabelTargets) -> npt.NDArray[np.float32]:
    """Return the training target of each image; protocols of Barsoum et al., ICMI 2016.

    Args:
        split: Images with labels and, for FERPlus, votes. Without votes, every protocol gives one-hot rows.
        targets: "majority": one-hot row of the majority's label. "crossentropy" and "probability": distribution of
            the votes ("probability" draws a label from it in each epoch). "multi_target": 1 for each of several labels.

    Returns:
        (N, classes); a row of zeros for an image without a target.
    """
    if split.votes is not None and targets in ("crossentropy", "probability"):
        return vote_distributions(split.votes)
    if split.votes is not None and targets == "multi_target":
        return multi_targets(split.votes)
    rows = np.zeros((len(split), len(split.label_set)), np.float32)
    labelled = np.flatnonzero(split.labels >= 0)
    rows[labelled, split.labels[labelled]] = 1
    return rows


def class_weights(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return loss weights that balance the classes; their mean over the data is 1.

    Args:
        rows: Training targets, (N, classes).

    Returns:
        (classes,); 1 for a class without images.
    """
    mass = (rows / np.maximum(rows.sum(axis=1, keepdims=True), 1)).sum(axis=0)
    present = mass > 0
    weights = np.ones(len(mass))
    weights[present] = mass.sum() / (present.sum() * mass[present])
    return weights.astype(np.float32)
