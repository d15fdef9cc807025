"""Knowledge distillation: targets blended with the probabilities of teacher models."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from fer_edge.errors import CheckpointError, ConfigError
from fer_edge.model.checkpoint import Checkpoint, CheckpointInfo
from fer_edge.model.ferformer import Output
from fer_edge.model.heads import head_probabilities
from fer_edge.training.config import TrainingConfig


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

    @torch.no_grad()
    def blend(self, images: Tensor, targets: Tensor) -> Tensor:
        """Blend targets with the teachers' mean probabilities for the same augmented images.

        Args:
            images: Normalised images, (n, C, 112, 112).
            targets: Distributions, (n, classes).
        """
        if not self._models:
            return targets
        with self._fabric.autocast():
            outputs = [Output(*model(images)) for model in self._models]
        probabilities = [
            head_probabilities(label.float(), None if text is None else text.float(), "mean") for label, text in outputs
        ]
        return torch.lerp(targets, torch.stack(probabilities).mean(dim=0), self._share)


def compile_model(model: nn.Module, config: TrainingConfig) -> nn.Module:
    """Return the model compiled with torch.compile if the run uses it, else unchanged."""
    if not config.compile:
        return model
    result: nn.Module = torch.compile(model)  # type: ignore[assignment]
    return result
