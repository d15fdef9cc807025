"""The manifest of a bundle: what it says about itself, and what of it is believed.

A manifest is anyone's JSON: `parse_manifest` gives one whose every field has its type and a value that can be used,
or refuses it. What is written passes the same checks.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from fer_edge._settings import with_new_names
from fer_edge.engines.base import MAX_THREADS, Precision
from fer_edge.errors import BundleDamagedError, BundleVersionError

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
MAX_BATCH = 1024
Head = Literal["label", "text", "mean"]  # which head's probabilities the deploy graph gives
# Controls that a terminal obeys, turns of the writing direction, and halves of characters that cannot be encoded.
# Notes on a checkpoint may have lines and tabs.
UNSHOWABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
INPUT: dict[str, Any] = {
    "name": "images",
    "dtype": "uint8",
    "layout": "NHWC",
    "height": 112,
    "width": 112,
    "color": "RGB",
}


@dataclass(frozen=True)
class EngineEntry:
    """One engine of a bundle."""

    engine: str
    targets: tuple[str, ...]
    engine_version: str
    file: str | None  # member name; None: the engine runs model.onnx, on any version and platform
    platform: str | None  # where the file is tied to one
    proof: dict[str, Any] = field(default_factory=dict)  # what it executes: see `fer_edge.export.precision`
    options: dict[str, Any] = field(default_factory=dict)  # it was built with; left out of the stored form where empty


@dataclass(frozen=True)
class Tuning:
    """Settings that were measured to be best on one kind of machine."""

    engine: str
    machine: str  # as `machine_name` calls it
    threads: int  # of one inference
    streams: int  # recognizers at once, each in a thread of the app's
    batch: int  # faces that run together
    target: str  # what was asked for: "p99=8", "throughput=300"
    p99_ms: float  # of a batch
    images_per_second: float  # of all streams


@dataclass(frozen=True)
class Manifest:
    """What a bundle says about itself. Everything a runtime needs, and where it came from."""

    name: str
    labels: tuple[str, ...]
    head: Head
    precision: str
    max_batch: int
    engines: tuple[EngineEntry, ...]
    words: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()
    text_source: str = "none"
    input: dict[str, Any] = field(default_factory=lambda: dict(INPUT))
    operators: dict[str, dict[str, int]] = field(default_factory=dict)  # operator type -> element type -> nodes
    checkpoint: dict[str, Any] = field(default_factory=dict)  # SHA-256, metrics, provenance
    created_with: dict[str, str] = field(default_factory=dict)  # tool -> version
    tunings: tuple[Tuning, ...] = ()  # one for each engine and machine; left out of the stored form where empty
    files: dict[str, dict[str, Any]] = field(default_factory=dict)  # member -> sha256, size; set when written

    def to_json(self) -> str:
        """The stored form."""
        values = asdict(self)
        if not self.tunings:
            del values["tunings"]  # earlier versions do not know it
        for entry in values["engines"]:
            if not entry["options"]:
                del entry["options"]  # nor this
        return json.dumps({"format": FORMAT_VERSION, **values}, indent=1, sort_keys=True)


def parse_manifest(data: bytes, path: Path) -> Manifest:
    """Read the stored form of a manifest.

    Args:
        data: Its JSON.
        path: The bundle it is from, for messages.

    Raises:
        BundleDamagedError: It is no JSON, or a field has another type or a value that cannot be used.
        BundleVersionError: Its format, precision or input is not known to this version.
    """
    try:
        values = with_new_names(json.loads(data), {"decision": "head"})
        version = values.pop("format")
        if version != FORMAT_VERSION:
            raise BundleVersionError(
                f"{path} has bundle format {version!r}; this version reads {FORMAT_VERSION}: "
                "update fer-edge, or build the bundle again"
            )
        engines = tuple(_entry(entry) for entry in values.pop("engines"))
        lists = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
        tunings = tuple(Tuning(**tuning) for tuning in values.get("tunings", ()))
        manifest = Manifest(**{**values, **lists, "engines": engines, "tunings": tunings})
        _check_types(manifest)
        _check_labels(manifest)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BundleDamagedError(f"{path}: {MANIFEST} is not understood: {error!r}") from error
    if manifest.precision not in get_args(Precision):
        raise BundleVersionError(
            f"{path} has precision {manifest.precision!r}; "
            f"this version knows {', '.join(get_args(Precision))}: update fer-edge"
        )
    if manifest.input != INPUT:
        raise BundleVersionError(f"{path} wants input {manifest.input}; this version gives {INPUT}: update fer-edge")
    return manifest


def _entry(values: dict[str, Any]) -> EngineEntry:
    proof = values.get("proof", {})
    if isinstance(proof, dict):
        proof = with_new_names(proof, {"fallen": "fallbacks", "untold": "unverified"})
    return EngineEntry(**{**values, "targets": tuple(values["targets"]), "proof": proof})


def _check_types(manifest: Manifest) -> None:
    """Every field has its type, and what is shown to people can be shown.

    Raises:
        TypeError: A field has another.
        ValueError: A text holds what a terminal would obey or cannot encode.
    """
    texts = [manifest.name, manifest.head, manifest.precision, manifest.text_source]
    for names in (manifest.labels, manifest.words, manifest.templates, *(entry.targets for entry in manifest.engines)):
        if not isinstance(names, tuple):
            raise TypeError(f"{names!r} is no list")
        texts += names
    for entry in manifest.engines:
        texts += [entry.engine, entry.engine_version, entry.file or "", entry.platform or ""]
        _check_options(entry)
    for tuning in manifest.tunings:
        texts += [tuning.engine, tuning.machine, tuning.target]
        _check_counts(tuning)
    if type(manifest.max_batch) is not int or not 1 <= manifest.max_batch <= MAX_BATCH:
        raise TypeError(f"max_batch is {manifest.max_batch!r}; expected 1 to {MAX_BATCH}")
    described = [manifest.operators, manifest.checkpoint, manifest.created_with, manifest.files]
    described += [entry.proof for entry in manifest.engines]
    if not all(isinstance(value, dict) for value in [*described, *manifest.files.values()]):
        raise TypeError("files, operators, checkpoint, created_with and proof are objects")
    _check_texts([*texts, *manifest.created_with, *manifest.created_with.values()])
    _check_showable([*described, *(entry.options for entry in manifest.engines)])


def _check_texts(texts: list[Any]) -> None:
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(f"{text!r} is no text")
        if not text.isprintable():
            raise ValueError(f"{text!r} holds what cannot be printed; expected printable text")


def _check_showable(value: Any) -> None:
    """Texts at any depth of free-form values, which `inspect` shows too."""
    if isinstance(value, str) and UNSHOWABLE.search(value):
        raise ValueError(f"{value!r} holds what cannot be printed; expected printable text")
    if isinstance(value, (list, tuple)):
        for inner in value:
            _check_showable(inner)
    elif isinstance(value, dict):
        for name, inner in value.items():
            _check_showable(name)
            _check_showable(inner)


def _check_labels(manifest: Manifest) -> None:
    """An app looks scores up by label, so every label is there once.

    Raises:
        ValueError: Labels, words or head cannot be those of a model.
    """
    labels, words = manifest.labels, manifest.words
    if len(labels) < 2:
        raise ValueError(f"labels are {list(labels)}; expected at least 2")
    if len(set(labels)) != len(labels) or not all(label.strip() for label in labels):
        raise ValueError(f"labels are {list(labels)}; expected each to differ from the others, and none empty")
    if len(words) not in (0, len(labels)):
        raise ValueError(f"{len(words)} words for {len(labels)} labels; expected as many, or none")
    if manifest.head not in get_args(Head):
        raise ValueError(f"head is {manifest.head!r}; expected {', '.join(get_args(Head))}")


def _check_options(entry: EngineEntry) -> None:
    if not isinstance(entry.options, dict):
        raise TypeError(f"options of {entry.engine} are {entry.options!r}; expected an object")
    for name, value in entry.options.items():
        values = value if isinstance(value, list) else [value]
        if not all(value is None or isinstance(value, (bool, int, float, str)) for value in values):
            raise TypeError(f"option {name} of {entry.engine} is {value!r}; expected a plain value or a list of those")


def _check_counts(tuning: Tuning) -> None:
    for name, most in (("threads", MAX_THREADS), ("streams", MAX_THREADS), ("batch", MAX_BATCH)):
        count = getattr(tuning, name)
        if type(count) is not int or not 1 <= count <= most:
            raise TypeError(f"tuned {name} is {count!r}; expected 1 to {most}")
    if not all(type(value) in (int, float) for value in (tuning.p99_ms, tuning.images_per_second)):
        raise TypeError("p99_ms and images_per_second are numbers")
