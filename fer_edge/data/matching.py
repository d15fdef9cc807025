"""Mapping of a data set's labels to a model's labels. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fer_edge.data.splits import Indices, LabelledSplit
from fer_edge.errors import DataError
from fer_edge.labels import expected_names, join_names, match_labels, unknown_names
from fer_edge.walk import LeftOut

UNCOUNTED = "no label with more than half of the votes (FER+'s majority protocol)"


def match_split(
    data: LabelledSplit, labels: Sequence[str], words: Sequence[str] = (), owner: str = "the model"
) -> tuple[Indices, tuple[LeftOut, ...]]:
    """Return the targets of a split's images as indices into `labels`.

    Args:
        data: Images with the data set's labels.
        labels: Labels of the model.
        words: Other names of the same labels.
        owner: Owner of `labels` for messages, "the model" by default.

    Returns:
        Targets (N,), -1 for an image without one; and one entry for each image without a target.

    Raises:
        DataError: No label in common, or an unknown label in the data set, such as a misspelt one.
    """
    names = data.label_set.labels
    index = np.array([*match_labels(names, labels, words), -1], np.int64)
    if index.max() < 0:
        raise DataError(
            f"{data.source} shares no label with {owner}: its labels are {join_names(names)}; "
            f"expected some of: {', '.join(labels)}; rename its folders, or correct its list"
        )
    unknown = unknown_names(names, labels, words)
    if unknown:
        rows = np.flatnonzero(np.isin(data.labels, [names.index(name) for name in unknown]))
        example = f" ({len(rows)} images, such as {data.paths[rows[0]]})" if len(rows) else ""
        raise DataError(
            f"{data.source} has labels that {owner} does not have: {expected_names(unknown, labels, words)}; "
            f"rename or remove them{example}"
        )
    targets = index[data.labels]
    reasons = [f"label {name}, which {owner} does not have" for name in names] + [UNCOUNTED]
    left_out = (LeftOut(data.paths[i], reasons[data.labels[i]]) for i in np.flatnonzero(targets < 0))
    return targets, tuple(left_out)
