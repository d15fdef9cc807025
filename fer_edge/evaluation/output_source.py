"""Outputs of the candidate of a comparison: computed by an engine, or read from a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from fer_edge.engines.base import IMAGE_SIZE, Images, Prediction, Runner
from fer_edge.engines.outputs import join
from fer_edge.evaluation.saved_outputs import SavedOutputs

BATCHES = (1, 7)
Record = Callable[[Images, Prediction], None]


class OutputSource(Protocol):
    """Outputs for a sequence of images, at one or more batch sizes."""

    sizes: Sequence[int]  # batch sizes, ascending
    stride: int  # number of images to pass to `outputs` at once
    inputs_sha256: str | None  # of the pixels that the outputs were computed from; None: unknown

    def row_problem(self, count: int) -> str:
        """Return why the outputs cannot be those of `count` images; an empty text if they can."""

    def sample(self, reference: Runner) -> tuple[Prediction, Prediction]:
        """Return outputs of candidate and reference for the same number of images, to compare types and shapes."""

    def outputs(self, start: int, images: Images) -> dict[int, Prediction]:
        """Return the outputs for some images by batch size.

        Args:
            start: Index of the first image.
            images: Images, at most `stride`.
        """


class EngineOutputs:
    """Outputs that an engine computes, at batch 1 and at batch 7 or its largest batch if that is less.

    Args:
        runner: Runner of the engine.
        record: Callback that receives every batch of the larger size and its outputs.
    """

    inputs_sha256: str | None = None

    def __init__(self, runner: Runner, record: Record | None = None) -> None:
        self._runner, self._record = runner, record
        self.sizes: Sequence[int] = sorted({min(size, runner.max_batch) for size in BATCHES})
        self.stride = self.sizes[-1]

    def row_problem(self, count: int) -> str:
        return ""

    def sample(self, reference: Runner) -> tuple[Prediction, Prediction]:
        blank = np.zeros((min(2, self._runner.max_batch), IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
        return self._runner.infer(blank, checked=False), reference.infer(blank)

    def outputs(self, start: int, images: Images) -> dict[int, Prediction]:
        return {size: self._run(images, size) for size in self.sizes}

    def _run(self, images: Images, size: int) -> Prediction:
        parts = []
        for first in range(0, len(images), size):
            batch = images[first : first + size]
            parts.append(self._runner.infer(batch, checked=False))
            if self._record is not None and size == self.stride:
                self._record(batch, parts[-1])
        return join(parts)


class FileOutputs:
    """Outputs read from a file.

    Args:
        saved: Content of the file.
    """

    def __init__(self, saved: SavedOutputs) -> None:
        self._saved = saved
        self.sizes: Sequence[int] = [saved.batch]
        self.stride = max(BATCHES)
        self.inputs_sha256 = saved.inputs_sha256

    def row_problem(self, count: int) -> str:
        rows = {name: len(values) for name, values in self._saved.outputs.items()}
        if rows and set(rows.values()) == {count}:
            return ""
        saved = ", ".join(f"{number} rows of {name}" for name, number in rows.items()) or "no outputs of this model"
        return f"{saved}; expected {count}, one for each image: use the inputs of `parity --save-outputs`"

    def sample(self, reference: Runner) -> tuple[Prediction, Prediction]:
        return self._saved.rows(0, 1), reference.infer(np.zeros((1, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8))

    def outputs(self, start: int, images: Images) -> dict[int, Prediction]:
        return {self._saved.batch: self._saved.rows(start, len(images))}
