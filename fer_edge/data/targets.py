"""What a model is to learn from each image. Needs no torch."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from fer_edge.data.ferplus import several_labels, vote_distributions
from fer_edge.data.splits import LabelledSplit

# Barsoum et al., ICMI 2016: the majority's label; a label drawn from the votes each epoch; the votes as a distribution;
# any of several labels.
Targets = Literal["majority", "probability", "crossentropy", "multi_target"]


def target_rows(split: LabelledSplit, targets: Targets) -> npt.NDArray[np.float32]:
    """(N, classes); zeros where an image has no target. A data set without votes has one-hot rows, whatever is asked.

    "majority": one-hot. "crossentropy" and "probability": a distribution. "multi_target": 1 for each label.
    """
    if split.votes is not None and targets in ("crossentropy", "probability"):
        return vote_distributions(split.votes)
    if split.votes is not None and targets == "multi_target":
        return several_labels(split.votes)
    rows = np.zeros((len(split), len(split.label_set)), np.float32)
    known = np.flatnonzero(split.labels >= 0)
    rows[known, split.labels[known]] = 1
    return rows


def class_weights(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(classes,): weights under which all classes count alike; over the data their mean is 1.

    A class that does not occur gets weight 1.
    """
    mass = (rows / np.maximum(rows.sum(axis=1, keepdims=True), 1)).sum(axis=0)
    present = mass > 0
    weights = np.ones(len(mass))
    weights[present] = mass.sum() / (present.sum() * mass[present])
    return weights.astype(np.float32)
