"""Conversion of checkpoints and prompts: import weights, compute text features, set a checkpoint's prompts.

The functions check their arguments before they import PyTorch.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_edge._files import as_path, check_output
from fer_edge._require import require
from fer_edge._text import did_you_mean
from fer_edge.choices import SENTENCE_ENCODER, LabelSetName, PresetName
from fer_edge.errors import ConfigError
from fer_edge.labels import RAFDB, TEMPLATES, expand_templates, label_set, prompts_for
from fer_edge.progress import Progress, silent
from fer_edge.results import Result, Table
from fer_edge.shipped import path_or_shipped

if TYPE_CHECKING:
    from fer_edge.model.checkpoint import Checkpoint
    from fer_edge.model.foreign import ForeignWeights
    from fer_edge.model.release import ImportReport
    from fer_edge.model.text import TextFeatures

TEXT_MODEL, TEXT_WEIGHTS = "ViT-B-32", "openai"  # defaults of open_clip's model name and tag
STEM_PRESETS: tuple[PresetName, ...] = ("paper", "release")  # presets with an IR-50 stem
logger = logging.getLogger("fer_edge")


@dataclass(frozen=True)
class ImportResult(Result):
    """Result of an import: the checkpoint that was written, and the tensors of the source."""

    source: Path
    checkpoint: Path
    report: ImportReport

    def tables(self) -> Sequence[Table]:
        report = self.report
        prefix = f"below {report.prefix.strip('.')}" if report.prefix else ""
        rows: list[tuple[object, ...]] = [
            ("used", len(report.used), prefix),
            ("missing", len(report.missing), _examples(report.missing)),
        ]
        for reason in sorted(set(report.ignored.values())):
            names = [name for name, why in report.ignored.items() if why == reason]
            rows.append(("ignored", len(names), f"{reason}: {_examples(names)}"))
        return (Table(str(self.source), ("tensors", "number", "names"), tuple(rows)),)

    def notes(self) -> Sequence[str]:
        return (f"wrote {self.checkpoint}",)


@dataclass(frozen=True)
class TextFeaturesResult(Result):
    """Result of `make_text_features`: the file that was written, and its contents."""

    file: Path
    shape: tuple[int, ...]  # (labels, width)
    words: tuple[str, ...]
    templates: tuple[str, ...]
    source: str

    def notes(self) -> Sequence[str]:
        return (f"wrote {self.file}: {self.shape[0]} labels, width {self.shape[1]}, from {self.source}",)


@dataclass(frozen=True)
class PromptsResult(Result):
    """Result of `set_prompts`: the checkpoint that was written, and its prompts."""

    checkpoint: Path
    templates: tuple[str, ...]
    source: str

    def notes(self) -> Sequence[str]:
        prompts = "; ".join(self.templates)
        return (f"wrote {self.checkpoint}: text features from {self.source}, prompts {prompts}",)


def import_checkpoint(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    text_features: str | os.PathLike[str] | None = None,
    text_model: str | None = None,
    text_weights: str | None = None,
    retries: int = 0,
    key: str | None = None,
    stem_only: bool = False,
    preset: PresetName | None = None,
    labels: LabelSetName | None = None,
) -> ImportResult:
    """Convert weights of another program to a checkpoint of fer-edge.

    The authors' checkpoints contain no text features, so these come from a file or a text encoder. With `stem_only`,
    text features are random and learnable unless a file is given.

    Args:
        source: The authors' checkpoint, or face.evoLVe's IR_50 weights (.pth, .safetensors or .npz).
        out: Checkpoint to write (.safetensors).
        text_features: File of text features.
        text_model: "minilm", the encoder of the extra `text`, or name of an open_clip model; ViT-B-32 by default.
        text_weights: Tag of open_clip, or a file; openai by default.
        retries: Number of further attempts of a failed download.
        key: Set of weights to use in a file with several: "model_ema".
        stem_only: Whether the source is IR_50; all other weights are random.
        preset: Preset of the model, only with `stem_only`; paper by default.
        labels: Label set of the model, only with `stem_only`; rafdb by default.

    Raises:
        ConfigError: Arguments that exclude each other, or unknown names.
        CheckpointError: Unreadable weights, or weights of another model.
        FerEdgeError: An output that cannot be written, or another failure.
    """
    source, out = as_path(source, "the source"), as_path(out, "the output")
    if not stem_only and (preset or labels):
        raise ConfigError(
            "--preset and --labels need --stem-only; the authors' checkpoints define both: leave them out"
        )
    if (stem_only or text_features is not None) and (text_model or text_weights):
        raise ConfigError(
            "--text-model and --text-weights have no effect with --stem-only or --text-features; leave them out"
        )
    _check_weights(text_model, text_weights)
    check_output(out, source, _path(text_features), _path(text_weights))
    stem_labels = label_set(labels or "rafdb")
    if (preset or "paper") not in STEM_PRESETS:
        hint = did_you_mean(preset or "", STEM_PRESETS)
        raise ConfigError(f"the preset {preset!r} has no IR-50 stem; expected paper or release{hint}")
    require("torch", "export", "importing")
    from fer_edge.model.foreign import read_foreign_weights
    from fer_edge.model.release import checkpoint_from_ir50
    from fer_edge.model.text import load_text_features

    features = None if text_features is None else load_text_features(text_features)
    weights = read_foreign_weights(source)
    if stem_only:
        checkpoint, report = checkpoint_from_ir50(weights, preset or "paper", stem_labels, features, key=key)
    else:
        checkpoint, report = _import_release(weights, key, features, text_model, text_weights, retries)
    checkpoint.save(out)
    if report.others:
        others = " and ".join(name.strip(".") or "(no key)" for name in report.others)
        used = report.prefix.strip(".") or "(no key)"
        logger.info("%s contains several sets of weights; used %s; select another with --key: %s", source, used, others)
    return ImportResult(source, out, report)


def _import_release(
    weights: ForeignWeights,
    key: str | None,
    features: TextFeatures | None,
    text_model: str | None,
    text_weights: str | None,
    retries: int,
) -> tuple[Checkpoint, ImportReport]:
    """Convert the authors' checkpoint; its weights are checked before a text tower is downloaded."""
    from fer_edge.model.release import load_release
    from fer_edge.model.text import replace_text_features

    checkpoint, report = load_release(weights, key)
    if features is None:
        features = _encode(RAFDB.words, TEMPLATES["phrase"], text_model, text_weights, retries, silent)
    return replace_text_features(checkpoint, features), report


def make_text_features(
    out: str | os.PathLike[str],
    *,
    labels: LabelSetName = "ferplus",
    templates: Sequence[str] | None = None,
    text_model: str | None = None,
    text_weights: str | None = None,
    retries: int = 0,
    progress: Progress = silent,
) -> TextFeaturesResult:
    """Compute the text features of a label set with a text encoder, and write them to a file.

    Args:
        out: File to write (.safetensors).
        labels: Label set; ferplus by default.
        templates: Prompt templates: texts with {}, or word, phrase, active, passive; phrase by default.
        text_model: "minilm", the encoder of the extra `text`, or name of an open_clip model; ViT-B-32 by default.
        text_weights: Tag of open_clip, or a file; openai by default.
        retries: Number of further attempts of a failed download.
        progress: Progress display.

    Raises:
        ConfigError: Unknown names, or a template without a place for the word.
        CheckpointError: Weights that cannot be downloaded or read.
        FerEdgeError: An output that cannot be written, or another failure.
    """
    out = as_path(out, "the output")
    words = label_set(labels).words
    prompts = prompt_templates(templates, words)
    _check_weights(text_model, text_weights)
    check_output(out, _path(text_weights))
    require("torch", "train", "computing text features")
    from fer_edge.model.text import save_text_features

    features = _encode(words, prompts, text_model, text_weights, retries, progress)
    save_text_features(out, features)
    return TextFeaturesResult(out, tuple(features.matrix.shape), words, prompts, features.source)


def set_prompts(
    checkpoint: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    text_features: str | os.PathLike[str] | None = None,
    templates: Sequence[str] | None = None,
    text_model: str | None = None,
    text_weights: str | None = None,
    retries: int = 0,
    progress: Progress = silent,
) -> PromptsResult:
    """Replace a checkpoint's text features by those of other prompts; no weights are trained.

    Args:
        checkpoint: Checkpoint whose text features come from a text tower, or "edge", the shipped one.
        out: Checkpoint to write (.safetensors).
        text_features: File of text features; by default they are computed from `templates`.
        templates: Prompt templates: texts with {}, or word, phrase, active, passive; phrase by default.
        text_model: "minilm", the encoder of the extra `text`, or name of an open_clip model; ViT-B-32 by default.
        text_weights: Tag of open_clip, or a file; openai by default.
        retries: Number of further attempts of a failed download.
        progress: Progress display.

    Raises:
        ConfigError: Arguments that exclude each other, or a template without a place for the word.
        CheckpointError: Unreadable checkpoint, or text features that cannot be replaced.
        FerEdgeError: An output that cannot be written, or another failure.
    """
    path, out = path_or_shipped("checkpoint", as_path(checkpoint, "the checkpoint")), as_path(out, "the output")
    if text_features is not None and templates:
        raise ConfigError("--template has no effect with --text-features, which contains its templates; leave one out")
    if text_features is not None and (text_model or text_weights):
        raise ConfigError("--text-model and --text-weights have no effect with --text-features; leave them out")
    _check_weights(text_model, text_weights)
    check_output(out, path, _path(text_features), _path(text_weights))
    prompt_templates(templates, ("word",))
    require("torch", "export", "setting prompts")
    from fer_edge.model.checkpoint import load_checkpoint
    from fer_edge.model.text import load_text_features, replace_text_features, replaceable_text_head

    loaded = load_checkpoint(path)
    replaceable_text_head(loaded)  # checked before a text tower is downloaded
    if text_features is not None:
        features = load_text_features(text_features)
    else:
        words = loaded.info.words
        prompts = prompt_templates(templates, words)
        features = _encode(words, prompts, text_model, text_weights, retries, progress)
    replace_text_features(loaded, features).save(out)
    return PromptsResult(out, features.templates, features.source)


def prompt_templates(names: Sequence[str] | None, words: tuple[str, ...]) -> tuple[str, ...]:
    """Return prompt templates by name or as given, and check that each makes a prompt of every word.

    Args:
        names: Texts with {}, or names of templates; phrase by default.
        words: Words of the labels.

    Raises:
        ConfigError: Unknown name, or a template without a place for the word.
    """
    templates = expand_templates(names or ["phrase"])
    if not templates:
        raise ConfigError("the template none makes no prompt; expected another name, or a text with {}")
    prompts_for(words, templates)
    return templates


def _encode(
    words: tuple[str, ...],
    templates: tuple[str, ...],
    text_model: str | None,
    text_weights: str | None,
    retries: int,
    progress: Progress,
) -> TextFeatures:
    """Compute the text features of prompts with a text encoder."""
    from fer_edge.model.text import text_features_from_encoder

    model, weights = text_model or TEXT_MODEL, text_weights or TEXT_WEIGHTS
    with progress(f"running {model}", 1) as advance:
        features = text_features_from_encoder(model, weights, words, templates, retries)
        advance(1)
    return features


def _check_weights(text_model: str | None, text_weights: str | None) -> None:
    if text_model == SENTENCE_ENCODER and text_weights:
        raise ConfigError(f"--text-weights has no effect with --text-model {SENTENCE_ENCODER}; leave it out")


def _path(value: Any) -> Path | None:
    return None if value is None else Path(value)


def _examples(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (" ..." if len(names) > 4 else "")
