"""How far an int8 graph is from the float one, on labelled images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fer_edge._files import sha256
from fer_edge._settings import Finite
from fer_edge.engines.base import Artifact, Floats, Images, RunOptions
from fer_edge.engines.registry import get_engine
from fer_edge.errors import DataError
from fer_edge.evaluation.dataset import ImageSet, Labels
from fer_edge.evaluation.intervals import Z95

BATCH = 32
SMALLEST = 1e-12  # of a probability in a logarithm


@dataclass(frozen=True)
class Score:
    """Against the float graph on the same engine and images."""

    drop: Finite  # of accuracy, in points; negative: more images are right
    agreement: Finite  # share of images decided alike, in percent
    divergence: Finite  # mean Kullback-Leibler divergence of probabilities, in nats: finer than both


def drop_interval(score: Score, images: int) -> float:
    """Half width of the 95 % interval of a drop, in points; at least what one image is worth.

    Both graphs decide the same images: where c of n are decided otherwise, the standard error of the share lost is at
    most sqrt(c) / n.

    Args:
        score: A measurement.
        images: Number of images that it was made on.
    """
    changed = images * (1 - score.agreement / 100)
    return 100 / images * max(1.0, Z95 * math.sqrt(max(changed, 0.0)))


class Scorer:
    """Runs graphs on the same images and compares each with the float graph.

    Args:
        model: The float deploy graph.
        images: Labelled ones; decoded once.
        engine: Which runs the graphs.
        threads: Of the engine.
    """

    def __init__(self, model: bytes, images: ImageSet, engine: str = "openvino", threads: int | None = None) -> None:
        if images.labels is None or not len(images):
            raise DataError("an accuracy budget needs labelled images; expected a data set or one folder per label")
        self.labels: Labels = images.labels
        self.engine = engine
        self._engine, self._options = get_engine(engine), RunOptions(threads=threads)
        self._batches: list[Images] = [batch for batch, _ in images.batches(BATCH)]
        self._reference = self._probabilities(model)
        pixels = sha256(b"".join(sha256(batch.data).encode() for batch in self._batches))
        # What scores depend on, besides the graphs.
        self.key = f"{engine} {self._engine.version()} {sha256(self.labels.data)} {pixels}"

    @property
    def accuracy(self) -> float:
        """Of the float graph, in percent."""
        return 100 * float((self._reference.argmax(axis=1) == self.labels).mean())

    def __call__(self, model: bytes) -> Score:
        found, expected = self._probabilities(model), self._reference
        decided, wanted = found.argmax(axis=1), expected.argmax(axis=1)
        lost = (wanted == self.labels).astype(np.int64) - (decided == self.labels)
        logs = np.log(np.maximum(expected, SMALLEST)) - np.log(np.maximum(found, SMALLEST))
        return Score(
            drop=100 * float(lost.mean()),
            agreement=100 * float((decided == wanted).mean()),
            divergence=float((expected * logs).sum(axis=1).mean()),
        )

    def _probabilities(self, model: bytes) -> Floats:
        with self._engine.load(Artifact(model, None, BATCH), self._options) as runner:
            return np.concatenate([runner.infer(batch).probabilities for batch in self._batches])
