"""PyTorch runner: the reference that engines are compared with."""

from __future__ import annotations

import os

import torch
from torch import Tensor

from fer_edge.engines.base import Floats, Images, Prediction, Runner
from fer_edge.model.checkpoint import Checkpoint, load_checkpoint
from fer_edge.model.heads import head_probabilities

MAX_BATCH = 256


class PyTorchRunner(Runner):
    """Runner of a checkpoint in PyTorch's eager mode."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(MAX_BATCH)
        self.model = checkpoint.model.eval()
        self.info = checkpoint.info
        self._mean = torch.tensor(checkpoint.info.mean)
        self._std = torch.tensor(checkpoint.info.std)

    @torch.inference_mode()
    def features(self, images: Images) -> Floats:
        """Return the feature that the text head reads, (N, dim); without a text head, the class token's feature.

        Args:
            images: RGB pixels, uint8, (N, 112, 112, 3), as for `infer`.
        """
        return self.model.head_tokens(self.normalise(images))[1].numpy()

    def normalise(self, images: Images) -> Tensor:
        """Return images as the model takes them: normalised, float32, (N, 3, 112, 112)."""
        x = (torch.from_numpy(images.copy()).float() / 255 - self._mean) / self._std
        return x.permute(0, 3, 1, 2)  # (N, 3, 112, 112)

    @torch.inference_mode()
    def _infer(self, images: Images) -> Prediction:
        output = self.model(self.normalise(images))
        text = output.text_logits
        return Prediction(
            output.label_logits.numpy(),
            None if text is None else text.numpy(),
            head_probabilities(output.label_logits, text, self.info.head).numpy(),
        )


def load_reference(path: str | os.PathLike[str], threads: int | None = None) -> PyTorchRunner:
    """Open a checkpoint with PyTorch.

    Args:
        path: Checkpoint, `.safetensors`.
        threads: Number of CPU threads of the process; PyTorch's choice by default.

    Raises:
        CheckpointError: Unreadable checkpoint.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    return PyTorchRunner(load_checkpoint(path))
