"""The text side: prompts through a CLIP text tower, once, to a constant matrix (paper, section III-D)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor, nn
from torch.nn import functional as F

from fer_edge._files import write_atomically
from fer_edge.errors import CheckpointError, ConfigError, EngineUnavailable
from fer_edge.labels import prompts_for
from fer_edge.model.checkpoint import Checkpoint
from fer_edge.model.heads import TextHead

METADATA_KEY = "fer_edge_text"
UNTRAINED = "untrained"
FINE_TUNED = ", fine-tuned"  # ends the source of features whose tower learned along

TextTower = Callable[[list[str]], Tensor]  # prompts to features, (len(prompts), dim)


@dataclass(frozen=True)
class TextFeatures:
    """Features of each label and what they were made from."""

    matrix: Tensor  # (classes, dim), rows of length one
    words: tuple[str, ...]
    templates: tuple[str, ...]
    source: str


def text_features_from_tower(tower: TextTower, words: tuple[str, ...], templates: tuple[str, ...]) -> Tensor:
    """Features of all labels: each prompt's normalised, averaged over templates, normalised again.

    Returns:
        (classes, dim), rows of length one.

    Raises:
        ConfigError: There is no template, or one without a place for the word.
    """
    with torch.inference_mode():
        return PromptFeatures(tower, words, templates)().clone()


class PromptFeatures(nn.Module):
    """Text features as a function of a text tower, so that the tower can be trained (the paper's way)."""

    def __init__(self, tower: TextTower, words: tuple[str, ...], templates: tuple[str, ...]) -> None:
        super().__init__()
        if not templates or not words:
            raise ConfigError("text features need at least one word and one prompt template")
        self.tower = tower  # a submodule, if it is a module
        self.prompts = [prompt for of_word in prompts_for(words, templates) for prompt in of_word]
        self.words, self.templates = words, templates

    def forward(self) -> Tensor:
        features = F.normalize(self.tower(self.prompts).float(), dim=-1)
        averaged = features.view(len(self.words), len(self.templates), -1).mean(dim=1)
        return F.normalize(averaged, dim=-1)  # (classes, dim)


class ClipTextTower(nn.Module):
    """The text side of an open_clip model; its vision side is dropped."""

    def __init__(self, clip: Any, tokenizer: Callable[[list[str]], Tensor]) -> None:
        super().__init__()
        clip.visual = None
        for buffer in clip.buffers():
            if buffer.is_floating_point():  # the attention mask is minus infinity, of which no average can be taken
                buffer.clamp_(min=torch.finfo(buffer.dtype).min)
        for name in ("logit_scale", "logit_bias"):  # of CLIP's own loss; never to get a gradient here
            if getattr(clip, name, None) is not None:
                getattr(clip, name).requires_grad_(False)
        self.clip = clip
        self.tokenizer = tokenizer

    def forward(self, prompts: list[str]) -> Tensor:
        tokens = self.tokenizer(prompts).to(next(self.clip.parameters()).device)  # (prompts, context)
        features: Tensor = self.clip.encode_text(tokens)
        return features  # (prompts, dim)


def open_text_tower(name: str, weights: str) -> ClipTextTower:
    """An open_clip text tower.

    Args:
        name: open_clip's model name, `ViT-B-32` for one.
        weights: open_clip's tag, a local file, or "untrained" for random weights (tests).

    Raises:
        EngineUnavailable: open_clip is not installed.
        ConfigError: The name or weights are not known or cannot be had.
    """
    try:
        import open_clip
    except ImportError as error:
        raise EngineUnavailable(f'text towers need open_clip ({error}); run: pip install "fer-edge[train]"') from error
    if name not in open_clip.list_models():
        raise ConfigError(f"open_clip knows no model {name!r}; expected one such as ViT-B-32, ViT-L-14, RN50")
    pretrained = None if weights == UNTRAINED else weights
    try:
        model = open_clip.create_model(name, pretrained=pretrained, weights_only=True).eval()
    except Exception as error:  # downloads and files fail in as many ways as there are libraries below
        raise ConfigError(
            f"weights {weights!r} of {name} cannot be had: {error}. Give a local file, "
            "or text features made on another machine with: fer-edge text-features"
        ) from error
    return ClipTextTower(model, open_clip.get_tokenizer(name))


def text_features_from_open_clip(
    name: str, weights: str, words: tuple[str, ...], templates: tuple[str, ...]
) -> TextFeatures:
    """Features of the labels from an open_clip text tower, and where they came from; see `open_text_tower`."""
    matrix = text_features_from_tower(open_text_tower(name, weights), words, templates)
    return TextFeatures(matrix, words, templates, f"open_clip:{name}:{Path(weights).name}")


def save_text_features(path: Path, features: TextFeatures) -> None:
    """Write features for machines without a text tower, `.safetensors`."""
    described = {"words": features.words, "templates": features.templates, "source": features.source}
    tensors = {"text_features": features.matrix.contiguous()}
    write_atomically(path, safetensors_bytes(tensors, metadata={METADATA_KEY: json.dumps(described)}))


def load_text_features(path: Path) -> TextFeatures:
    """Read what `save_text_features` wrote.

    Raises:
        CheckpointError: The file is missing, damaged or something else.
    """
    if not path.is_file():
        raise CheckpointError(f"no text features at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, Any] = json.loads((file.metadata() or {})[METADATA_KEY])
            matrix = file.get_tensor("text_features").float()
        words, templates = tuple(metadata["words"]), tuple(metadata["templates"])
        source = str(metadata["source"])
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path} holds no text features: {error!r}") from error
    if matrix.ndim != 2 or len(matrix) != len(words) or not bool(torch.isfinite(matrix).all()):
        raise CheckpointError(f"{path}: features of shape {tuple(matrix.shape)} for {len(words)} words, or not finite")
    return TextFeatures(matrix, words, templates, source)


def refoldable_head(checkpoint: Checkpoint) -> TextHead:
    """The text head, if it takes features of a text tower; asked before a tower is run for nothing.

    Raises:
        CheckpointError: The model has no text head, or its text features or their tower were trained with it.
    """
    head = checkpoint.model.text_head
    if head is None:
        raise CheckpointError("the model has no text head to give text features to")
    if checkpoint.info.text_source == "learned":
        raise CheckpointError("the model learned its text features; others in their place would mean nothing to it")
    if checkpoint.info.text_source.endswith(FINE_TUNED):
        raise CheckpointError(
            "the model was trained with a text tower that learned too, and was not kept; another's features would mean "
            "something else to it"
        )
    return head


def refold(checkpoint: Checkpoint, features: TextFeatures) -> Checkpoint:
    """A checkpoint whose text head compares with other prompts' features; rows are matched by word, not by position.

    What was measured of the checkpoint before does not hold of this one, and is left out.

    Raises:
        CheckpointError: The model takes no others, see `refoldable_head`, or words or width are others.
    """
    head, words = refoldable_head(checkpoint), checkpoint.info.words
    if sorted(features.words) != sorted(words):
        raise CheckpointError(
            f"text features of the words {', '.join(features.words)}; the model's are {', '.join(words)}: make them "
            "for the same label set"
        )
    if features.matrix.shape != head.text_features.shape:
        raise CheckpointError(
            f"text features of shape {tuple(features.matrix.shape)}; the model takes {tuple(head.text_features.shape)}"
        )
    rows = [features.words.index(word) for word in words]
    with torch.no_grad():
        head.text_features.copy_(features.matrix[rows])
    return checkpoint.with_info(templates=features.templates, text_source=features.source, metrics={})
