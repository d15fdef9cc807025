"""The PyTorch reference: the training form of the model behind the runner seam."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from fer_edge.engines.base import Floats, Images, Prediction, Runner
from fer_edge.model.checkpoint import Checkpoint, load_checkpoint
from fer_edge.model.heads import decide

MAX_BATCH = 256


class PyTorchRunner(Runner):
    """Runs a checkpoint eagerly; what every engine is compared with."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(MAX_BATCH)
        self.model = checkpoint.model.eval()
        self.info = checkpoint.info
        self._mean = torch.tensor(checkpoint.info.mean)
        self._std = torch.tensor(checkpoint.info.std)

    @torch.inference_mode()
    def features(self, images: Images) -> Floats:
        """The steering token's feature after the encoder, (N, dim); of a model that has none, the class token's.

        Args:
            images: uint8 RGB, (N, 112, 112, 3), as `infer` takes.
        """
        feature: Floats = self.model.head_tokens(self._normalised(images))[1].numpy()
        return feature

    def _normalised(self, images: Images) -> Tensor:
        x = (torch.from_numpy(images.copy()).float() / 255 - self._mean) / self._std
        return x.permute(0, 3, 1, 2)  # (N, 3, 112, 112)

    @torch.inference_mode()
    def _infer(self, images: Images) -> Prediction:
        output = self.model(self._normalised(images))
        text = output.text_logits
        return Prediction(
            output.label_logits.numpy(),
            None if text is None else text.numpy(),
            decide(output.label_logits, text, self.info.head).numpy(),
        )


def load_reference(path: Path, threads: int | None = None) -> PyTorchRunner:
    """The reference runner of a checkpoint.

    Raises:
        CheckpointError: The checkpoint cannot be read.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    return PyTorchRunner(load_checkpoint(path))
