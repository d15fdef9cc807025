"""Module that the optimizer trains: the model and, if it is fine-tuned, the text tower."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fer_edge._files import sha256
from fer_edge.model.ferformer import FERFormer, Output
from fer_edge.model.text import PromptFeatures


class TrainingModule(nn.Module):
    """A FER-former, with text features that may come from a trainable text tower."""

    def __init__(self, model: FERFormer, text: PromptFeatures | None = None) -> None:
        super().__init__()
        self.model = model
        self.text = text

    def forward(self, images: Tensor) -> Output:
        """Return the logits of normalised images (N, 3, 112, 112)."""
        return self.model(images, None if self.text is None else self.text())

    @torch.no_grad()
    def inference_model(self) -> FERFormer:
        """Return the model in eval mode, with the tower's current text features copied into its text head."""
        if self.text is not None and self.model.text_head is not None:
            self.model.text_head.text_features.copy_(self.text())
        return self.model.eval()


def text_features_sha256(module: TrainingModule) -> str | None:
    """Return the SHA-256 of a run's initial text features; None without a text head."""
    head = module.model.text_head
    return None if head is None else sha256(head.text_features.detach().float().cpu().numpy().tobytes())
