"""Multi-granularity embedding integration (MGEI): patches of several sizes of one map (paper, section III-B)."""

from __future__ import annotations

from torch import Tensor, cat, nn

from fer_edge.model.config import ModelConfig


class MultiGranularityTokens(nn.Module):
    """Tokens of a feature map: pool to grid x grid, cut patches of each size, flatten and project each patch."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.stem.widths[-1]
        self.grid = config.grid
        self.pool = nn.AdaptiveAvgPool2d(config.grid) if config.grid != config.stem.map_size else None
        self.position = nn.Conv2d(width, width, 3, padding=1, groups=width) if config.position_encoding else None
        self.patches = config.patches
        self.projections = nn.ModuleDict(
            {str(patch): nn.Linear(patch * patch * width, config.dim) for patch in config.patches}
        )
        self.norm = nn.BatchNorm1d(config.patch_tokens) if config.token_norm else None

    def forward(self, features: Tensor) -> Tensor:
        x = features if self.pool is None else self.pool(features)  # (N, C, grid, grid)
        if self.position is not None:
            x = x + self.position(x)
        tokens = cat([self.projections[str(patch)](self._cut(x, patch)) for patch in self.patches], dim=1)
        return tokens if self.norm is None else self.norm(tokens)  # (N, patch_tokens, dim)

    def _cut(self, x: Tensor, patch: int) -> Tensor:
        """Cut patches in reading order and flatten each as (row, column, channel), as in the authors' release."""
        rows = self.grid // patch
        x = x.unflatten(3, (rows, patch)).unflatten(2, (rows, patch))  # (N, C, rows, patch, rows, patch)
        return x.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)  # (N, rows * rows, patch * patch * C)
