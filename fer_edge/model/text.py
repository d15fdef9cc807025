"""Text features: prompts encoded once by a text encoder into a constant matrix (paper, section III-D)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor, nn
from torch.nn import functional as F

from fer_edge._files import as_path, write_atomically
from fer_edge._text import one_line
from fer_edge.choices import SENTENCE_ENCODER
from fer_edge.errors import CheckpointError, ConfigError, NonFiniteError
from fer_edge.file_kind import describe_file
from fer_edge.labels import prompts_for
from fer_edge.model.checkpoint import Checkpoint
from fer_edge.model.heads import TextHead
from fer_edge.model.sentence import SOURCE, open_sentence_encoder
from fer_edge.model.tower import ClipTextTower, check_prompts, open_text_tower

METADATA_KEY = "fer_edge_text"
SAME = 1e-6  # largest difference of two rows that count as equal; rows have length one
FINE_TUNED = ", fine-tuned"  # suffix of the source of features from a fine-tuned tower

TextTower = Callable[[list[str]], Tensor]  # from prompts to features, (len(prompts), dim)


@dataclass(frozen=True)
class TextFeatures:
    """Features of each label and their origin."""

    matrix: Tensor  # (classes, dim), rows of length one
    words: tuple[str, ...]
    templates: tuple[str, ...]
    source: str


def text_features_from_tower(tower: TextTower, words: tuple[str, ...], templates: tuple[str, ...]) -> Tensor:
    """Compute the features of all labels: normalise each prompt's, average over templates, normalise again.

    Returns:
        (classes, dim), rows of length one.

    Raises:
        ConfigError: No template, a template without a place for the word, or a prompt longer than the tower's context.
        CheckpointError: Two labels with the same features.
        NonFiniteError: NaN or infinity in the tower's output.
    """
    with torch.inference_mode():
        matrix = PromptFeatures(tower, words, templates)().clone()
    check_features(TextFeatures(matrix, words, templates, ""), "the text tower")
    return matrix


class PromptFeatures(nn.Module):
    """Text features as a function of a text tower, so that the tower can be trained (as in the paper)."""

    def __init__(self, tower: TextTower, words: tuple[str, ...], templates: tuple[str, ...]) -> None:
        super().__init__()
        if not templates or not words:
            raise ConfigError("text features need at least one word and one prompt template")
        self.tower = tower  # a submodule, if it is a module
        self.prompts = [prompt for word_prompts in prompts_for(words, templates) for prompt in word_prompts]
        self.words, self.templates = words, templates
        if isinstance(tower, ClipTextTower):
            check_prompts(tower.tokenizer, self.prompts, tower.name)

    def forward(self) -> Tensor:
        features = F.normalize(self.tower(self.prompts).float(), dim=-1)  # (words * templates, dim)
        averaged = features.view(len(self.words), len(self.templates), -1).mean(dim=1)
        return F.normalize(averaged, dim=-1)  # (classes, dim)


def text_features_from_encoder(
    name: str, weights: str, words: tuple[str, ...], templates: tuple[str, ...], retries: int = 0
) -> TextFeatures:
    """Compute the features of the labels with a text encoder.

    Args:
        name: "minilm", the encoder of the extra `text`, or the name of an open_clip model.
        weights: Weights of an open_clip model, see `open_text_tower`.
        words: Word of each label.
        templates: Texts with {}.
        retries: Number of further attempts of a failed download; 0 by default.
    """
    tower: TextTower
    if name == SENTENCE_ENCODER:
        tower, source = open_sentence_encoder(), SOURCE
    else:
        prompts = [prompt for word_prompts in prompts_for(words, templates) for prompt in word_prompts]
        tower, source = open_text_tower(name, weights, prompts, retries), f"open_clip:{name}:{Path(weights).name}"
    return TextFeatures(text_features_from_tower(tower, words, templates), words, templates, source)


def check_features(features: TextFeatures, source: str) -> None:
    """Check that text features are finite and distinguish all labels.

    Args:
        features: Text features that are made, saved, loaded or put into a checkpoint.
        source: Name of their file or tower, the start of the message.

    Raises:
        CheckpointError: A wrong number of rows, or two labels with the same features.
        NonFiniteError: NaN or infinity.
    """
    matrix, words = features.matrix, features.words
    if matrix.ndim != 2 or len(matrix) != len(words):
        raise CheckpointError(
            f"{source}: text features of shape {tuple(matrix.shape)} for {len(words)} labels; expected a row for each"
        )
    if not bool(torch.isfinite(matrix).all()):
        raise NonFiniteError(f"{source}: the text features contain NaN or infinity; use another text tower or weights")
    distances = (matrix[:, None] - matrix[None]).abs().amax(dim=-1)  # (labels, labels)
    same = [(row, column) for row, column in (distances < SAME).nonzero().tolist() if row < column]
    if same:
        first, second = (repr(words[index]) for index in same[0])
        raise CheckpointError(
            f"{source}: {first} and {second} have the same text features, so the text head cannot distinguish them; "
            "use templates that contain the word"
        )


def save_text_features(path: Path, features: TextFeatures) -> None:
    """Write text features (.safetensors), for use on machines without a text tower.

    Raises:
        FerEdgeError: Invalid features, see `check_features`, or a file that cannot be written.
    """
    check_features(features, f"{path} is not written")
    metadata = {"words": features.words, "templates": features.templates, "source": features.source}
    tensors = {"text_features": features.matrix.contiguous()}
    write_atomically(path, safetensors_bytes(tensors, metadata={METADATA_KEY: json.dumps(metadata)}))


def load_text_features(path: str | os.PathLike[str]) -> TextFeatures:
    """Read text features written by `save_text_features`.

    Raises:
        CheckpointError: Missing or damaged file, or another kind of file.
        NonFiniteError: NaN or infinity.
    """
    path = as_path(path, "the file of text features", CheckpointError)
    command = "fer-edge checkpoint text-features"
    if not path.is_file():
        raise CheckpointError(f"no text features at {path}; make them with: {command} -o {path}")
    kind = describe_file(path)
    if kind != "a file of text features":
        raise CheckpointError(f"{path} is {kind}; expected text features made with: {command}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, Any] = json.loads((file.metadata() or {})[METADATA_KEY])
            matrix = file.get_tensor("text_features").float()
        words, templates = tuple(metadata["words"]), tuple(metadata["templates"])
        source = str(metadata["source"])
    except (SafetensorError, OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged ({one_line(repr(error), 120)}): make or copy it again") from error
    features = TextFeatures(matrix, words, templates, source)
    check_features(features, str(path))
    return features


def replaceable_text_head(checkpoint: Checkpoint) -> TextHead:
    """Return the text head of a checkpoint whose text features can be replaced.

    Raises:
        CheckpointError: A model without a text head, or whose text features or text tower were trained with it.
    """
    head = checkpoint.model.text_head
    if head is None:
        raise CheckpointError("the model has no text head; text features cannot be set")
    if checkpoint.info.text_source == "learned":
        raise CheckpointError("the model learned its text features in training; they cannot be replaced")
    if checkpoint.info.text_source.endswith(FINE_TUNED):
        raise CheckpointError(
            "the model was trained with a fine-tuned text tower, which the checkpoint does not contain; its text "
            "features cannot be replaced"
        )
    return head


def replace_text_features(checkpoint: Checkpoint, features: TextFeatures) -> Checkpoint:
    """Replace a checkpoint's text features by those of other prompts; rows are matched by word.

    The result has no metrics, because they were measured with the former features.

    Raises:
        CheckpointError: Features that cannot be replaced, see `replaceable_text_head`, or other words or another width.
    """
    head, words = replaceable_text_head(checkpoint), checkpoint.info.words
    if sorted(features.words) != sorted(words):
        raise CheckpointError(
            f"text features of the words {', '.join(features.words)}; the model's are {', '.join(words)}: make them "
            "for the same label set"
        )
    if features.matrix.shape != head.text_features.shape:
        raise CheckpointError(
            f"text features of shape {tuple(features.matrix.shape)}; the model expects "
            f"{tuple(head.text_features.shape)}"
        )
    check_features(features, features.source)
    rows = [features.words.index(word) for word in words]
    with torch.no_grad():
        head.text_features.copy_(features.matrix[rows])
    return checkpoint.with_info(templates=features.templates, text_source=features.source, metrics={})
