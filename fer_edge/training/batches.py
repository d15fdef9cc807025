"""Training batches: each is a function of seed, epoch and step, so every process can reproduce any of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fer_edge._files import sha256
from fer_edge.data.augment import apply, mix
from fer_edge.errors import DataError
from fer_edge.model.checkpoint import CheckpointInfo
from fer_edge.model.config import IMAGE_SIZE
from fer_edge.training.config import TrainingConfig


@dataclass(frozen=True)
class TrainingData:
    """Images in memory, uint8 (N, C, H, W) with C 1 or 3; targets (N, classes); validation labels (N,)."""

    images: Tensor
    targets: Tensor
    valid_images: Tensor
    valid_labels: Tensor

    def sha256(self) -> str:
        """Return the SHA-256 of all images, targets and labels."""
        parts = (self.images, self.targets, self.valid_images, self.valid_labels)
        return sha256("".join(sha256(np.ascontiguousarray(part.cpu().numpy()).data) for part in parts).encode())


class Batch(NamedTuple):
    """One process's part of a batch."""

    images: Tensor  # augmented images in [0, 1], (n, C, 112, 112)
    targets: Tensor  # distributions, (n, classes)
    clean: Tensor  # the view of the teachers, see `TrainingConfig.distillation_view`; `images` for "same"


class Batches:
    """One process's part of every batch."""

    def __init__(self, data: TrainingData, config: TrainingConfig, rank: int = 0) -> None:
        self.data, self.config = data, config
        self.answers: Tensor | None = None  # the teachers' probabilities for the stored images, (N, classes)
        self.steps = len(data.images) // config.batch
        if self.steps == 0:
            raise DataError(f"{len(data.images)} training images are fewer than one batch of {config.batch}")
        size = config.batch // config.processes
        self.part = slice(rank * size, (rank + 1) * size)

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from step `first`."""
        device = self.data.images.device
        order = torch.randperm(len(self.data.images), generator=self._generator(epoch), device=device)
        for step in range(first, self.steps):
            indices = order[step * self.config.batch : (step + 1) * self.config.batch]
            yield self._batch(indices, epoch, step)

    def _batch(self, indices: Tensor, epoch: int, step: int) -> Batch:
        """Draw the random numbers of the whole batch, then augment this process's part."""
        generator = self._generator(epoch, step)
        drawn = self.config.augmentation.draw(len(indices), generator)
        targets = self.data.targets[indices]
        if self.config.targets == "probability":
            labels = torch.multinomial(targets, 1, generator=generator).squeeze(1)
            targets = torch.nn.functional.one_hot(labels, targets.shape[1]).float()
        if self.answers is not None:
            targets = torch.lerp(targets, self.answers[indices], self.config.distillation)
        if drawn.smoothing is not None:
            targets = torch.lerp(targets, targets.mean(0), drawn.smoothing[:, None])
        changes = drawn.part(self.part)
        stored = self.data.images[indices[self.part]].float() / 255
        images = apply(stored, IMAGE_SIZE, changes)
        clean = images
        if self.config.distillation_view == "clean" and self.config.distillation:
            clean = apply(stored, IMAGE_SIZE, changes.geometry())
        batch = Batch(images, targets[self.part], clean)
        return self._mix(batch, epoch, step) if self.config.mixup else batch

    def _mix(self, batch: Batch, epoch: int, step: int) -> Batch:
        """Blend pairs of a batch, each view with the same shares."""
        alpha, count = self.config.mixup, self.config.batch
        share = np.random.default_rng([self.config.seed, epoch, step]).beta(alpha, alpha, count).astype(np.float32)
        shares = torch.from_numpy(share).to(batch.images.device)[self.part]
        images = mix(batch.images, shares)
        clean = images if batch.clean is batch.images else mix(batch.clean, shares)
        return Batch(images, mix(batch.targets, shares), clean)

    def _generator(self, *position: int) -> torch.Generator:
        state = np.random.SeedSequence([self.config.seed, *position]).generate_state(1, np.uint64)
        return torch.Generator(self.data.images.device).manual_seed(int(state[0] >> np.uint64(1)))


def needs_one_channel(data: TrainingData, info: CheckpointInfo) -> bool:
    """Return whether a model with a grey stem can take one channel of grey images in place of three equal ones.

    The normalisation has to be equal for all channels: that of a model first trained on colour images is not.
    """
    grey = data.images.shape[1] == data.valid_images.shape[1] == 1
    return info.config.stem.color == "grey" and grey and len(set(info.mean)) == len(set(info.std)) == 1
