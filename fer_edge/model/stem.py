"""The convolutional stem: IR blocks (ArcFace; Deng et al., CVPR 2019) as in face.evoLVe, or separable convolutions."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fer_edge.model.config import StemConfig

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


class ToGrey(nn.Module):
    """Conversion of RGB to luma; images with one channel pass unchanged."""

    luma: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("luma", torch.empty(1, 3, 1, 1), persistent=False)
        self.restore_constants()

    def restore_constants(self) -> None:
        """Set the buffers that checkpoints do not store."""
        with torch.no_grad():
            self.luma.copy_(torch.tensor(LUMA).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[1] == 1:
            return images
        return (images * self.luma).sum(dim=1, keepdim=True)  # (N, 1, H, W)


def make_activation(name: str, width: int) -> nn.Module:
    """Make the activation of a layer of `width` channels, see `StemConfig.activation`."""
    return nn.PReLU(width) if name == "prelu" else nn.ReLU()


class IRBlock(nn.Module):
    """Residual block: (BN,) conv 3x3, activation, conv 3x3 with stride, BN; plus the shortcut."""

    def __init__(self, width_in: int, width: int, stride: int, config: StemConfig) -> None:
        super().__init__()
        self.stride = stride
        self.norm1 = nn.BatchNorm2d(width_in) if config.pre_norm else None
        self.conv1 = nn.Conv2d(width_in, width, 3, padding=1, bias=False)
        # Without a leading norm, a norm follows the first convolution and can be folded into it.
        self.norm2 = None if config.pre_norm else nn.BatchNorm2d(width)
        self.act = make_activation(config.activation, width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.norm3 = nn.BatchNorm2d(width)
        self.shortcut = (
            None
            if width_in == width
            else nn.Sequential(nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width))
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.shortcut is not None:
            identity = self.shortcut(x)
        else:
            identity = (
                x if self.stride == 1 else x[:, :, :: self.stride, :: self.stride]
            )  # equals a 1x1 max pool with stride
        if self.norm1 is not None:
            x = self.norm1(x)
        x = self.conv1(x)
        if self.norm2 is not None:
            x = self.norm2(x)
        residual: Tensor = self.norm3(self.conv2(self.act(x)))
        return residual + identity  # (N, width, H / stride, W / stride)


class DepthwiseConv(nn.Conv2d):
    """Depthwise convolution 3x3.

    In training on a CPU, a stride is taken by slicing the output of a convolution without stride: the gradient of the
    strided one takes oneDNN 20 times as long.
    """

    def __init__(self, width: int, stride: int) -> None:
        super().__init__(width, width, 3, stride, padding=1, groups=width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.stride == (1, 1) or x.device.type != "cpu":
            return super().forward(x)
        y = functional.conv2d(x, self.weight, padding=1, groups=self.groups)  # (N, width, H, W)
        # (N, width, H / stride, W / stride)
        return y[:, :, :: self.stride[0], :: self.stride[1]].contiguous(memory_format=torch.channels_last)


class SeparableBlock(nn.Sequential):
    """MobileNet's block (Howard et al., arXiv 1704.04861): depthwise conv 3x3, conv 1x1, each with BN and ReLU6."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__(
            DepthwiseConv(width_in, stride),
            nn.BatchNorm2d(width_in),
            nn.ReLU6(),
            nn.Conv2d(width_in, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU6(),
        )  # (N, width, H / stride, W / stride)


class Stem(nn.Module):
    """Convolutions from images to a feature map of `map_size` x `map_size`."""

    def __init__(self, config: StemConfig) -> None:
        super().__init__()
        self.grey = ToGrey() if config.color == "grey" else None
        channels = 1 if config.color == "grey" else 3
        stride, padding = config.input_stride, config.kernel // 2
        self.input = nn.Sequential(
            nn.Conv2d(channels, config.input_width, config.kernel, stride, padding, bias=False),
            nn.BatchNorm2d(config.input_width),
            make_activation(config.activation, config.input_width) if config.kind == "ir" else nn.ReLU6(),
        )
        blocks: list[nn.Module] = []
        width_in = config.input_width
        for stage, (width, units) in enumerate(zip(config.widths, config.units, strict=True)):
            for unit in range(units):
                if config.kind == "separable":
                    blocks.append(SeparableBlock(width_in, width, 2 if stage and unit == 0 else 1))
                else:
                    blocks.append(IRBlock(width_in, width, 2 if unit == 0 else 1, config))
                width_in = width
        self.blocks = nn.Sequential(*blocks)

    def forward(self, images: Tensor) -> Tensor:
        if self.grey is not None:
            images = self.grey(images)
        x = self.input(images)  # (N, input_width, 112 / input_stride, 112 / input_stride)
        return self.blocks(x)  # (N, widths[-1], map_size, map_size)
