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
from fer_edge._text import one_line
from fer_edge.errors import CheckpointError, ConfigError, NonFiniteError
from fer_edge.file_kind import describe_file
from fer_edge.labels import prompts_for
from fer_edge.model.checkpoint import Checkpoint
from fer_edge.model.heads import TextHead
from fer_edge.model.hub import Download
from fer_edge.model.tower import ClipTextTower, open_text_tower

METADATA_KEY = "fer_edge_text"
SAME = 1e-6  # largest difference of two rows of length one that are the same
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
        ConfigError: There is no template, one without a place for the word, or a prompt too long for the tower.
        CheckpointError: Two labels have the same features.
        NonFiniteError: The tower gives NaN or infinity.
    """
    with torch.inference_mode():
        matrix = PromptFeatures(tower, words, templates)().clone()
    check_features(TextFeatures(matrix, words, templates, ""), "the text tower")
    return matrix


class PromptFeatures(nn.Module):
    """Text features as a function of a text tower, so that the tower can be trained (the paper's way)."""

    def __init__(self, tower: TextTower, words: tuple[str, ...], templates: tuple[str, ...]) -> None:
        super().__init__()
        if not templates or not words:
            raise ConfigError("text features need at least one word and one prompt template")
        self.tower = tower  # a submodule, if it is a module
        self.prompts = [prompt for of_word in prompts_for(words, templates) for prompt in of_word]
        self.words, self.templates = words, templates
        if isinstance(tower, ClipTextTower):
            tower.check_prompts(self.prompts)

    def forward(self) -> Tensor:
        features = F.normalize(self.tower(self.prompts).float(), dim=-1)
        averaged = features.view(len(self.words), len(self.templates), -1).mean(dim=1)
        return F.normalize(averaged, dim=-1)  # (classes, dim)


def text_features_from_open_clip(
    name: str, weights: str, words: tuple[str, ...], templates: tuple[str, ...], download: Download | None = None
) -> TextFeatures:
    """Features of the labels from an open_clip text tower, and where they came from; see `open_text_tower`."""
    prompts = [prompt for of_word in prompts_for(words, templates) for prompt in of_word]
    tower = open_text_tower(name, weights, prompts, download)
    matrix = text_features_from_tower(tower, words, templates)
    return TextFeatures(matrix, words, templates, f"open_clip:{name}:{Path(weights).name}")


def check_features(features: TextFeatures, source: str) -> None:
    """Refuse features that cannot tell labels apart; making, saving, loading and refolding accept the same.

    Raises:
        CheckpointError: There is not one row for each label, or two labels have the same features.
        NonFiniteError: A value is NaN or infinite.
    """
    matrix, words = features.matrix, features.words
    if matrix.ndim != 2 or len(matrix) != len(words):
        raise CheckpointError(
            f"{source}: text features of shape {tuple(matrix.shape)} for {len(words)} labels; expected a row for each"
        )
    if not bool(torch.isfinite(matrix).all()):
        raise NonFiniteError(f"{source}: the text features hold NaN or infinity; take another text tower or weights")
    distances = (matrix[:, None] - matrix[None]).abs().amax(dim=-1)  # (labels, labels)
    same = [(row, column) for row, column in (distances < SAME).nonzero().tolist() if row < column]
    if same:
        first, second = (repr(words[index]) for index in same[0])
        raise CheckpointError(
            f"{source}: {first} and {second} have the same text features, so that the text head could not tell them "
            "apart; use templates in which the tower reads the word"
        )


def save_text_features(path: Path, features: TextFeatures) -> None:
    """Write features for machines without a text tower, `.safetensors`.

    Raises:
        FerEdgeError: They are refused, see `check_features`, or cannot be written.
    """
    check_features(features, f"{path} is not written")
    described = {"words": features.words, "templates": features.templates, "source": features.source}
    tensors = {"text_features": features.matrix.contiguous()}
    write_atomically(path, safetensors_bytes(tensors, metadata={METADATA_KEY: json.dumps(described)}))


def load_text_features(path: Path) -> TextFeatures:
    """Read what `save_text_features` wrote.

    Raises:
        CheckpointError: The file is missing, damaged or something else.
        NonFiniteError: A value is NaN or infinite.
    """
    if not path.is_file():
        raise CheckpointError(f"no text features at {path}; make them with: fer-edge text-features -o {path}")
    kind = describe_file(path)
    if kind != "a file of text features":
        raise CheckpointError(
            f"{path} holds no text features, it is {kind}; expected a file made with: fer-edge text-features"
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, Any] = json.loads((file.metadata() or {})[METADATA_KEY])
            matrix = file.get_tensor("text_features").float()
        words, templates = tuple(metadata["words"]), tuple(metadata["templates"])
        source = str(metadata["source"])
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged ({one_line(repr(error), 120)}): make or copy it again") from error
    features = TextFeatures(matrix, words, templates, source)
    check_features(features, str(path))
    return features


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
    check_features(features, features.source)
    rows = [features.words.index(word) for word in words]
    with torch.no_grad():
        head.text_features.copy_(features.matrix[rows])
    return checkpoint.with_info(templates=features.templates, text_source=features.source, metrics={})
