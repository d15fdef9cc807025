"""Augmentation of whole batches on the device: one affine resampling, light, erasing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
from msgspec import Meta
from torch import Tensor
from torch.nn import functional as F

from fer_edge._settings import Fraction

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's "L"


class Changes(NamedTuple):
    """What happens to each image of a batch, drawn before it is done, so that processes can share a batch."""

    theta: Tensor  # (N, 2, 3), of `affine_grid`
    gain: Tensor  # (N,)
    offset: Tensor  # (N,)
    grey: Tensor  # (N,) bool
    erased: Tensor  # (N, 4): top, left, height, width in shares of the side; no height: nothing is erased
    filling: Tensor  # (N,)

    def part(self, which: slice) -> Changes:
        """Those of some images."""
        return Changes(*(value[which] for value in self))


@dataclass(frozen=True)
class Augmentation:
    """How far a training image may be changed. Zeros leave it as it is."""

    flip: Fraction = 0.5  # probability
    rotation: Annotated[float, Meta(ge=0, le=180)] = 15.0  # degrees, either way
    scale: Fraction = 0.15  # relative, either way
    shift: Fraction = 0.08  # of the side, either way
    brightness: Fraction = 0.2  # of the range, either way
    contrast: Fraction = 0.3  # relative, either way
    grey: Fraction = 0.0  # probability of losing the colours
    erasing: Fraction = 0.4  # probability of one erased rectangle (Zhong et al., AAAI 2020)

    def draw(self, count: int, generator: torch.Generator) -> Changes:
        """Changes for `count` images."""

        def uniform(*shape: int) -> Tensor:
            return _rand(generator, count, *shape) * 2 - 1  # [-1, 1)

        angle = uniform() * math.radians(self.rotation)
        zoom = 1 + uniform() * self.scale
        mirror = torch.where(_rand(generator, count) < self.flip, -1.0, 1.0)
        cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
        shift = uniform(2) * 2 * self.shift
        theta = torch.stack([cos * mirror, -sin, shift[:, 0], sin * mirror, cos, shift[:, 1]], dim=1).view(-1, 2, 3)
        gain, offset = 1 + uniform() * self.contrast, uniform() * self.brightness
        grey = _rand(generator, count) < self.grey
        area = 0.02 + 0.18 * _rand(generator, count)  # 2 to 20 %
        ratio = (uniform() * math.log(3.3)).exp()
        tall, wide = (area * ratio).sqrt().clamp(max=0.99), (area / ratio).sqrt().clamp(max=0.99)
        top, left = _rand(generator, count) * (1 - tall), _rand(generator, count) * (1 - wide)
        hit = _rand(generator, count) < self.erasing
        erased = torch.stack([top, left, tall * hit, wide], dim=1)
        return Changes(theta, gain, offset, grey, erased, _rand(generator, count))

    def __call__(self, images: Tensor, size: int, generator: torch.Generator) -> Tensor:
        """Resample images (N, C, H, W) in [0, 1] to (N, C, size, size), changed at random."""
        return apply(images, size, self.draw(len(images), generator))


def apply(images: Tensor, size: int, changes: Changes) -> Tensor:
    """Images (N, C, H, W) in [0, 1], resampled once to (N, C, size, size), then changed in light and erased."""
    grid = F.affine_grid(changes.theta, [*images.shape[:2], size, size], align_corners=False)
    out = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    if images.shape[1] == 3 and bool(changes.grey.any()):
        luma = out.new_tensor(LUMA).view(1, 3, 1, 1)
        out = torch.where(changes.grey.view(-1, 1, 1, 1), (out * luma).sum(dim=1, keepdim=True), out)
    out = ((out - 0.5) * changes.gain.view(-1, 1, 1, 1) + 0.5 + changes.offset.view(-1, 1, 1, 1)).clamp_(0, 1)
    place = (torch.arange(size, device=images.device) + 0.5) / size
    top, left, tall, wide = (value.view(-1, 1, 1) for value in changes.erased.unbind(dim=1))
    y, x = place[None, :, None], place[None, None, :]
    inside = (y >= top) & (y < top + tall) & (x >= left) & (x < left + wide)  # (N, size, size)
    return torch.where(inside[:, None], changes.filling.view(-1, 1, 1, 1), out)


def mix(images: Tensor, targets: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Blend each image and target with its neighbour's (mixup; Zhang et al., ICLR 2018); batches come shuffled.

    Args:
        images: (N, C, H, W), N even.
        targets: (N, classes) distributions.
        share: (N,) of the image itself, 0 to 1.
    """
    neighbour = torch.arange(len(images), device=images.device) ^ 1
    rows, maps = share.view(-1, 1), share.view(-1, 1, 1, 1)
    return images * maps + images[neighbour] * (1 - maps), targets * rows + targets[neighbour] * (1 - rows)


def _rand(generator: torch.Generator, *shape: int) -> Tensor:
    """Uniform in [0, 1), on the generator's device."""
    return torch.rand(*shape, generator=generator, device=generator.device)


def resize(images: Tensor, size: int) -> Tensor:
    """Bilinear with half-pixel centres and antialiasing, as the runtime's Pillow does."""
    return F.interpolate(images, (size, size), mode="bilinear", align_corners=False, antialias=True)
