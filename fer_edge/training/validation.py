"""Accuracy of a model on the validation images, over all processes of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from lightning_fabric import Fabric
from torch import Tensor

from fer_edge.data.augment import resize
from fer_edge.model.checkpoint import CheckpointInfo
from fer_edge.model.config import IMAGE_SIZE
from fer_edge.model.ferformer import FERFormer, Output
from fer_edge.model.heads import head_probabilities
from fer_edge.training.batches import TrainingData
from fer_edge.training.config import TrainingConfig


@dataclass(frozen=True)
class Scores:
    """Accuracies in percent, as in `EpochResult`."""

    label: float
    text: float | None
    combined: float  # of the model's head: the mean of both, or the label head
    mean_class: float
    only_label: str | None
    finite: bool  # whether all logits are finite


class Validation:
    """Validation in all processes: each counts its share of the images, and the counts are summed.

    Args:
        fabric: Processes and devices.
        data: Images on the device.
        info: Labels and head of the model.
        config: Batch size and number of processes.
        normalise: Function from images in [0, 1] to the model's input.
    """

    def __init__(
        self,
        fabric: Fabric,
        data: TrainingData,
        info: CheckpointInfo,
        config: TrainingConfig,
        normalise: Callable[[Tensor], Tensor],
    ) -> None:
        self._fabric, self._info, self._config, self._normalise = fabric, info, config, normalise
        share = slice(fabric.global_rank, None, config.processes)
        self._images, self._labels = data.valid_images[share], data.valid_labels[share]
        # Equal in all processes, because `after_batch` may communicate between them.
        self._batches = -(-len(data.valid_images) // (config.processes * config.batch))

    @torch.no_grad()
    def scores(self, model: FERFormer, after_batch: Callable[[int, int], None]) -> Scores:
        """Measure the accuracies of a model.

        Args:
            model: Model in eval mode.
            after_batch: Callback that receives the number of finished images and of all images.
        """
        output = self._predict(model, self._images, self._batches, after_batch)
        probabilities = head_probabilities(output.label_logits, output.text_logits, self._info.head)
        logits = [values for values in (output.label_logits, output.text_logits) if values is not None]
        nonfinite = torch.stack([(~values.isfinite()).sum() for values in logits]).sum()
        correct = [
            None if values is None else self._counts(self._labels[values.argmax(dim=1) == self._labels])
            for values in (output.label_logits, output.text_logits, probabilities)
        ]
        present, predicted = self._counts(self._labels), self._counts(probabilities.argmax(dim=1))
        label, text, combined = (
            None if counts is None else _percent(counts.sum(), present.sum()) for counts in correct
        )
        assert label is not None and combined is not None and correct[2] is not None
        recalls = (correct[2] / present)[present > 0]
        constant = int((predicted > 0).sum()) == 1 and int((present > 0).sum()) > 1
        return Scores(
            label=label,
            text=text,
            combined=combined,
            mean_class=round(100 * recalls.mean().item(), 3),
            only_label=self._info.labels[int(predicted.argmax())] if constant else None,
            finite=float(cast(Tensor, self._fabric.all_reduce(nonfinite.double(), reduce_op="sum"))) == 0,
        )

    def predict(self, model: FERFormer, images: Tensor) -> Output:
        """Return the logits of images (N, C, H, W), uint8."""
        return self._predict(model, images, -(-len(images) // self._config.batch), lambda done, total: None)

    @torch.no_grad()
    def _predict(
        self, model: FERFormer, images: Tensor, batches: int, after_batch: Callable[[int, int], None]
    ) -> Output:
        size, parts = self._config.batch, []
        for start in range(0, batches * size, size):
            part = images[start : start + size]
            if len(part) or not start:
                parts.append(Output(*model(self._normalise(resize(part.float() / 255, IMAGE_SIZE)))))
            after_batch(min(start + size, len(images)), len(images))
        text = [part.text_logits for part in parts if part.text_logits is not None]
        return Output(torch.cat([part.label_logits for part in parts]), torch.cat(text) if text else None)

    def _counts(self, labels: Tensor) -> Tensor:
        """Count the images of each class over all processes, (classes,)."""
        counts = torch.bincount(labels, minlength=self._info.config.classes).double()
        return cast(Tensor, self._fabric.all_reduce(counts, reduce_op="sum"))


def _percent(part: Tensor, whole: Tensor) -> float:
    return round(100 * (part / whole).item(), 3)
