"""Exact rewrites of the trained model: every batch norm, scale and constant goes into a neighbouring weight.

All arithmetic is float64, rounded once at the end. The one rewrite that is not textbook is that of the batch
norm *before* a zero-padded convolution (face.evoLVe's IR blocks). Its scale goes into the convolution, but its
shift does not: the padding is zero after the norm, so a bias would be wrong along the border. Instead the whole
residual stream is carried with the shift already added: with the norm `a * x + b = a * (x + b / a)`, the stream
holds `x + b / a`, where zero padding means the same thing before and after the scale. The stream's offset changes
from block to block; the difference goes into the bias of the block's last convolution, and costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from fer_edge.model.stem import LUMA, IRBlock, Stem

# Beyond this, adding the offset to the stream would cost precision; the block then keeps its norm as an operator.
MAX_OFFSET = 64.0


@dataclass(frozen=True)
class FoldedConv:
    """A convolution with everything folded in."""

    weight: Tensor
    bias: Tensor | None
    stride: int = 1


@dataclass(frozen=True)
class FoldedBlock:
    """An IR block with no norm left, but for `norm` where folding would cost precision."""

    norm: tuple[Tensor, Tensor] | None  # scale and shift, (C,)
    conv1: FoldedConv
    slope: Tensor  # of the PReLU, (C,)
    conv2: FoldedConv
    shortcut: FoldedConv | None  # None: the identity, every `conv2.stride`-th position


@dataclass(frozen=True)
class FoldedStem:
    """The stem on raw pixels: subtract `pixel_mean`, then convolutions and slopes only."""

    pixel_mean: Tensor  # (3,), of values 0 to 255
    input: FoldedConv
    input_slope: Tensor
    input_offset: Tensor | None  # added behind the input layer: the first block's stream offset, (C,)
    blocks: tuple[FoldedBlock, ...]


def norm_scale_shift(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """A batch norm in eval mode as `scale * x + shift`, float64."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight.detach().double() / (norm.running_var.double() + norm.eps).sqrt()
    return scale, norm.bias.detach().double() - norm.running_mean.double() * scale


def fold_norm_after(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> FoldedConv:
    """A convolution and the batch norm behind it as one convolution, float64."""
    scale, shift = norm_scale_shift(norm)
    return FoldedConv(conv.weight.detach().double() * scale[:, None, None, None], shift, _stride(conv))


def fold_stem(stem: Stem, mean: tuple[float, ...], std: tuple[float, ...]) -> FoldedStem:
    """The stem on raw pixels, exact but for rounding.

    Args:
        stem: The trained stem.
        mean: Of RGB in [0, 1].
        std: Likewise.
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
    """What the residual stream holds on top of its value where this block reads it, (C,)."""
    zero = torch.zeros(block.conv1.in_channels, dtype=torch.float64)
    if block.norm1 is None:
        return zero
    scale, shift = norm_scale_shift(block.norm1)
    offset = shift / scale
    return offset if bool((offset.abs() <= MAX_OFFSET).all()) else zero  # false for NaN and infinity too


def _fold_block(block: IRBlock, offset: Tensor, next_offset: Tensor) -> FoldedBlock:
    """One block; `offset` is what its input carries, `next_offset` what its output is to carry."""
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
        # The shortcut's bias joins the block's: the two are added anyway.
        assert folded.bias is not None
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
    """The convolution and batch norm that a sequence begins with."""
    return fold_norm_after(cast(nn.Conv2d, layers[0]), cast(nn.BatchNorm2d, layers[1]))


def _stride(conv: nn.Conv2d) -> int:
    return int(conv.stride[0])
