"""The paper's joint loss, L = L_text + L_image (eqs. 3 and 4)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from fer_edge.model.ferformer import Output


@dataclass(frozen=True)
class JointLoss:
    """Sum of both heads' losses: cross-entropy; with several labels per image, that of its most likely label."""

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
