"""The stem of the deploy graph: batch norms, scales and constants are folded into neighbouring weights, exactly.

All arithmetic is float64, rounded once at the end. One rewrite is unusual: that of the batch norm *before* a
zero-padded convolution (face.evoLVe's IR blocks). The convolution's weight absorbs the scale of the norm. Its bias
cannot absorb the shift: the padding is zero after the norm, so the border would be wrong. Instead, the shift is added
to the whole residual stream. Since the norm is `a * x + b = a * (x + b / a)`, the stream carries `x + b / a`, for
which zero padding is the same before and after the scale. This offset differs from block to block; the bias of each
block's last convolution absorbs the difference, at no cost.
"""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from fer_edge.model.stem import LUMA, IRBlock, SeparableBlock, Stem

# A larger offset in the stream would lose precision; the block's norm then remains an operator.
MAX_OFFSET = 64.0


class FoldedStem(nn.Module):
    """Stem on raw pixels: subtraction of the mean, then convolutions and activations only.

    Args:
        stem: The trained stem.
        mean: Mean of R, G and B, from 0 to 1.
        std: Standard deviation of R, G and B, from 0 to 1.
    """

    pixel_mean: Tensor
    offset: Tensor | None

    def __init__(self, stem: Stem, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        pixel_mean = (255 * torch.tensor(mean, dtype=torch.float64)).float()
        # One value if all are equal: engines subtract a scalar at memory speed.
        self.register_buffer("pixel_mean", pixel_mean[:1] if bool((pixel_mean == pixel_mean[0]).all()) else pixel_mean)
        first, norm, act = cast("tuple[nn.Conv2d, nn.BatchNorm2d, nn.Module]", stem.input)
        weight, bias = _fold_norm_after(first, norm)
        if stem.grey is not None:
            weight = weight * torch.tensor(LUMA, dtype=torch.float64)[None, :, None, None]
        weight = weight / (255 * torch.tensor(std, dtype=torch.float64))[None, :, None, None]
        self.input = conv2d(weight, bias, first.stride[0])
        self.act = act
        if isinstance(stem.blocks[0], SeparableBlock):
            self.register_buffer("offset", None)
            self.blocks = nn.Sequential(*map(_fold_separable, cast("list[SeparableBlock]", list(stem.blocks))))
            return
        blocks = cast("list[IRBlock]", list(stem.blocks))
        last = torch.zeros(blocks[-1].conv2.out_channels, dtype=torch.float64)
        offsets = [*map(_stream_offset, blocks), last]
        self.register_buffer("offset", offsets[0][:, None, None].float() if bool(offsets[0].any()) else None)
        self.blocks = nn.Sequential(
            *(_FoldedBlock(block, *around) for block, around in zip(blocks, pairwise(offsets), strict=True))
        )

    def forward(self, images: Tensor) -> Tensor:
        # Not folded into a bias: the first convolution pads with zeros, which have to be the mean colour.
        x = images.to(self.pixel_mean.dtype) - self.pixel_mean  # (N, 112, 112, 3)
        x = self.act(self.input(x.permute(0, 3, 1, 2)))  # (N, C, 112 / stride, 112 / stride)
        if self.offset is not None:
            x = x + self.offset
        return self.blocks(x)  # (N, C, map, map)


class _FoldedBlock(nn.Module):
    """IR block of convolutions and an activation, with a norm only where folding would lose precision.

    Args:
        block: The trained block.
        offset: Offset of its input stream, (C,).
        next_offset: Offset that its output stream has to carry, (C,).
    """

    def __init__(self, block: IRBlock, offset: Tensor, next_offset: Tensor) -> None:
        super().__init__()
        self.norm = None
        if block.norm1 is None:
            assert block.norm2 is not None
            self.conv1 = conv2d(*_fold_norm_after(block.conv1, block.norm2))
        else:
            weight = block.conv1.weight.detach().double()
            scale, shift = norm_scale_shift(block.norm1)
            if bool(offset.any()) or not bool(shift.any()):
                weight = weight * scale[None, :, None, None]
            else:
                self.norm = _Affine(scale, shift)
            self.conv1 = conv2d(weight, None)
        self.act = block.act
        weight, bias = _fold_norm_after(block.conv2, block.norm3)
        bias = bias + next_offset
        shortcut = None
        if block.shortcut is None:
            bias = bias - offset
        else:
            conv, norm = cast("tuple[nn.Conv2d, nn.BatchNorm2d]", block.shortcut)
            side, side_bias = _fold_norm_after(conv, norm)
            # Main path and shortcut are added, so one bias is enough.
            bias = bias + side_bias - side[:, :, 0, 0] @ offset
            shortcut = conv2d(side, None, block.stride)
        # The order of these modules is that of the graph's constants.
        self.conv2 = conv2d(weight, bias, block.stride)
        self.shortcut = shortcut
        self.stride = block.stride

    def forward(self, x: Tensor) -> Tensor:
        if self.shortcut is not None:
            identity = self.shortcut(x)
        else:
            identity = x if self.stride == 1 else x[:, :, :: self.stride, :: self.stride]
        if self.norm is not None:
            x = self.norm(x)
        residual: Tensor = self.conv2(self.act(self.conv1(x)))
        return residual + identity  # (N, C, H / stride, W / stride)


def _fold_separable(block: SeparableBlock) -> nn.Sequential:
    """Return a separable block of convolutions and activations only."""
    convolutions, norms, activations = (list(block)[start::3] for start in range(3))
    depthwise, pointwise = cast("list[nn.Conv2d]", convolutions)
    norm1, norm2 = cast("list[nn.BatchNorm2d]", norms)
    first = conv2d(*_fold_norm_after(depthwise, norm1), depthwise.stride[0], groups=depthwise.groups)
    return nn.Sequential(first, activations[0], conv2d(*_fold_norm_after(pointwise, norm2)), activations[1])


class _Affine(nn.Module):
    """Scale and shift per channel of a map."""

    scale: Tensor
    shift: Tensor

    def __init__(self, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale[:, None, None].float())
        self.register_buffer("shift", shift[:, None, None].float())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.shift


def norm_scale_shift(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return scale and shift, float64, of a batch norm in eval mode: `scale * x + shift`."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight.detach().double() / (norm.running_var.double() + norm.eps).sqrt()
    return scale, norm.bias.detach().double() - norm.running_mean.double() * scale


def conv2d(weight: Tensor, bias: Tensor | None, stride: int = 1, *, padded: bool = True, groups: int = 1) -> nn.Conv2d:
    """Return a float32 convolution with this weight, (out, in / groups, size, size), padded by half of its size."""
    width, inner, size, _ = weight.shape
    padding = size // 2 if padded else 0
    conv = nn.Conv2d(inner * groups, width, size, stride, padding, groups=groups, bias=bias is not None)
    conv.weight = nn.Parameter(weight.float())
    conv.bias = None if bias is None else nn.Parameter(bias.float())
    return conv


def _fold_norm_after(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Fold a batch norm into the preceding convolution; return weight and bias, float64."""
    scale, shift = norm_scale_shift(norm)
    return conv.weight.detach().double() * scale[:, None, None, None], shift


def _stream_offset(block: IRBlock) -> Tensor:
    """Return the offset that the residual stream carries at the input of a block, (C,)."""
    zero = torch.zeros(block.conv1.in_channels, dtype=torch.float64)
    if block.norm1 is None:
        return zero
    scale, shift = norm_scale_shift(block.norm1)
    offset = shift / scale
    return offset if bool((offset.abs() <= MAX_OFFSET).all()) else zero  # false for NaN and infinity too
