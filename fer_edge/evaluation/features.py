"""t-SNE map of the feature that the text head reads (Fig. 5 of the paper; van der Maaten and Hinton, JMLR 2008)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fer_edge.data.images import ImageSet, Labels
from fer_edge.engines.base import Floats
from fer_edge.errors import DataError
from fer_edge.progress import Advance, ignore

if TYPE_CHECKING:
    from fer_edge.model.runner import PyTorchRunner

MAX_POINTS = 2000  # more points overlap, and the time grows with their number
MIN_POINTS = 10
SEED = 0


@dataclass(frozen=True)
class FeatureMap:
    """Two-dimensional map of images, in which neighbours have similar features."""

    token: str  # token of the features: "steering" or "class"
    points: Floats  # (n, 2)
    true: Labels  # (n,)


def feature_map(
    runner: PyTorchRunner,
    images: ImageSet,
    advance: Advance = ignore,
    max_points: int = MAX_POINTS,
) -> FeatureMap:
    """Compute the features of images and embed them in two dimensions. Equal images and models give equal maps.

    Args:
        runner: Reference runner of the checkpoint.
        images: Labelled, readable images.
        advance: Callback that receives the number of images just finished.
        max_points: Number of images in the map; larger sets are sampled. 2000 by default.

    Raises:
        DataError: Too few distinct features for a map.
    """
    chosen = images.take(sample(len(images), max_points))
    features = []
    for batch, _ in chosen.batches(32):
        features.append(runner.features(batch))
        advance(len(batch))
    assert chosen.labels is not None
    token = "steering" if runner.info.config.steered else "class"
    return FeatureMap(token, embed(np.concatenate(features)), chosen.labels)


def sample(count: int, most: int) -> Labels:
    """Draw at most `most` indices out of `count`, with a fixed seed, in ascending order."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(SEED).choice(count, most, replace=False))


def embed(features: Floats) -> Floats:
    """Embed features by t-SNE. Only their directions count, as in the text head's cosine similarity.

    Args:
        features: Features, (n, dim).

    Returns:
        Points, (n, 2).

    Raises:
        DataError: Fewer than `MIN_POINTS` distinct features.
    """
    from sklearn.manifold import TSNE  # 2 seconds to import
    from threadpoolctl import threadpool_limits

    directions = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    distinct = len(np.unique(directions, axis=0))
    if distinct < MIN_POINTS:
        raise DataError(f"{distinct} distinct features; a map needs at least {MIN_POINTS}")
    method = TSNE(init="pca", learning_rate="auto", perplexity=min(30, (len(features) - 1) / 3), random_state=SEED)
    with threadpool_limits(1):  # multithreaded sums are not reproducible, and t-SNE amplifies their rounding errors
        points: Floats = method.fit_transform(directions).astype(np.float32)
    return points
