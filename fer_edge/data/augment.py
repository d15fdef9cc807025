"""Augmentation of whole batches on the device: degradation, one affine resampling, light, covered parts."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, NamedTuple

import torch
from msgspec import Meta
from torch import Tensor
from torch.nn import functional as F

from fer_edge._settings import Fraction
from fer_edge.data.degrade import Degradation, Faults, degrade, lost_detail

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's mode "L"


# Covered parts of a face, as top, left, height and width: halves, eyes, mouth, a headset.
COVERS = (
    (0.0, 0.0, 0.5, 1.0),
    (0.5, 0.0, 0.5, 1.0),
    (0.0, 0.0, 1.0, 0.5),
    (0.0, 0.5, 1.0, 0.5),
    (0.25, 0.05, 0.25, 0.9),
    (0.62, 0.2, 0.3, 0.6),
    (0.1, 0.0, 0.45, 1.0),
)
# Label smoothing for each of these parts, relative to the lower half. Without it, a model is more confident than
# accurate there. The ratios follow the calibration error on FERPlus's validation images, and are larger for the mouth
# and the headset.
COVER_SMOOTHING = (0.36, 1.0, 0.28, 0.28, 0.24, 0.72, 0.72)
# Largest change of each of the four values, in either direction: in a long training, a model learns the exact places,
# and is too confident where a cover is a pixel larger.
COVER_JITTER = 0.06


class Changes(NamedTuple):
    """Random changes of each image of a batch, drawn beforehand so that processes can share the batch."""

    theta: Tensor  # (N, 2, 3), matrices for `affine_grid`
    gain: Tensor  # (N,)
    offset: Tensor  # (N,)
    grey: Tensor  # (N,) bool
    erased: Tensor  # (N, 4): top, left, height, width relative to the image side; height 0 erases nothing
    filling: Tensor  # (N,), value of the erased rectangle
    gamma: Tensor | None = None  # (N,), exponent of the values
    light: Tensor | None = None  # (N, 2), change of the gain from the middle to the right and to the bottom
    faults: Faults | None = None
    smoothing: Tensor | None = None  # (N,), share of the mean target in each target

    def part(self, rows: slice) -> Changes:
        """Return the changes of some of the images."""
        parts = {name: value[rows] for name, value in self._asdict().items() if isinstance(value, Tensor)}
        return Changes(**parts, faults=None if self.faults is None else self.faults.part(rows))

    def geometry(self) -> Changes:
        """Return the changes of geometry alone."""
        none = torch.zeros_like(self.offset)
        return Changes(self.theta, none + 1, none, self.grey, torch.zeros_like(self.erased), none)


@dataclass(frozen=True)
class Augmentation:
    """Largest random changes of training images. Zero switches a change off."""

    flip: Fraction = 0.5  # probability
    rotation: Annotated[float, Meta(ge=0, le=180)] = 15.0  # degrees, in either direction
    scale: Fraction = 0.15  # relative, in either direction
    aspect: Fraction = 0.0  # of height and width, relative, in either direction
    shift: Fraction = 0.08  # relative to the image side, in either direction
    brightness: Fraction = 0.2  # relative to the value range, in either direction
    contrast: Fraction = 0.3  # relative, in either direction
    gamma: Annotated[float, Meta(ge=1, le=8)] = 1.0  # largest exponent of the values, and inverse of the smallest
    light: Fraction = 0.0  # change of the gain between two sides of the image, as light from one side causes it
    grey: Fraction = 0.0  # probability of conversion to grey
    erasing: Fraction = 0.4  # probability of one erased rectangle (Zhong et al., AAAI 2020)
    cover: Fraction = 0.0  # share of the erased rectangles that cover a half, the eyes or the mouth
    smoothing: Fraction = 0.0  # share of the mean target in the target of an image whose lower half is covered
    degradation: Degradation = field(default_factory=Degradation)

    def draw(self, count: int, generator: torch.Generator) -> Changes:
        """Draw the changes of `count` images."""

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
        area = 0.02 + 0.18 * _rand(generator, count)  # 2 to 20 % of the image
        ratio = (uniform() * math.log(3.3)).exp()
        height, width = (area * ratio).sqrt().clamp(max=0.99), (area / ratio).sqrt().clamp(max=0.99)
        top, left = _rand(generator, count) * (1 - height), _rand(generator, count) * (1 - width)
        erases = _rand(generator, count) < self.erasing
        erased = torch.stack([top, left, height * erases, width], dim=1)
        changes = Changes(theta, gain, offset, grey, erased, _rand(generator, count))
        return self._draw_rest(changes, generator)

    def _draw_rest(self, changes: Changes, generator: torch.Generator) -> Changes:
        """Draw the changes that are off by default; those that are off draw no random numbers."""
        count = len(changes.theta)

        def uniform(*shape: int) -> Tensor:
            return _rand(generator, count, *shape) * 2 - 1

        if self.aspect:
            ratio = (1 + self.aspect * uniform()).sqrt()
            factors = torch.stack([ratio, 1 / ratio, torch.ones_like(ratio)], dim=1)[:, None]
            changes = changes._replace(theta=changes.theta * factors)
        if self.cover:
            parts = changes.erased.new_tensor(COVERS)
            index = torch.randint(len(parts), (count,), generator=generator, device=generator.device)
            covers = (_rand(generator, count) < self.cover) & (changes.erased[:, 2] > 0)
            places = parts[index] + COVER_JITTER * uniform(4)
            changes = changes._replace(erased=torch.where(covers[:, None], places, changes.erased))
            if self.smoothing:
                shares = self.smoothing * covers * changes.offset.new_tensor(COVER_SMOOTHING)[index]
                changes = changes._replace(smoothing=shares)
        if self.gamma > 1:
            changes = changes._replace(gamma=(uniform() * math.log(self.gamma)).exp())
        if self.light:
            changes = changes._replace(light=uniform(2) * self.light)
        if self.degradation.share:
            faults = self.degradation.draw(count, generator)
            changes = changes._replace(faults=faults)
            if self.smoothing:
                shares = self.smoothing * lost_detail(faults)
                before = changes.smoothing
                changes = changes._replace(smoothing=shares if before is None else before.maximum(shares))
        return changes

    def __call__(self, images: Tensor, size: int, generator: torch.Generator) -> Tensor:
        """Augment images (N, C, H, W) in [0, 1] and resample them to (N, C, size, size)."""
        return apply(images, size, self.draw(len(images), generator))


def apply(images: Tensor, size: int, changes: Changes) -> Tensor:
    """Apply changes to images (N, C, H, W) in [0, 1], with a single resampling to (N, C, size, size)."""
    if changes.faults is not None:
        images = degrade(images, changes.faults)
    grid = F.affine_grid(changes.theta, [*images.shape[:2], size, size], align_corners=False)
    out = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    if images.shape[1] == 3 and bool(changes.grey.any()):
        luma = out.new_tensor(LUMA).view(1, 3, 1, 1)
        out = torch.where(changes.grey.view(-1, 1, 1, 1), (out * luma).sum(dim=1, keepdim=True), out)
    out = ((out - 0.5) * changes.gain.view(-1, 1, 1, 1) + 0.5 + changes.offset.view(-1, 1, 1, 1)).clamp_(0, 1)
    centres = (torch.arange(size, device=images.device) + 0.5) / size
    if changes.gamma is not None:
        out = out ** changes.gamma.view(-1, 1, 1, 1)
    if changes.light is not None:
        slopes = changes.light.view(-1, 2, 1, 1)
        light = slopes[:, :1] * (2 * centres - 1) + slopes[:, 1:] * (2 * centres[:, None] - 1)  # (N, 1, size, size)
        out = (out * (1 + light)).clamp_(0, 1)
    top, left, height, width = (value.view(-1, 1, 1) for value in changes.erased.unbind(dim=1))
    y, x = centres[None, :, None], centres[None, None, :]
    inside = (y >= top) & (y < top + height) & (x >= left) & (x < left + width)  # (N, size, size)
    return torch.where(inside[:, None], changes.filling.view(-1, 1, 1, 1), out)


def mix(values: Tensor, share: Tensor) -> Tensor:
    """Blend each image or target of a batch with its neighbour's (mixup; Zhang et al., ICLR 2018).

    Args:
        values: Shuffled images or targets, (N, ...), N even.
        share: Share of the value itself in the blend, (N,), 0 to 1.
    """
    neighbour = torch.arange(len(values), device=values.device) ^ 1
    share = share.view(-1, *[1] * (values.ndim - 1))
    return values * share + values[neighbour] * (1 - share)


def _rand(generator: torch.Generator, *shape: int) -> Tensor:
    """Draw uniform values in [0, 1) on the generator's device."""
    return torch.rand(*shape, generator=generator, device=generator.device)


def resize(images: Tensor, size: int) -> Tensor:
    """Resize with the runtime's (Pillow's) filter: bilinear, half-pixel centres, antialiased."""
    return F.interpolate(images, (size, size), mode="bilinear", align_corners=False, antialias=True)
