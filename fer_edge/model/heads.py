"""The text head (cosine of an image token and the labels' text features; paper, section III-D), and probabilities."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fer_edge.model.config import ModelConfig


def fold_text_features(text_features: Tensor, weight: Tensor, bias: Tensor, scale: float) -> Tensor:
    """Fold text features, projection, normalisation and scale into one constant matrix.

    Args:
        text_features: Text features of the labels, (classes, text_dim).
        weight: Projection weight, (dim, text_dim).
        bias: Projection bias, (dim,).
        scale: Factor on the cosine.

    Returns:
        (dim, classes), so that `text_logits = normalised token @ matrix`.
    """
    return scale * F.normalize(text_features @ weight.T + bias, dim=-1).T


def head_probabilities(label_logits: Tensor, text_logits: Tensor | None, head: str) -> Tensor:
    """Return the probabilities (N, classes) of a head: "label", "text", or "mean" for the mean of both."""
    if text_logits is None or head == "label":
        return label_logits.softmax(dim=-1)
    if head == "text":
        return text_logits.softmax(dim=-1)
    return (label_logits.softmax(dim=-1) + text_logits.softmax(dim=-1)) * 0.5


class TextHead(nn.Module):
    """Scaled cosine similarity of the token's feature and the projected text features."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.scale = config.text_scale
        # A parameter, so that it can be learned without a text tower; training freezes it otherwise.
        self.text_features = nn.Parameter(torch.empty(config.classes, config.text_dim))
        self.projection = nn.Linear(config.text_dim, config.dim)
        nn.init.normal_(self.text_features, std=config.text_dim**-0.5)

    def fold(self, text_features: Tensor | None = None) -> Tensor:
        """Fold the head into a matrix (dim, classes), see `fold_text_features`.

        Args:
            text_features: Text features to use, (classes, text_dim); the head's own by default.
        """
        features = self.text_features if text_features is None else text_features
        return fold_text_features(features, self.projection.weight, self.projection.bias, self.scale)

    def fold_float64(self) -> Tensor:
        """Fold the head in float64, detached; the deploy graph rounds the result once."""
        weight, bias = self.projection.weight.detach().double(), self.projection.bias.detach().double()
        return fold_text_features(self.text_features.detach().double(), weight, bias, self.scale)

    def forward(self, token: Tensor, text_features: Tensor | None = None) -> Tensor:
        return F.normalize(token, dim=-1) @ self.fold(text_features)  # (N, classes)
