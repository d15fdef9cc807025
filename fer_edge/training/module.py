"""Module that the optimizer trains (the model and, if it is fine-tuned, the text tower), and its loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from fer_edge._files import sha256
from fer_edge.model.ferformer import FERFormer, Output
from fer_edge.model.text import PromptFeatures
from fer_edge.training.int8 import round_inputs, round_weights


class TrainingModule(nn.Module):
    """A FER-former, with text features that may come from a trainable text tower.

    Args:
        model: Model to train.
        text: Text tower; by default the text features are those of the model.
        int8: Whether weights and activations are rounded as in int8, in training mode.
    """

    def __init__(self, model: FERFormer, text: PromptFeatures | None = None, *, int8: bool = False) -> None:
        super().__init__()
        self.model = model
        self.text = text
        self.int8 = int8
        if int8:
            round_inputs(model)

    def forward(self, images: Tensor) -> Output:
        """Return the logits of normalised images (N, 3, 112, 112)."""
        inputs = images, None if self.text is None else self.text()
        if self.int8 and self.training:
            output: Output = functional_call(self.model, round_weights(self.model), inputs)
            return output
        return self.model(*inputs)

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


@dataclass(frozen=True)
class JointLoss:
    """The paper's joint loss, L = L_text + L_image (eqs. 3 and 4).

    Each is a cross-entropy; with several labels per image, that of its most likely label.
    """

    multi_target: bool = False  # several labels per image (Barsoum et al., ICMI 2016, section 4.2)
    class_weights: Tensor | None = None  # (classes,)
    label_smoothing: float = 0.0

    def __call__(self, output: Output, targets: Tensor) -> Tensor:
        """Return the mean loss of a batch.

        Args:
            output: Logits of the model.
            targets: Distributions (N, classes), one-hot for hard labels; with `multi_target`, 1 for each label.
        """
        loss = self._head_loss(output.label_logits.float(), targets)
        return loss if output.text_logits is None else loss + self._head_loss(output.text_logits.float(), targets)

    def _head_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        if self.multi_target:
            return -logits.log_softmax(dim=-1).masked_fill(targets <= 0, float("-inf")).amax(dim=-1).mean()
        return F.cross_entropy(logits, targets, weight=self.class_weights, label_smoothing=self.label_smoothing)
