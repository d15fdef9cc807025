"""What an optimizer sees: the model and, where the text tower is trained along, that tower."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fer_edge._files import sha256
from fer_edge.model.ferformer import FERFormer, Output
from fer_edge.model.text import PromptFeatures


class TrainingModule(nn.Module):
    """A FER-former whose text features may come from a tower that learns."""

    def __init__(self, model: FERFormer, text: PromptFeatures | None = None) -> None:
        super().__init__()
        self.model = model
        self.text = text

    def forward(self, images: Tensor) -> Output:
        """Logits of normalised images (N, 3, 112, 112)."""
        output: Output = self.model(images, None if self.text is None else self.text())
        return output

    @torch.no_grad()
    def settled(self) -> FERFormer:
        """The model alone, in eval mode, with the tower's features of this moment as its own."""
        if self.text is not None and self.model.text_head is not None:
            self.model.text_head.text_features.copy_(self.text())
        return self.model.eval()


def text_print(learner: TrainingModule) -> str | None:
    """SHA-256 of the text features that a run starts with; None without a text head."""
    head = learner.model.text_head
    return None if head is None else sha256(head.text_features.detach().float().cpu().numpy().tobytes())
