"""Comparison of an int8 graph with the float graph on labelled images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fer_edge._files import sha256
from fer_edge._settings import Finite
from fer_edge.choices import DEFAULT_ENGINE
from fer_edge.data.images import ImageSet, Labels
from fer_edge.engines.base import Artifact, Floats, Images, RunOptions
from fer_edge.engines.registry import get_engine
from fer_edge.errors import DataError
from fer_edge.evaluation.intervals import Z95
from fer_edge.graph.typed_graph import TypedGraph
from fer_edge.progress import Advance, ignore

BATCH = 32
MIN_PROBABILITY = 1e-12  # keeps logarithms finite


@dataclass(frozen=True)
class Score:
    """Difference of a graph from the float graph, on the same engine and images."""

    drop: Finite  # of accuracy, in points; negative if more images are correct
    agreement: Finite  # share of images with the same top-1 label, in percent
    divergence: Finite  # mean Kullback-Leibler divergence of probabilities, in nats; finer than drop and agreement


def drop_interval(score: Score, images: int) -> float:
    """Return half the width of a drop's 95 % interval, in points; at least the share of one image.

    Both graphs run on the same images: if the top-1 label of c of n images changes, the standard error of the drop is
    at most sqrt(c) / n.

    Args:
        score: Measured score.
        images: Number of images that it was measured on.
    """
    changed = images * (1 - score.agreement / 100)
    return 100 / images * max(1.0, Z95 * math.sqrt(max(changed, 0.0)))


class Scorer:
    """Function that runs a graph on a fixed set of images and returns its `Score`.

    Args:
        graph: The float deploy graph.
        images: Labelled images, decoded once.
        engine: Engine that runs the graphs.
        options: CPU threads and GPU.
        progress: Callback that receives the number of images just finished with the float graph.

    Raises:
        DataError: Images without labels, or none.
    """

    def __init__(
        self,
        graph: TypedGraph,
        images: ImageSet,
        engine: str = DEFAULT_ENGINE,
        options: RunOptions | None = None,
        progress: Advance = ignore,
    ) -> None:
        if images.labels is None or not len(images):
            raise DataError("an accuracy budget needs labelled images; expected a data set or one folder per label")
        self.labels: Labels = images.labels
        self.engine = engine
        self._engine, self._options = get_engine(engine), options or RunOptions()
        self._batches: list[Images] = [batch for batch, _ in images.batches(BATCH)]
        self._reference = self._probabilities(graph, progress)
        pixels = sha256(b"".join(sha256(batch.data).encode() for batch in self._batches))
        labels = sha256(self.labels.data)
        self.sha256 = sha256(f"{labels} {pixels}".encode())  # of the images and their labels
        # Everything that scores depend on besides the graphs.
        self.key = f"{engine} {self._engine.version()} {labels} {pixels}"

    def __call__(self, graph: TypedGraph) -> Score:
        """Run a graph and compare it with the float graph."""
        probabilities, reference = self._probabilities(graph), self._reference
        top1, reference_top1 = probabilities.argmax(axis=1), reference.argmax(axis=1)
        lost = (reference_top1 == self.labels).astype(np.int64) - (top1 == self.labels)
        logs = np.log(np.maximum(reference, MIN_PROBABILITY)) - np.log(np.maximum(probabilities, MIN_PROBABILITY))
        return Score(
            drop=100 * float(lost.mean()),
            agreement=100 * float((top1 == reference_top1).mean()),
            divergence=float((reference * logs).sum(axis=1).mean()),
        )

    def _probabilities(self, graph: TypedGraph, progress: Advance = ignore) -> Floats:
        batches = []
        with self._engine.load(Artifact(graph.to_bytes(), None, BATCH), self._options) as runner:
            for images in self._batches:
                batches.append(runner.infer(images).probabilities)
                progress(len(images))
        return np.concatenate(batches)
