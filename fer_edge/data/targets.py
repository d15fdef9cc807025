"""Training targets: one row per image, made from labels or votes; protocols of Barsoum et al., ICMI 2016.

Classes with a single vote count as 0 votes. Imports no torch.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fer_edge.choices import LabelTargets
from fer_edge.data.images import ImageSet, Labels
from fer_edge.labels import FERPLUS

CLASSES = len(FERPLUS)  # columns of votes before "unknown" and "NF" (no face)
MULTI_TARGET_SHARE = 0.3  # smallest share of the votes that makes a class one of an image's several labels
Rows = npt.NDArray[np.float32]


def majority_labels(votes: Labels) -> Labels:
    """Return labels by the protocol "majority": the class with more than half of the votes.

    Returns:
        (N,); -1 without a majority, or if "unknown" or "NF" has it.
    """
    counts = np.where(votes > 1, votes, 0)
    winner = counts.argmax(axis=1)
    valid = (2 * counts.max(axis=1) > counts.sum(axis=1)) & (winner < CLASSES)
    return np.where(valid, winner, -1)


def target_rows(images: ImageSet, targets: LabelTargets) -> Rows:
    """Return the training target of each image.

    Args:
        images: Images with labels and, for FERPlus, votes. Without votes, every protocol gives one-hot rows.
        targets: "majority": one-hot row of the majority's label. "crossentropy" and "probability": distribution of
            the votes ("probability" draws a label from it in each epoch). "multi_target": 1 for each class with 30 %
            of the votes.

    Returns:
        (N, classes); a row of zeros for an image without a target: its classes, or for "multi_target" those with 30 %,
        have at most half of the votes together.
    """
    if images.votes is None or targets == "majority":
        labels = images.required_labels
        rows = np.zeros((len(images), len(images.label_set)), np.float32)
        labelled = np.flatnonzero(labels >= 0)
        rows[labelled, labels[labelled]] = 1
        return rows
    counts = np.where(images.votes > 1, images.votes, 0)
    total, classes = counts.sum(axis=1, keepdims=True), counts[:, :CLASSES].astype(np.float32)
    if targets == "multi_target":
        classes = np.where(classes >= MULTI_TARGET_SHARE * total, classes, 0)
    mass = classes.sum(axis=1, keepdims=True)
    shares = classes > 0 if targets == "multi_target" else classes / np.maximum(mass, 1)
    return np.where(2 * mass > total, shares, 0).astype(np.float32)


def class_weights(rows: Rows) -> Rows:
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
