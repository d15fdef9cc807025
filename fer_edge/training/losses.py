"""The paper's joint loss, L = L_text + L_image (eqs. 3 and 4)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from fer_edge.model.ferformer import Output


@dataclass(frozen=True)
class JointLoss:
    """The sum of both heads' losses: cross-entropy, or for several labels that of the likeliest of them."""

    several: bool = False  # any of an image's labels is right (Barsoum et al., ICMI 2016, section 4.2)
    class_weights: Tensor | None = None  # (classes,)
    label_smoothing: float = 0.0

    def __call__(self, output: Output, targets: Tensor) -> Tensor:
        """Mean loss of a batch.

        Args:
            output: Logits of the model.
            targets: (N, classes) distributions, one-hot for the paper's hard labels; or 1 for each of several labels.
        """
        loss = self._of_head(output.label_logits.float(), targets)
        return loss if output.text_logits is None else loss + self._of_head(output.text_logits.float(), targets)

    def _of_head(self, logits: Tensor, targets: Tensor) -> Tensor:
        if self.several:
            return -logits.log_softmax(dim=-1).masked_fill(targets <= 0, float("-inf")).amax(dim=-1).mean()
        return F.cross_entropy(logits, targets, weight=self.class_weights, label_smoothing=self.label_smoothing)
