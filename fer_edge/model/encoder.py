"""The transformer encoder with class and steering token: hybrid self-attention (paper, section III-C)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fer_edge.model.config import ModelConfig


class Attention(nn.Module):
    """Multi-head self-attention, eqs. 1 and 2 of the paper."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        )  # each (N, heads, T, dim / heads)
        mixed = F.scaled_dot_product_attention(q, k, v)  # (N, heads, T, dim / heads)
        return self.proj(mixed.transpose(1, 2).flatten(2))  # (N, T, dim)


class Mlp(nn.Module):
    """Two linear layers with an exact GELU between them."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))  # (N, T, dim)


class EncoderBlock(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, dim: int, heads: int, mlp_ratio: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, dim * mlp_ratio)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Encoder(nn.Module):
    """Encoder blocks over special tokens and patch tokens; only the special tokens are returned."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.special = config.special_tokens
        self.class_token = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.steering_token = nn.Parameter(torch.zeros(1, 1, config.dim)) if config.text_head else None
        self.blocks = nn.Sequential(
            *(EncoderBlock(config.dim, config.heads, config.mlp_ratio) for _ in range(config.depth))
        )
        self.norm = nn.LayerNorm(config.dim) if config.final_norm else None

    def forward(self, patch_tokens: Tensor) -> Tensor:
        special: list[Tensor] = [token for token in (self.class_token, self.steering_token) if token is not None]
        first = torch.cat(special, dim=1).expand(len(patch_tokens), -1, -1)
        x = torch.cat([first, patch_tokens], dim=1)  # (N, special + patch_tokens, dim)
        x = self.blocks(x)[:, : self.special]
        return x if self.norm is None else self.norm(x)  # (N, special, dim)
