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
from fer_edge.model.heads import decide
from fer_edge.training.batches import TrainingData
from fer_edge.training.config import TrainingConfig


@dataclass(frozen=True)
class Scores:
    """Accuracies in percent, as in `EpochResult`; `finite` tells whether all logits are."""

    label: float
    text: float | None
    decided: float
    mean_of_classes: float
    only_label: str | None
    finite: bool


class Validation:
    """Every process counts its share of the validation images; the counts are summed.

    Args:
        fabric: Processes and devices.
        data: On the device.
        info: Labels and which head decides.
        config: Batch and number of processes.
        normalise: From images in [0, 1] to what the model takes.
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
        mine = slice(fabric.global_rank, None, config.processes)
        self._images, self._labels = data.valid_images[mine], data.valid_labels[mine]
        # Every process calls `each` that often, so that they can agree there.
        self._rounds = -(-len(data.valid_images) // (config.processes * config.batch))

    @torch.no_grad()
    def scores(self, model: FERFormer, each: Callable[[int, int], None]) -> Scores:
        """Accuracies of a model; `each` is called with images done and all images, after each batch."""
        output = self._predict(model, self._images, self._rounds, each)
        decided = decide(output.label_logits, output.text_logits, self._info.head)
        logits = [scores for scores in (output.label_logits, output.text_logits) if scores is not None]
        bad = torch.stack([(~scores.isfinite()).sum() for scores in logits]).sum()
        classes = self._info.config.classes
        right = [
            None if scores is None else self._counts(self._labels[scores.argmax(dim=1) == self._labels], classes)
            for scores in (output.label_logits, output.text_logits, decided)
        ]
        present, predicted = self._counts(self._labels, classes), self._counts(decided.argmax(dim=1), classes)
        of_label, of_text, of_both = (None if one is None else _percent(one.sum(), present.sum()) for one in right)
        assert of_label is not None and of_both is not None and right[2] is not None
        recalls = (right[2] / present)[present > 0]
        alone = int((predicted > 0).sum()) == 1 and int((present > 0).sum()) > 1
        return Scores(
            label=of_label,
            text=of_text,
            decided=of_both,
            mean_of_classes=round(100 * recalls.mean().item(), 3),
            only_label=self._info.labels[int(predicted.argmax())] if alone else None,
            finite=float(cast(Tensor, self._fabric.all_reduce(bad.double(), reduce_op="sum"))) == 0,
        )

    def predict(self, model: FERFormer, images: Tensor) -> Output:
        """Logits of images (N, C, H, W), uint8."""
        return self._predict(model, images, -(-len(images) // self._config.batch), lambda done, total: None)

    @torch.no_grad()
    def _predict(self, model: FERFormer, images: Tensor, rounds: int, each: Callable[[int, int], None]) -> Output:
        size, parts = self._config.batch, []
        for start in range(0, rounds * size, size):
            part = images[start : start + size]
            if len(part) or not start:
                parts.append(Output(*model(self._normalise(resize(part.float() / 255, IMAGE_SIZE)))))
            each(min(start + size, len(images)), len(images))
        text = [part.text_logits for part in parts if part.text_logits is not None]
        return Output(torch.cat([part.label_logits for part in parts]), torch.cat(text) if text else None)

    def _counts(self, labels: Tensor, classes: int) -> Tensor:
        """How often each class occurs, over all processes, (classes,)."""
        counts = torch.bincount(labels, minlength=classes).double()
        return cast(Tensor, self._fabric.all_reduce(counts, reduce_op="sum"))


def _percent(part: Tensor, whole: Tensor) -> float:
    return round(100 * (part / whole).item(), 3)
