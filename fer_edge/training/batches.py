"""Training batches: seed, epoch and step decide each one, so that any process can make any of them again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

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
    """Images in memory: uint8 (N, C, H, W), C 1 or 3; targets (N, classes) and true classes (N,)."""

    images: Tensor
    targets: Tensor
    valid_images: Tensor
    valid_labels: Tensor

    def fingerprint(self) -> str:
        """SHA-256 of all of it."""
        parts = (self.images, self.targets, self.valid_images, self.valid_labels)
        return sha256("".join(sha256(np.ascontiguousarray(part.cpu().numpy()).data) for part in parts).encode())


class Batches:
    """This process's part of every batch: augmented, in [0, 1], with its targets."""

    def __init__(self, data: TrainingData, config: TrainingConfig, rank: int = 0) -> None:
        self.data, self.config = data, config
        self.steps = len(data.images) // config.batch
        if self.steps == 0:
            raise DataError(f"{len(data.images)} training images are fewer than one batch of {config.batch}")
        size = config.batch // config.processes
        self.part = slice(rank * size, (rank + 1) * size)

    def epoch(self, epoch: int, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of an epoch from step `first` on: images (n, C, 112, 112), targets (n, classes)."""
        device = self.data.images.device
        order = torch.randperm(len(self.data.images), generator=self._generator(epoch), device=device)
        for step in range(first, self.steps):
            picked = order[step * self.config.batch : (step + 1) * self.config.batch]
            yield self._batch(picked, epoch, step)

    def _batch(self, picked: Tensor, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        """Everything random is drawn for the whole batch; only this process's part is then worked on."""
        generator = self._generator(epoch, step)
        changes = self.config.augmentation.draw(len(picked), generator).part(self.part)
        targets = self.data.targets[picked]
        if self.config.targets == "probability":
            drawn = torch.multinomial(targets, 1, generator=generator).squeeze(1)
            targets = torch.nn.functional.one_hot(drawn, targets.shape[1]).float()
        images = apply(self.data.images[picked[self.part]].float() / 255, IMAGE_SIZE, changes)
        targets = targets[self.part]
        if self.config.mixup:
            alpha = self.config.mixup
            share = np.random.default_rng([self.config.seed, epoch, step]).beta(alpha, alpha, len(picked))
            return mix(images, targets, torch.from_numpy(share.astype(np.float32)).to(images.device)[self.part])
        return images, targets

    def _generator(self, *place: int) -> torch.Generator:
        state = np.random.SeedSequence([self.config.seed, *place]).generate_state(1, np.uint64)
        return torch.Generator(self.data.images.device).manual_seed(int(state[0] >> np.uint64(1)))


def one_channel_is_enough(data: TrainingData, info: CheckpointInfo) -> bool:
    """Whether a model sees the same in one channel of its images as in three.

    A grey stem is spared the three equal channels of grey images, if they are normalised alike: statistics that come
    from colour images, with the weights that a run starts from, differ.
    """
    grey = data.images.shape[1] == data.valid_images.shape[1] == 1
    return info.config.stem.color == "grey" and grey and len(set(info.mean)) == len(set(info.std)) == 1
