"""Degradations of whole batches on the device, as cameras cause them: low resolution, blur, noise, JPEG.

They act on the images as stored, before the affine resampling to the model's input. Blur is one filter per image, and a
lower resolution two matrix products per image, so that strengths may differ within a batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, NamedTuple

import torch
from msgspec import Meta
from torch import Tensor
from torch.nn import functional as F

from fer_edge._settings import Fraction

LARGEST_SIDE = 112  # larger images are resized before, since filters grow with the side
RADIUS = 0.15  # of the filters, relative to the side: 3 deviations of the largest blur, half of the longest motion
DOWNSCALED_SIDE = 48  # largest side after downscaling
BLOCK = 8  # side of a JPEG block
# Luminance table of the JPEG standard (ITU-T T.81, table K.1), in rows.
LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)


class Faults(NamedTuple):
    """Random faults of each image of a batch, (N,)."""

    side: Tensor  # side of the image after downscaling, in pixels, int64; large values: no downscaling
    blur: Tensor  # standard deviation of a Gaussian, relative to the side; 0: none
    motion: Tensor  # length of a linear motion, relative to the side; 0: none
    angle: Tensor  # direction of the motion, in radians
    noise: Tensor  # standard deviation, relative to the value range; 0: none
    quality: Tensor  # JPEG quality, 1 to 100; 100: no JPEG
    seed: int  # seed of the noise

    def part(self, rows: slice) -> Faults:
        """Return the faults of some of the images; the noise differs from that of the whole batch."""
        parts = {name: value[rows] for name, value in self._asdict().items() if isinstance(value, Tensor)}
        return Faults(**parts, seed=self.seed + (rows.start or 0))


@dataclass(frozen=True)
class Degradation:
    """Largest random faults of training images. Zero switches a fault off."""

    share: Fraction = 0.0  # probability that an image is degraded
    faults: Fraction = 0.35  # probability of each fault in a degraded image
    side: Annotated[int, Meta(ge=0, le=DOWNSCALED_SIDE)] = 12  # smallest side after downscaling, in pixels
    blur: Annotated[float, Meta(ge=0, le=RADIUS / 3)] = 0.045  # standard deviation of a Gaussian, relative to the side
    motion: Annotated[float, Meta(ge=0, le=2 * RADIUS)] = 0.2  # length of a linear motion, relative to the side
    noise: Fraction = 0.12  # standard deviation, relative to the value range
    jpeg: Annotated[int, Meta(ge=0, le=100)] = 8  # lowest JPEG quality

    def draw(self, count: int, generator: torch.Generator) -> Faults:
        """Draw the faults of `count` images."""

        def uniform() -> Tensor:
            return torch.rand(count, generator=generator, device=generator.device)

        degraded = uniform() < self.share

        def chosen(largest: float) -> Tensor:
            return degraded & (uniform() < self.faults) & (largest > 0)

        smallest = max(self.side, 1)
        # Uniform over the logarithm of the side: 12 to 24 pixels have the probability of 24 to 48.
        side = smallest * (DOWNSCALED_SIDE / smallest) ** uniform()
        return Faults(
            side=torch.where(chosen(self.side), side, torch.full_like(side, LARGEST_SIDE)).long(),
            blur=uniform() * self.blur * chosen(self.blur),
            motion=uniform() * self.motion * chosen(self.motion),
            angle=uniform() * math.pi,
            noise=uniform() * self.noise * chosen(self.noise),
            quality=torch.where(chosen(self.jpeg), self.jpeg + uniform() * (80 - min(self.jpeg, 80)), 100.0),
            seed=generator.initial_seed(),
        )


def lost_detail(faults: Faults) -> Tensor:
    """Return the label smoothing for blur and low resolution, (N,), on the scale of `augment.COVER_SMOOTHING`.

    It is 0.46, the largest, for a side of 12 pixels or a Gaussian of 2 of 48 pixels.
    """
    small = (20 - faults.side) / 8
    blurred = (faults.blur * 48 / 2).square()
    moved = 0.6 * (faults.motion * 48 / 7).square()
    return 0.46 * torch.stack([small, blurred, moved]).amax(0).clamp(0, 1)


def degrade(images: Tensor, faults: Faults) -> Tensor:
    """Apply faults to square images (N, C, S, S) in [0, 1]: blur, downscaling, noise, JPEG.

    Images larger than `LARGEST_SIDE` come back with this side.
    """
    if images.shape[-1] > LARGEST_SIDE:
        images = F.interpolate(images, (LARGEST_SIDE,) * 2, mode="bilinear", align_corners=False, antialias=True)
    images = downscale(blur(images, faults), faults.side)
    generator = torch.Generator(images.device).manual_seed(faults.seed)
    noise = torch.randn(images.shape, generator=generator, device=images.device)
    images = (images + noise * faults.noise.view(-1, 1, 1, 1)).clamp_(0, 1)
    return jpeg(images, faults.quality)


def blur(images: Tensor, faults: Faults) -> Tensor:
    """Filter each image (N, C, S, S) by a Gaussian, or by a line for a motion."""
    count, channels, side, _ = images.shape
    sigma, length = faults.blur * side, faults.motion * side  # pixels
    radius = math.ceil(RADIUS * side)
    steps = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    y, x = steps.view(1, -1, 1), steps.view(1, 1, -1)
    cos, sin = faults.angle.cos().view(-1, 1, 1), faults.angle.sin().view(-1, 1, 1)
    along, across = x * cos + y * sin, y * cos - x * sin
    # The smallest deviation gives a filter that changes nothing.
    gaussian = torch.exp(-0.5 * (x**2 + y**2) / sigma.clamp(min=0.05).view(-1, 1, 1) ** 2)
    line = torch.exp(-0.5 * (across / 0.5) ** 2) * torch.sigmoid(8 * (length.view(-1, 1, 1) / 2 - along.abs()))
    kernels = torch.where(faults.motion.view(-1, 1, 1) > 0, line, gaussian)
    kernels = kernels / kernels.sum(dim=(1, 2), keepdim=True)  # (N, K, K)
    padded = F.pad(images, (radius,) * 4, mode="replicate").flatten(0, 1)[None]  # (1, N * C, S + 2r, S + 2r)
    kernels = kernels.repeat_interleave(channels, dim=0)[:, None]
    return F.conv2d(padded, kernels, groups=count * channels).view(images.shape)


def downscale(images: Tensor, side: Tensor) -> Tensor:
    """Resize each image (N, C, S, S) to `side` pixels and back, by Pillow's bilinear filter."""
    size = images.shape[-1]
    matrix = _resampling(size, images.device)[side.clamp(max=size) - 1].to(images.dtype)[:, None]  # (N, 1, S, S)
    return matrix @ images @ matrix.transpose(-1, -2)


@lru_cache(maxsize=8)
def _resampling(size: int, device: torch.device) -> Tensor:
    """Return the matrices that resize `size` pixels to 1, 2, ..., `size` pixels and back, (size, size, size)."""
    rows = torch.eye(size, device=device)[None, None]

    def matrix(side: int) -> Tensor:
        small = F.interpolate(rows, (size, side), mode="bilinear", align_corners=False, antialias=True)
        return F.interpolate(small, (size, size), mode="bilinear", align_corners=False, antialias=True)[0, 0].T

    return torch.stack([matrix(side) for side in range(1, size + 1)])


def jpeg(images: Tensor, quality: Tensor) -> Tensor:
    """Quantise each image (N, C, S, S) as JPEG does: 8 x 8 blocks of every channel, by the luminance table.

    Args:
        images: Images in [0, 1].
        quality: Quality on libjpeg's scale, 1 to 100, (N,); images with 100 stay unchanged.
    """
    side = images.shape[-1]
    extra = -side % BLOCK
    padded = F.pad(images, (0, extra, 0, extra), mode="replicate") if extra else images
    blocks = padded.unflatten(3, (-1, BLOCK)).unflatten(2, (-1, BLOCK)).transpose(3, 4)  # (N, C, rows, columns, 8, 8)
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality).view(-1, 1, 1)
    table = ((images.new_tensor(LUMINANCE) * scale + 50) / 100).floor().clamp(1, 255).view(-1, 1, 1, 1, BLOCK, BLOCK)
    cosines = _cosines(images)
    coefficients = (cosines @ (blocks * 255 - 128) @ cosines.T / table).round() * table
    decoded = (cosines.T @ coefficients @ cosines + 128).round().clamp(0, 255) / 255
    decoded = decoded.transpose(3, 4).flatten(4, 5).flatten(2, 3)[..., :side, :side]
    return torch.where(quality.view(-1, 1, 1, 1) < 100, decoded, images)


def _cosines(like: Tensor) -> Tensor:
    """Return the matrix of the orthonormal discrete cosine transform of 8 values, (8, 8)."""
    index = torch.arange(BLOCK, device=like.device, dtype=like.dtype)
    matrix = torch.cos(math.pi / BLOCK * (index + 0.5) * index.view(-1, 1)) * math.sqrt(2 / BLOCK)
    matrix[0] /= math.sqrt(2)
    return matrix
