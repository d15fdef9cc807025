"""Knowledge distillation: targets blended with the probabilities of teacher models."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from fer_edge.errors import CheckpointError, ConfigError
from fer_edge.model.checkpoint import Checkpoint, CheckpointInfo
from fer_edge.model.ferformer import Output
from fer_edge.model.heads import head_probabilities
from fer_edge.training.config import TrainingConfig

logger = logging.getLogger("fer_edge")


class Teachers:
    """Teacher models of a run; may be none.

    Args:
        checkpoints: Checkpoints of the teachers.
        info: Metadata of the model to train.
        config: Settings of the run.
        fabric: Device and precision.

    Raises:
        CheckpointError: A teacher with other labels or another normalisation.
        ConfigError: Targets other than distributions.
    """

    def __init__(
        self, checkpoints: Sequence[Checkpoint], info: CheckpointInfo, config: TrainingConfig, fabric: Fabric
    ) -> None:
        self._fabric, self._share = fabric, config.distillation
        self._stored = config.distillation_view == "stored"
        self.sha256 = [checkpoint.fingerprint() for checkpoint in checkpoints]
        self._models: list[nn.Module] = []
        for checkpoint in checkpoints:
            teacher = checkpoint.info
            if (teacher.labels, teacher.mean, teacher.std) != (info.labels, info.mean, info.std):
                raise CheckpointError("a teacher has other labels or another normalisation than the model to train")
            if config.targets == "multi_target":
                raise ConfigError("teachers need targets that are distributions, not multi_target; use crossentropy")
            model = checkpoint.model.to(memory_format=torch.channels_last).eval().requires_grad_(False)
            self._models.append(compile_model(fabric.to_device(model), config))

    def blend(self, images: Tensor, targets: Tensor) -> Tensor:
        """Blend targets with the teachers' mean probabilities, unless those are of the stored images.

        Args:
            images: Normalised images, (n, C, 112, 112).
            targets: Distributions, (n, classes).
        """
        if not self._models or self._stored:
            return targets
        return torch.lerp(targets, self._probabilities(images), self._share)

    def stored_answers(
        self, images: Tensor, prepare: Callable[[Tensor], Tensor], batch: int, after_batch: Callable[[], None]
    ) -> Tensor | None:
        """Return the mean probabilities for stored images and their mirror images, (N, classes).

        Args:
            images: Stored images, (N, C, H, W), uint8.
            prepare: Function from images in [0, 1] to the models' input.
            batch: Number of images of one call.
            after_batch: Callback after each call.

        Returns:
            Probabilities, or None without teachers or for another view; the models are released.
        """
        if not self._models or not self._stored:
            return None
        logger.info("the teachers predict %d images", len(images))
        answers = []
        for part in images.split(batch):
            view = prepare(part.float() / 255)
            answers.append((self._probabilities(view) + self._probabilities(view.flip(3))) / 2)
            after_batch()
        self._models.clear()
        return torch.cat(answers)

    @torch.no_grad()
    def _probabilities(self, images: Tensor) -> Tensor:
        with self._fabric.autocast():
            outputs = [Output(*model(images)) for model in self._models]
        probabilities = [
            head_probabilities(label.float(), None if text is None else text.float(), "mean") for label, text in outputs
        ]
        return torch.stack(probabilities).mean(dim=0)


def compile_model(model: nn.Module, config: TrainingConfig) -> nn.Module:
    """Return the model compiled with torch.compile if the run uses it, else unchanged."""
    if not config.compile:
        return model
    result: nn.Module = torch.compile(model)  # type: ignore[assignment]
    return result
