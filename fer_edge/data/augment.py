"""Augmentation of whole batches on the device: one affine resampling, light, erasing."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Augmentation:
    """How far a training image may be changed. Zeros leave it as it is."""

    flip: float = 0.5  # probability
    rotation: float = 15.0  # degrees, either way
    scale: float = 0.15  # relative, either way
    shift: float = 0.08  # of the side, either way
    brightness: float = 0.2  # of the range
    contrast: float = 0.3  # relative, either way
    erasing: float = 0.4  # probability of one erased rectangle

    def __call__(self, images: Tensor, size: int, generator: torch.Generator) -> Tensor:
        """Resample images (N, C, H, W) in [0, 1] to (N, C, size, size), changed at random."""
        count = len(images)

        def uniform(*shape: int) -> Tensor:
            return _rand(generator, count, *shape) * 2 - 1  # [-1, 1)

        angle = uniform() * math.radians(self.rotation)
        zoom = 1 + uniform() * self.scale
        mirror = torch.where(_rand(generator, count) < self.flip, -1.0, 1.0)
        cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
        shift = uniform(2) * 2 * self.shift
        theta = torch.stack([cos * mirror, -sin, shift[:, 0], sin * mirror, cos, shift[:, 1]], dim=1).view(-1, 2, 3)
        grid = F.affine_grid(theta, [count, images.shape[1], size, size], align_corners=False)
        out = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
        gain = (1 + uniform() * self.contrast).view(-1, 1, 1, 1)
        offset = (uniform() * self.brightness).view(-1, 1, 1, 1)
        out = ((out - 0.5) * gain + 0.5 + offset).clamp_(0, 1)
        return self._erase(out, generator)

    def _erase(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Set one rectangle of 2 to 20 % of the area to a random grey (Zhong et al., AAAI 2020)."""
        count, _, height, width = images.shape
        device = images.device
        area = torch.empty(count, device=device).uniform_(0.02, 0.2, generator=generator) * height * width
        ratio = torch.empty(count, device=device).uniform_(math.log(0.3), math.log(3.3), generator=generator).exp()
        tall = (area * ratio).sqrt().clamp(max=height - 1)
        wide = (area / ratio).sqrt().clamp(max=width - 1)
        top = _rand(generator, count) * (height - tall)
        left = _rand(generator, count) * (width - wide)
        y, x = torch.arange(height, device=device)[None, :, None], torch.arange(width, device=device)[None, None, :]
        top, tall, left, wide = (value[:, None, None] for value in (top, tall, left, wide))
        inside = (y >= top) & (y < top + tall) & (x >= left) & (x < left + wide)  # (N, H, W)
        hit = _rand(generator, count) < self.erasing
        grey = _rand(generator, count)[:, None, None, None]
        return torch.where((inside & hit[:, None, None])[:, None], grey, images)


def mix(images: Tensor, targets: Tensor, share: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Blend each image and target with another one's of the batch (mixup; Zhang et al., ICLR 2018).

    Args:
        images: (N, C, H, W).
        targets: (N, classes) distributions.
        share: (N,) of the image itself, 0 to 1.
        generator: Picks the partners.
    """
    partner = torch.randperm(len(images), generator=generator, device=images.device)
    rows, maps = share.view(-1, 1), share.view(-1, 1, 1, 1)
    return images * maps + images[partner] * (1 - maps), targets * rows + targets[partner] * (1 - rows)


def _rand(generator: torch.Generator, *shape: int) -> Tensor:
    """Uniform in [0, 1), on the generator's device."""
    return torch.rand(*shape, generator=generator, device=generator.device)


def resize(images: Tensor, size: int) -> Tensor:
    """Bilinear with half-pixel centres and antialiasing, as the runtime's Pillow does."""
    return F.interpolate(images, (size, size), mode="bilinear", align_corners=False, antialias=True)
