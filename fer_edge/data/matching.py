"""Labels of a data set, as a model counts them: which images count, and why the others do not. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fer_edge.data.splits import Indices, LabelledSplit
from fer_edge.errors import DataError
from fer_edge.labels import expected_names, join_names, match_labels, unknown_names
from fer_edge.walk import LeftOut

UNCOUNTED = "no label with more than half of the votes (FER+'s majority protocol)"


def match_split(
    data: LabelledSplit, labels: Sequence[str], words: Sequence[str] = (), whose: str = "the model"
) -> tuple[Indices, tuple[LeftOut, ...]]:
    """Targets of a split's images.

    Args:
        data: Images and their labels.
        labels: To which the targets are indices.
        words: Other names of the same labels.
        whose: Owner of the labels, for messages.

    Returns:
        Targets (N,), -1 for an image that does not count; and one entry for each such image.

    Raises:
        DataError: The split shares no label with `labels`, or has a label that is no known expression either, such as
            a misspelt one.
    """
    names = data.label_set.labels
    index = np.array([*match_labels(names, labels, words), -1], np.int64)
    if index.max() < 0:
        raise DataError(
            f"{data.source} shares no label with {whose}: its labels are {join_names(names)}; "
            f"expected some of: {', '.join(labels)}; rename its folders, or correct its list"
        )
    unknown = unknown_names(names, labels, words)
    if unknown:
        theirs = np.flatnonzero(np.isin(data.labels, [names.index(name) for name in unknown]))
        example = f" ({len(theirs)} images, such as {data.paths[theirs[0]]})" if len(theirs) else ""
        raise DataError(
            f"{data.source} has labels that {whose} does not have: {expected_names(unknown, labels, words)}; "
            f"rename or remove them{example}"
        )
    targets = index[data.labels]
    reasons = [f"label {name}, which {whose} does not have" for name in names] + [UNCOUNTED]
    left_out = (LeftOut(data.paths[i], reasons[data.labels[i]]) for i in np.flatnonzero(targets < 0))
    return targets, tuple(left_out)
