"""t-SNE of the feature that steers the text head (Fig. 5 of the paper; van der Maaten and Hinton, JMLR 2008)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from fer_edge.engines.base import Floats
from fer_edge.errors import DataError
from fer_edge.evaluation.dataset import ImageSet, Labels

if TYPE_CHECKING:
    from fer_edge.model.runner import PyTorchRunner

MOST = 2000  # points: more cover each other, and the time grows with them
FEWEST = 10
SEED = 0


@dataclass(frozen=True)
class FeatureMap:
    """Images laid out so that those with like features lie close."""

    token: str  # whose feature it is: "steering" or "class"
    points: Floats  # (n, 2)
    true: Labels  # (n,)


def feature_map(
    runner: PyTorchRunner, images: ImageSet, progress: Callable[[int], None] | None = None, most: int = MOST
) -> FeatureMap:
    """Run images and lay their features out. The same images and model give the same map.

    Args:
        runner: Of the checkpoint.
        images: Labelled and readable ones.
        progress: Told how many images are done.
        most: Take a sample of so many, where there are more.

    Raises:
        DataError: There are too few different features for a map.
    """
    chosen = images.take(sample(len(images), most))
    features = []
    for batch, _ in chosen.batches(32):
        features.append(runner.features(batch))
        if progress is not None:
            progress(len(batch))
    assert chosen.labels is not None
    token = "steering" if runner.info.config.steered else "class"
    return FeatureMap(token, lay_out(np.concatenate(features)), chosen.labels)


def sample(count: int, most: int) -> Labels:
    """Indices of at most so many of `count` items, in order."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(SEED).choice(count, most, replace=False))


def lay_out(features: Floats) -> Floats:
    """t-SNE of features by their direction, as the text head's cosine reads them.

    Args:
        features: (n, dim).

    Returns:
        (n, 2).

    Raises:
        DataError: Fewer than `FEWEST` of them differ.
    """
    directions = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    different = len(np.unique(directions, axis=0))
    if different < FEWEST:
        raise DataError(f"{different} different features; a map needs {FEWEST}")
    method = TSNE(init="pca", learning_rate="auto", perplexity=min(30, (len(features) - 1) / 3), random_state=SEED)
    with threadpool_limits(1):  # sums over threads come in any order, and t-SNE magnifies their last digit
        points: Floats = method.fit_transform(directions).astype(np.float32)
    return points
