"""FER-former (Li et al., IEEE TMM; arXiv 2303.12997): stem, tokens, encoder, two heads."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from fer_edge.model.config import ModelConfig
from fer_edge.model.encoder import Encoder
from fer_edge.model.heads import TextHead
from fer_edge.model.stem import Stem
from fer_edge.model.tokens import MultiGranularityTokens


class Output(NamedTuple):
    """Logits of a batch."""

    label_logits: Tensor  # (N, classes)
    text_logits: Tensor | None  # (N, classes); None without a text head


class FERFormer(nn.Module):
    """The model in its training form; `export.deploy` contains the form that engines run."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = Stem(config.stem)
        self.tokens = MultiGranularityTokens(config)
        self.encoder = Encoder(config)
        self.label_head = nn.Linear(config.dim, config.classes)
        self.text_head = TextHead(config) if config.text_head else None
        self._init_weights()

    def _init_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.trunc_normal_(self.encoder.class_token, std=0.02)
        if self.encoder.steering_token is not None:
            nn.init.trunc_normal_(self.encoder.steering_token, std=0.02)

    def forward(self, images: Tensor, text_features: Tensor | None = None) -> Output:
        """Return the logits of normalised images.

        Args:
            images: Normalised images, (N, 3, 112, 112).
            text_features: Text features from a text tower in training, (classes, text_dim); the head's own by default.
        """
        class_token, text_token = self.head_tokens(images)
        label_logits = self.label_head(class_token)
        if self.text_head is None:
            return Output(label_logits, None)
        return Output(label_logits, self.text_head(text_token, text_features))

    def head_tokens(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the inputs of label head and text head for normalised images (N, 3, 112, 112).

        Returns:
            Features of the class token, and of the token that the text head reads (see `ModelConfig.steered`); each
            (N, dim).
        """
        features = self.stem(images)  # (N, C, map_size, map_size)
        special = self.encoder(self.tokens(features))  # (N, 1 or 2, dim)
        return special[:, 0], special[:, 1 if self.config.steered else 0]
