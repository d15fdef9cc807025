"""The deploy graph as a PyTorch module, for export with `torch.onnx`.

Its outputs equal those of the training form, except for rounding. Rewrites beyond `fold.py`: the adaptive pool is an
average pool of stride 1, patches are projected by convolutions, constant tokens and biases are one added matrix, layer
norms only standardise, the query weights contain the attention scale, and the last block computes only the rows that
the heads use.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fer_edge.errors import ConfigError
from fer_edge.export.fold import FoldedStem, conv2d, norm_scale_shift
from fer_edge.model.checkpoint import Checkpoint
from fer_edge.model.encoder import EncoderBlock
from fer_edge.model.heads import head_probabilities
from fer_edge.model.tokens import MultiGranularityTokens

LOGIT_NORM_FLOOR = 1e-12
LAYER_NORM_EPS = 1e-5


class DeployOutput(NamedTuple):
    """Outputs of the graph, by their names in ONNX."""

    label_logits: Tensor  # (N, classes)
    text_logits: Tensor | None  # (N, classes)
    probabilities: Tensor  # (N, classes)


class _Tokens(nn.Module):
    """Tokens: feature map to the encoder's input, with class and steering token."""

    constants: Tensor
    scale: Tensor | None

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        model, config = checkpoint.model, checkpoint.info.config
        # Computed here, so that an unsupported grid raises our ConfigError instead of an error inside the exporter.
        self.windows = None if config.grid == config.stem.map_size else pool_windows(config.stem.map_size, config.grid)
        self.special = config.special_tokens
        self.position = _position(model.tokens)
        linears = {patch: cast(nn.Linear, model.tokens.projections[str(patch)]) for patch in config.patches}
        self.projections = nn.ModuleList(_patch_conv(linear, patch) for patch, linear in linears.items())
        scale, shift = _token_norm(model.tokens)
        bias = torch.cat(
            [linear.bias.detach().double().expand((config.grid // patch) ** 2, -1) for patch, linear in linears.items()]
        )
        special = [model.encoder.class_token, model.encoder.steering_token]
        first = [token.detach().double()[0] for token in special if token is not None]
        self.register_buffer("constants", torch.cat([*first, bias * scale[:, None] + shift[:, None]]).float())
        self.register_buffer("scale", None if model.tokens.norm is None else scale[:, None].float())

    def forward(self, features: Tensor) -> Tensor:
        x = self._pool(features)  # (N, C, grid, grid)
        if self.position is not None:
            x = self.position(x)
        # Each (N, rows * rows, dim).
        granularities = [projection(x).flatten(2).transpose(1, 2) for projection in self.projections]
        tokens = torch.cat(granularities, dim=1)  # (N, patch_tokens, dim)
        if self.scale is not None:
            tokens = tokens * self.scale
        # Zero rows in front for class and steering token; the constants contain these tokens.
        return F.pad(tokens, (0, 0, self.special, 0)) + self.constants  # (N, tokens, dim)

    def _pool(self, x: Tensor) -> Tensor:
        """Apply the adaptive average pool as a plain average pool, for which every engine has a fast kernel."""
        if self.windows is None:
            return x
        starts, size = self.windows
        pooled = F.avg_pool2d(x, size, stride=1)
        return _select(_select(pooled, starts, 2), starts, 3)


class _Attention(nn.Module):
    """Self-attention on a standardised input.

    Query, key and value are separate linear layers, so that transposes alone split the heads: engines fuse transposes
    into their attention kernel, but copy the outputs of one joint linear layer.

    Args:
        block: The trained block.
        rows: Number of leading tokens to compute; None: all.
    """

    def __init__(self, block: EncoderBlock, rows: int | None) -> None:
        super().__init__()
        self.rows = rows
        self.heads = block.attention.heads
        weight, bias = _fold_layer_norm(block.norm1, block.attention.qkv)
        dim = weight.shape[1]
        scale = (dim // self.heads) ** -0.5
        self.query = _linear(weight[:dim] * scale, bias[:dim] * scale)
        self.key = _linear(weight[dim : 2 * dim], bias[dim : 2 * dim])
        self.value = _linear(weight[2 * dim :], bias[2 * dim :])
        self.proj = block.attention.proj

    def forward(self, x: Tensor) -> Tensor:
        dim = x.shape[2]
        rows = x.shape[1] if self.rows is None else self.rows
        q = self._split(self.query(x if self.rows is None else x[:, :rows])).transpose(1, 2)
        k = self._split(self.key(x)).permute(0, 2, 3, 1)  # (N, heads, dim / heads, tokens)
        v = self._split(self.value(x)).transpose(1, 2)  # (N, heads, tokens, dim / heads)
        # Softmax in float32: sums of exponentials in float16 lose the small terms.
        weights = (q @ k).float().softmax(dim=-1).to(v.dtype)  # (N, heads, rows, tokens)
        return self.proj((weights @ v).transpose(1, 2).reshape(-1, rows, dim))  # (N, rows, dim)

    def _split(self, x: Tensor) -> Tensor:
        return x.view(-1, x.shape[1], self.heads, x.shape[2] // self.heads)  # (N, tokens, heads, dim / heads)


class _EncoderBlock(nn.Module):
    """Pre-norm block whose norms only standardise; `rows` as in `_Attention`."""

    def __init__(self, block: EncoderBlock, rows: int | None = None) -> None:
        super().__init__()
        self.rows = rows
        self.attention = _Attention(block, rows)
        self.fc1 = _linear(*_fold_layer_norm(block.norm2, block.mlp.fc1))
        self.fc2 = block.mlp.fc2

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.attention(_standardise(x))
        x = (x if self.rows is None else x[:, : self.rows]) + mixed
        return x + self.fc2(F.gelu(self.fc1(_standardise(x))))  # (N, rows or tokens, dim)


class DeployModel(nn.Module):
    """The deploy graph of a checkpoint: uint8 images to logits and probabilities. Not for training."""

    text_matrix: Tensor | None

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        model, config = checkpoint.model, checkpoint.info.config
        self.head = checkpoint.info.head
        self.stem = FoldedStem(model.stem, checkpoint.info.mean, checkpoint.info.std)
        self.tokens = _Tokens(checkpoint)
        *first, last = cast("list[EncoderBlock]", list(model.encoder.blocks))
        self.rows = 2 if config.steered else 1  # leading tokens that the heads use
        self.blocks = nn.Sequential(*(_EncoderBlock(block) for block in first), _EncoderBlock(last, self.rows))
        self.norm = model.encoder.norm
        self.label_head = model.label_head
        matrix = None if model.text_head is None else model.text_head.fold_float64()
        self.register_buffer("text_matrix", None if matrix is None else matrix.float())
        self.eval()

    def forward(self, images: Tensor) -> DeployOutput:
        """Run a batch of uint8 RGB images, (N, 112, 112, 3)."""
        x = self.blocks(self.tokens(self.stem(images))).float()  # (N, rows, dim); heads are always float32
        if self.norm is not None:
            x = self.norm(x)
        label_logits = self.label_head(x[:, 0])
        if self.text_matrix is None:
            return DeployOutput(label_logits, None, head_probabilities(label_logits, None, self.head))
        token = x[:, self.rows - 1]
        length = token.norm(dim=-1, keepdim=True).clamp(min=LOGIT_NORM_FLOOR)
        text_logits = (token @ self.text_matrix) / length
        return DeployOutput(label_logits, text_logits, head_probabilities(label_logits, text_logits, self.head))

    def convert_to_half(self) -> DeployModel:
        """Convert weights and activations to float16, except layer norms, softmax and heads, and return the model."""
        self.half()
        for module in self.modules():
            if isinstance(module, nn.LayerNorm):
                module.float()
        self.label_head.float()
        self.stem.pixel_mean = self.stem.pixel_mean.half()
        if self.text_matrix is not None:
            self.text_matrix = self.text_matrix.float()
        return self


def pool_windows(size: int, grid: int) -> tuple[list[int], int]:
    """Return the start of each window of an adaptive average pool, and their common size.

    Args:
        size: Height and width of the map.
        grid: Number of windows along each axis.

    Raises:
        ConfigError: Windows of different sizes, which an average pool does not support.
    """
    starts = [index * size // grid for index in range(grid)]
    ends = [-(-(index + 1) * size // grid) for index in range(grid)]
    sizes = {end - start for start, end in zip(starts, ends, strict=True)}
    if len(sizes) != 1:
        raise ConfigError(
            f"a {size} x {size} map cannot be pooled to {grid} x {grid} with windows of equal size; choose another grid"
        )
    return starts, sizes.pop()


def _select(x: Tensor, starts: list[int], axis: int) -> Tensor:
    """Select rows or columns; consecutive ones as slices, which engines copy faster than single indices."""
    runs: list[list[int]] = []
    for start in starts:
        if runs and runs[-1][-1] == start - 1:
            runs[-1].append(start)
        else:
            runs.append([start])
    return torch.cat([x.narrow(axis, run[0], len(run)) for run in runs], dim=axis)


def _standardise(x: Tensor) -> Tensor:
    """Apply a layer norm without scale and shift, which the next linear layer contains.

    Computed in float32: variances in float16 overflow at activations of a few hundred.
    """
    return F.layer_norm(x.float(), x.shape[-1:], eps=LAYER_NORM_EPS).to(x.dtype)


def _fold_layer_norm(norm: nn.LayerNorm, linear: nn.Linear) -> tuple[Tensor, Tensor]:
    """Fold a layer norm's scale and shift into the next linear layer; return its weight and bias, float64."""
    assert norm.eps == LAYER_NORM_EPS
    weight = linear.weight.detach().double()
    bias = weight @ norm.bias.detach().double()
    if linear.bias is not None:
        bias = bias + linear.bias.detach().double()
    return weight * norm.weight.detach().double(), bias


def _token_norm(tokens: MultiGranularityTokens) -> tuple[Tensor, Tensor]:
    """Return scale and shift of each patch token, float64, (patch_tokens,)."""
    if tokens.norm is not None:
        return norm_scale_shift(tokens.norm)
    count = sum((tokens.grid // patch) ** 2 for patch in tokens.patches)
    return torch.ones(count, dtype=torch.float64), torch.zeros(count, dtype=torch.float64)


def _position(tokens: MultiGranularityTokens) -> nn.Conv2d | None:
    """Return the position encoding plus identity as one convolution: 1 is added to the centre tap."""
    if tokens.position is None:
        return None
    weight = tokens.position.weight.detach().double().clone()
    weight[:, 0, 1, 1] += 1
    return conv2d(weight, tokens.position.bias, groups=len(weight))


def _patch_conv(linear: nn.Linear, patch: int) -> nn.Conv2d:
    """Return the projection of one patch size as a convolution, up to a patch of the whole map.

    The trained linear layer takes (row, column, channel). A convolution needs no rearranged map, which would take a
    small model longer than the multiplications.
    """
    weight = linear.weight.detach().unflatten(1, (patch, patch, -1)).permute(0, 3, 1, 2)
    return conv2d(weight, None, patch, padded=False)


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0])
    linear.weight, linear.bias = nn.Parameter(weight.float()), nn.Parameter(bias.float())
    return linear
