"""Exact rewrites of the trained model: batch norms, scales and constants are folded into neighbouring weights.

All arithmetic is float64, rounded once at the end. One rewrite is unusual: that of the batch norm *before* a
zero-padded convolution (face.evoLVe's IR blocks). The convolution's weight absorbs the scale of the norm. Its bias
cannot absorb the shift: the padding is zero after the norm, so the border would be wrong. Instead, the shift is added
to the whole residual stream. Since the norm is `a * x + b = a * (x + b / a)`, the stream carries `x + b / a`, for
which zero padding is the same before and after the scale. This offset differs from block to block; the bias of each
block's last convolution absorbs the difference, at no cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from fer_edge.model.stem import LUMA, IRBlock, Stem

# A larger offset in the stream would lose precision; the block's norm then remains an operator.
MAX_OFFSET = 64.0


@dataclass(frozen=True)
class FoldedConv:
    """Convolution with folded scale and shift."""

    weight: Tensor
    bias: Tensor | None
    stride: int = 1


@dataclass(frozen=True)
class FoldedBlock:
    """IR block without batch norms, except `norm` where folding would lose precision."""

    norm: tuple[Tensor, Tensor] | None  # scale and shift, (C,)
    conv1: FoldedConv
    slope: Tensor  # PReLU's slope, (C,)
    conv2: FoldedConv
    shortcut: FoldedConv | None  # None: the identity, every `conv2.stride`-th position


@dataclass(frozen=True)
class FoldedStem:
    """Stem on raw pixels: subtraction of `pixel_mean`, then convolutions and PReLUs only."""

    pixel_mean: Tensor  # (3,), from 0 to 255
    input: FoldedConv
    input_slope: Tensor
    input_offset: Tensor | None  # offset of the first block, added after the input layer, (C,)
    blocks: tuple[FoldedBlock, ...]


def norm_scale_shift(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return scale and shift, float64, of a batch norm in eval mode: `scale * x + shift`."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight.detach().double() / (norm.running_var.double() + norm.eps).sqrt()
    return scale, norm.bias.detach().double() - norm.running_mean.double() * scale


def fold_norm_after(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> FoldedConv:
    """Fold a batch norm into the preceding convolution, in float64."""
    scale, shift = norm_scale_shift(norm)
    return FoldedConv(conv.weight.detach().double() * scale[:, None, None, None], shift, _stride(conv))


def fold_stem(stem: Stem, mean: tuple[float, ...], std: tuple[float, ...]) -> FoldedStem:
    """Fold the stem, including the normalisation of pixels; exact except for rounding.

    Args:
        stem: The trained stem.
        mean: Mean of R, G and B, from 0 to 1.
        std: Standard deviation of R, G and B, from 0 to 1.
    """
    pixel_mean = 255 * torch.tensor(mean, dtype=torch.float64)
    pixel_std = 255 * torch.tensor(std, dtype=torch.float64)
    first = _fold_pair(stem.input)
    weight = first.weight
    if stem.grey is not None:
        weight = weight * torch.tensor(LUMA, dtype=torch.float64)[None, :, None, None]
    weight = weight / pixel_std[None, :, None, None]

    blocks = cast("list[IRBlock]", list(stem.blocks))
    offsets = [_stream_offset(block) for block in blocks]
    width_out = blocks[-1].conv2.out_channels
    following = [*offsets[1:], torch.zeros(width_out, dtype=torch.float64)]
    folded = tuple(_fold_block(*parts) for parts in zip(blocks, offsets, following, strict=True))
    return FoldedStem(
        pixel_mean=pixel_mean,
        input=FoldedConv(weight, first.bias, first.stride),
        input_slope=cast(nn.PReLU, stem.input[2]).weight.detach().double(),
        input_offset=offsets[0] if bool(offsets[0].any()) else None,
        blocks=folded,
    )


def _stream_offset(block: IRBlock) -> Tensor:
    """Return the offset that the residual stream carries at the input of a block, (C,)."""
    zero = torch.zeros(block.conv1.in_channels, dtype=torch.float64)
    if block.norm1 is None:
        return zero
    scale, shift = norm_scale_shift(block.norm1)
    offset = shift / scale
    return offset if bool((offset.abs() <= MAX_OFFSET).all()) else zero  # false for NaN and infinity too


def _fold_block(block: IRBlock, offset: Tensor, next_offset: Tensor) -> FoldedBlock:
    """Fold one block.

    Args:
        block: The trained block.
        offset: Offset of its input stream, (C,).
        next_offset: Offset that its output stream has to carry, (C,).
    """
    weight1, bias1, norm = block.conv1.weight.detach().double(), None, None
    if block.norm1 is not None:
        scale, shift = norm_scale_shift(block.norm1)
        if bool(offset.any()) or not bool(shift.any()):
            weight1 = weight1 * scale[None, :, None, None]
        else:
            norm = (scale, shift)
    if block.norm2 is not None:
        folded1 = fold_norm_after(block.conv1, block.norm2)
        weight1, bias1 = folded1.weight, folded1.bias

    conv2 = fold_norm_after(block.conv2, block.norm3)
    assert conv2.bias is not None
    bias2 = conv2.bias + next_offset
    shortcut = None
    if block.shortcut is None:
        bias2 = bias2 - offset
    else:
        folded = _fold_pair(block.shortcut)
        assert folded.bias is not None
        # Main path and shortcut are added, so one bias is enough.
        bias2 = bias2 + folded.bias - folded.weight[:, :, 0, 0] @ offset
        shortcut = FoldedConv(folded.weight, None, folded.stride)
    return FoldedBlock(
        norm=norm,
        conv1=FoldedConv(weight1, bias1),
        slope=block.act.weight.detach().double(),
        conv2=FoldedConv(conv2.weight, bias2, conv2.stride),
        shortcut=shortcut,
    )


def _fold_pair(layers: nn.Sequential) -> FoldedConv:
    """Fold the convolution and batch norm at the beginning of a sequence."""
    return fold_norm_after(cast(nn.Conv2d, layers[0]), cast(nn.BatchNorm2d, layers[1]))


def _stride(conv: nn.Conv2d) -> int:
    return int(conv.stride[0])
