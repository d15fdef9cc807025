"""The paper's joint loss, L = L_text + L_image (eqs. 3 and 4)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from fer_edge.model.ferformer import Output


def joint_loss(output: Output, targets: Tensor) -> Tensor:
    """Cross-entropy of both heads, summed.

    Args:
        output: Logits of the model.
        targets: (N, classes) distributions; one-hot for the paper's hard labels.
    """
    loss = F.cross_entropy(output.label_logits.float(), targets)
    if output.text_logits is not None:
        loss = loss + F.cross_entropy(output.text_logits.float(), targets)
    return loss
