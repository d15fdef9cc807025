"""Narrow copies of a trained model, as the start of a training.

The channels of a separable stem that influence the next layer most are kept (channel pruning; compare Li et al., ICLR
2017, arXiv 1608.08710). A preset with fewer blocks keeps the first blocks of each stage; one with a larger stride of
the input layer has fewer stages, and keeps the last ones. What has another shape in the narrow model, such as tokens of
another grid or an input layer with another kernel, starts anew.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from fer_edge._files import as_path, check_output
from fer_edge.choices import LayoutName
from fer_edge.data.sources import image_set
from fer_edge.errors import ConfigError
from fer_edge.model.checkpoint import Checkpoint
from fer_edge.model.config import ModelConfig, preset
from fer_edge.model.ferformer import FERFormer
from fer_edge.model.runner import load_reference
from fer_edge.model.stem import SeparableBlock
from fer_edge.progress import Progress, silent
from fer_edge.results import Result, Table
from fer_edge.shipped import path_or_shipped

IMAGES = 1024
BATCH = 32
State = dict[str, Tensor]


@dataclass(frozen=True)
class NarrowResult(Result):
    """Result of `narrow`."""

    checkpoint: Path
    images: int
    parameters_before: int
    parameters_after: int
    new_tensors: tuple[str, ...]  # tensors that start anew

    def tables(self) -> Sequence[Table]:
        """Return one table."""
        parts = sorted({name.partition(".")[0] for name in self.new_tensors})
        rows = (
            ("parameters before", f"{self.parameters_before:,}"),
            ("parameters after", f"{self.parameters_after:,}"),
            ("parts that start anew, at least partly", ", ".join(parts) or "none"),
        )
        return (Table(f"narrow model, chosen on {self.images} images", ("figure", "value"), rows),)

    def notes(self) -> Sequence[str]:
        """Return the next step."""
        return (f"wrote {self.checkpoint}; train it with: fer-edge train DATA --init {self.checkpoint}",)


def narrow(
    checkpoint: str | os.PathLike[str],
    data: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    preset_name: str = "edge",
    layout: LayoutName = "auto",
    count: int = IMAGES,
    threads: int | None = None,
    progress: Progress = silent,
) -> NarrowResult:
    """Write a narrow copy of a model, which has to be trained.

    Args:
        checkpoint: Checkpoint of a model with a separable stem.
        data: Images of the training split; their labels are not used.
        out: Checkpoint to write (.safetensors).
        preset_name: Preset of the narrow model.
        layout: Layout of the data set; "auto" detects it.
        count: Number of images, evenly spread, on which channels are chosen; 1,024 by default.
        threads: Number of CPU threads; PyTorch's choice by default.
        progress: Progress display.

    Raises:
        CheckpointError: Unreadable checkpoint.
        ConfigError: Preset with another form of stem, or one that is wider or deeper.
        DataError: No images.
        FerEdgeError: Output that cannot be written.
    """
    path, folder = path_or_shipped("checkpoint", as_path(checkpoint, "the checkpoint")), as_path(data, "the data set")
    out = as_path(out, "the output")
    check_output(out, path, folder)
    runner = load_reference(path, threads)
    info = runner.info
    config = preset(preset_name, classes=info.config.classes)
    check_narrow(info.config, config)
    images = image_set(folder, info.labels, info.words, "train", layout).limit(count)
    with progress("measuring channels", 2 * len(images)) as advance:

        def batches() -> Iterator[Tensor]:
            for pixels, _ in images.batches(BATCH):
                yield runner.normalise(pixels)
                advance(len(pixels))

        blocks = copied_blocks(info.config, config)
        channels = choose_channels(runner.model, config, blocks, batches())
        state = narrow_state(runner.model, blocks, channels)
        if any(getattr(config.stem, name) != getattr(info.config.stem, name) for name in ("input_stride", "kernel")):
            state = {name: tensor for name, tensor in state.items() if not name.startswith("stem.input.")}
        with torch.random.fork_rng():
            torch.manual_seed(0)  # of the tensors that start anew
            model = FERFormer(config)
        target = model.state_dict()
        fitting = {name: tensor for name, tensor in state.items() if _fits(target, name, tensor)}
        model.load_state_dict({**target, **fitting})
        measure_norms(model.stem, batches())
    provenance = {"init": Checkpoint(runner.model, info).fingerprint(), "before": info.provenance}
    new = tuple(sorted(target.keys() - fitting.keys()))
    if "text_head.text_features" in new:
        info = replace(info, text_source="unset", templates=())
    info = replace(info, config=config, metrics={}, provenance=provenance)
    Checkpoint(model.eval(), info).save(out)
    return NarrowResult(out, len(images), _size(runner.model), _size(model), new)


def check_narrow(source: ModelConfig, config: ModelConfig) -> None:
    """Check that a configuration is a narrow form of another one.

    Raises:
        ConfigError: Stem of another form, or a model that is wider or deeper.
    """
    before, after = source.stem, config.stem
    for name in ("kind", "color", "input_width"):
        values = getattr(before, name), getattr(after, name)
        if values[0] != values[1]:
            raise ConfigError(
                f"stem.{name} is {values[0]!r} in the checkpoint and {values[1]!r} in the preset; expected equal"
            )
    if before.kind != "separable":
        raise ConfigError(f"the stem of the checkpoint is {before.kind!r}; expected 'separable'")
    if before.map_size != after.map_size or before.input_stride > after.input_stride:
        raise ConfigError(
            f"the preset has a map of {after.map_size} and an input stride of {after.input_stride}, the checkpoint "
            f"{before.map_size} and {before.input_stride}; expected the same map and no smaller stride"
        )
    stages = len(after.widths)
    sizes = zip(
        (*before.widths[-stages:], *before.units[-stages:], source.depth),
        (*after.widths, *after.units, config.depth),
        strict=True,
    )
    if any(narrow_size > size for size, narrow_size in sizes):
        raise ConfigError(
            f"the preset has widths {after.widths}, units {after.units} and depth {config.depth}, the checkpoint "
            f"{before.widths}, {before.units} and {source.depth}; expected a preset that is nowhere wider or deeper"
        )


def copied_blocks(source: ModelConfig, config: ModelConfig) -> list[int]:
    """Return the index, in the source's stem, of each block of the narrow model."""
    first = len(source.stem.units) - len(config.stem.units)
    blocks, start = list[int](), 0
    for stage, units in enumerate(source.stem.units):
        if stage >= first:
            blocks += range(start, start + config.stem.units[stage - first])
        start += units
    return blocks


def choose_channels(
    model: FERFormer, config: ModelConfig, blocks: Sequence[int], batches: Iterator[Tensor]
) -> list[Tensor]:
    """Choose the output channels of each block of the stem that influence the next layer most.

    Args:
        model: Model with a separable stem.
        config: Configuration of the narrow model.
        blocks: Index, in the model's stem, of each block of the narrow model.
        batches: Normalised images, (N, 3, 112, 112) each.

    Returns:
        Indices of the kept channels by block of the narrow model, ascending.
    """
    deviations = measure_deviations(model, batches)
    widths = [width for width, units in zip(config.stem.widths, config.stem.units, strict=True) for _ in range(units)]
    weights = [reading_weights(model.stem.blocks[index]) for index in blocks[1:]] + [token_weights(model)]
    influences = [deviations[index] * weight for index, weight in zip(blocks, weights, strict=True)]
    return [
        influence.argsort(descending=True, stable=True)[:width].sort().values
        for influence, width in zip(influences, widths, strict=True)
    ]


@torch.inference_mode()
def measure_deviations(model: FERFormer, batches: Iterator[Tensor]) -> list[Tensor]:
    """Return the standard deviation of each output channel of each block, the mean over batches."""
    sums: list[Tensor] = [torch.zeros(()) for _ in model.stem.blocks]
    number = 0
    for images in batches:
        x = model.stem.input(images if model.stem.grey is None else model.stem.grey(images))
        number += 1
        for index, block in enumerate(model.stem.blocks):
            x = block(x)  # (N, width, H, W)
            sums[index] = sums[index] + x.std((0, 2, 3))
    return [total / max(number, 1) for total in sums]


@torch.inference_mode()
def reading_weights(block: nn.Module) -> Tensor:
    """Return the factor by which a separable block's weights multiply each of its input channels, (width_in,)."""
    assert isinstance(block, SeparableBlock)
    depthwise, norm, pointwise = block[0], block[1], block[3]
    assert isinstance(depthwise, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d) and isinstance(pointwise, nn.Conv2d)
    assert norm.running_var is not None
    scale = (norm.weight / (norm.running_var + norm.eps).sqrt()).abs()
    return depthwise.weight.flatten(1).norm(dim=1) * scale * pointwise.weight.flatten(1).norm(dim=0)


@torch.inference_mode()
def token_weights(model: FERFormer) -> Tensor:
    """Return the norm of the weights with which tokens read each channel of the map, (width,)."""
    width = model.config.stem.widths[-1]
    weights = [projection.get_parameter("weight") for projection in model.tokens.projections.values()]
    return torch.stack([weight.view(len(weight), -1, width).square().sum((0, 1)) for weight in weights]).sum(0).sqrt()


def narrow_state(model: FERFormer, blocks: Sequence[int], channels: Sequence[Tensor]) -> State:
    """Return the weights of a model without the other blocks and channels of its stem.

    Args:
        model: Model with a separable stem.
        blocks: Index, in the model's stem, of each block of the narrow model.
        channels: Kept output channels by block, as of `choose_channels`.
    """
    full = model.state_dict()
    state = {name: tensor for name, tensor in full.items() if not name.startswith("stem.blocks.")}
    width_in = torch.arange(model.config.stem.input_width)
    for index, (block, width_out) in enumerate(zip(blocks, channels, strict=True)):
        source, prefix = f"stem.blocks.{block}", f"stem.blocks.{index}"
        state[f"{prefix}.0.weight"] = full[f"{source}.0.weight"][width_in]
        state[f"{prefix}.3.weight"] = full[f"{source}.3.weight"][width_out][:, width_in]
        for layer, width in ((1, width_in), (4, width_out)):
            for name in ("weight", "bias", "running_mean", "running_var"):
                state[f"{prefix}.{layer}.{name}"] = full[f"{source}.{layer}.{name}"][width]
            state[f"{prefix}.{layer}.num_batches_tracked"] = full[f"{source}.{layer}.num_batches_tracked"]
        width_in = width_out
    if model.tokens.position is not None:
        for name in ("tokens.position.weight", "tokens.position.bias"):
            state[name] = state[name][width_in]
    for patch in model.config.patches:
        name = f"tokens.projections.{patch}.weight"
        weight = state[name].unflatten(1, (patch * patch, -1))  # (dim, patch * patch, width)
        state[name] = weight[:, :, width_in].flatten(1)
    return state


@torch.no_grad()
def measure_norms(stem: nn.Module, batches: Iterator[Tensor]) -> None:
    """Replace the statistics of a stem's batch norms by the mean over batches."""
    norms = [module for module in stem.modules() if isinstance(module, nn.BatchNorm2d)]
    momentum = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over batches
    stem.train()
    for images in batches:
        stem(images)
    stem.eval()
    for norm, value in zip(norms, momentum, strict=True):
        norm.momentum = value


def _fits(target: State, name: str, tensor: Tensor) -> bool:
    return name in target and target[name].shape == tensor.shape


def _size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
