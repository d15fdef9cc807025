"""The bundle manifest: schema and validation.

A manifest may come from anyone. `parse_manifest` checks type and bounds of every field and refuses text that a terminal
would interpret. `write_bundle` parses what it writes, so the same checks apply to new bundles.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from msgspec import Meta

from fer_edge._settings import convert
from fer_edge.choices import Head as Head
from fer_edge.choices import Precision
from fer_edge.errors import BundleDamagedError, BundleVersionError

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
MAX_BATCH = 1024
# Control characters, changes of the writing direction and lone surrogates; newlines and tabs are allowed.
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
INPUT: dict[str, Any] = {
    "name": "images",
    "dtype": "uint8",
    "layout": "NHWC",
    "height": 112,
    "width": 112,
    "color": "RGB",
}

Batch = Annotated[int, Meta(ge=1, le=MAX_BATCH)]
Plain = bool | int | float | str | None
BuildOption = Annotated[Plain | list[Plain], Meta(description="a plain value or a list of plain values")]


@dataclass(frozen=True)
class EngineEntry:
    """One engine of a bundle.

    Attributes:
        engine: Name of the engine: "tensorrt".
        targets: Devices that the engine file runs on: "cpu", or GPU architectures such as "sm89".
        engine_version: Version of the engine's package at build time.
        file: Member name of the engine file; None where the engine runs `model.onnx`, on any version and platform.
        platform: Platform that the file is tied to, "linux-x86_64"; None: any.
        proof: Precision of each executed operator, see `fer_edge.graph.precision`; empty if not measured.
        options: Build options; omitted from the file if empty.
    """

    engine: str
    targets: tuple[str, ...]
    engine_version: str
    file: str | None
    platform: str | None
    proof: dict[str, Any] = field(default_factory=dict, repr=False)
    options: dict[str, BuildOption] = field(default_factory=dict)


@dataclass(frozen=True)
class DataRecord:
    """Images that a build depends on.

    Attributes:
        use: "calibration": the activation ranges were measured on them; "evaluation": the float layers were chosen by
            the accuracy on them.
        name: Data set and split, "FERPlus train"; empty if unknown.
        count: Number of images.
        sha256: Of a calibration set, the SHA-256 of its file, which lists the SHA-256 of every image; of evaluation
            images, that of their pixels and labels. Empty if unknown.
    """

    use: Literal["calibration", "evaluation"]
    name: str
    count: Annotated[int, Meta(ge=0)]
    sha256: str = ""


@dataclass(frozen=True)
class RecipeRecord:
    """Build recipe of a bundle.

    Attributes:
        name: Name of its file without the suffix.
        sha256: SHA-256 of its file.
        overrides: Settings that options replaced by other values: "precision", "tensorrt.tf32".
    """

    name: str
    sha256: str
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Provenance:
    """Inputs of a build besides the checkpoint.

    Attributes:
        ranges: SHA-256 of the activation ranges; empty without ranges.
        data: Images that the ranges depend on.
        recipe: Build recipe; None without one.
    """

    ranges: str = ""
    data: tuple[DataRecord, ...] = ()
    recipe: RecipeRecord | None = None


@dataclass(frozen=True)
class Manifest:
    """Content of a bundle's `manifest.json`: everything that the runtime needs, and the provenance.

    Attributes:
        name: Name of the model: that of its preset, or the argument `name` of the build.
        labels: Labels in the order of the model's outputs.
        head: Head whose probabilities the model returns.
        precision: Precision of the typed ONNX, one of `fer_edge.choices.Precision`.
        max_batch: Largest batch that the engines accept.
        engines: Engines, the preferred one first.
        words: Word of each label in prompts; empty if unknown.
        templates: Prompt templates of the text features.
        text_source: Origin of the text features, see `CheckpointInfo.text_source`.
        input: Description of the input, always `INPUT` in this version.
        operators: Number of ONNX nodes by operator type and element type.
        checkpoint: SHA-256, metrics and provenance of the checkpoint.
        provenance: Inputs of the build besides the checkpoint; omitted from the file if empty.
        created_with: Version by tool.
        files: SHA-256 and size by member; filled in by `write_bundle`.
    """

    name: str
    labels: tuple[str, ...]
    head: Head
    precision: str
    max_batch: Batch
    engines: tuple[EngineEntry, ...]
    words: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()
    text_source: str = "none"
    input: dict[str, Any] = field(default_factory=lambda: dict(INPUT))
    operators: dict[str, dict[str, int]] = field(default_factory=dict)
    checkpoint: dict[str, Any] = field(default_factory=dict)
    provenance: Provenance = field(default_factory=Provenance)
    created_with: dict[str, str] = field(default_factory=dict)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the content of `manifest.json`."""
        values = asdict(self)
        for entry in values["engines"]:
            if not entry["options"]:
                del entry["options"]  # unknown to earlier versions
        if self.provenance == Provenance():
            del values["provenance"]  # unknown to earlier versions
        return json.dumps({"format": FORMAT_VERSION, **values}, indent=1, sort_keys=True)

    def __repr__(self) -> str:
        engines = ", ".join(entry.engine for entry in self.engines) or "no engine"
        return f"<Manifest {self.name}: {len(self.labels)} labels, {self.precision}, {engines}>"


def parse_manifest(data: bytes, path: Path) -> Manifest:
    """Parse and check the content of `manifest.json`.

    Args:
        data: The JSON.
        path: Path of the bundle, for messages.

    Raises:
        BundleDamagedError: Invalid JSON, an unknown or missing field, or a value of another type or out of bounds.
        BundleVersionError: Unknown format, precision or input.
    """
    try:
        values = json.loads(data)
        version = values.pop("format")
        if version != FORMAT_VERSION:
            raise BundleVersionError(
                f"{path} has bundle format {version!r}; this version reads {FORMAT_VERSION}: "
                "update fer-edge, or build the bundle again"
            )
        manifest = convert(values, Manifest, error=BundleDamagedError)
        _check_printable(manifest)
        _check_labels(manifest)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, BundleDamagedError) as error:
        cause = error if isinstance(error, BundleDamagedError) else repr(error)
        raise BundleDamagedError(f"{path}: invalid {MANIFEST}: {cause}") from error
    if manifest.precision not in get_args(Precision):
        raise BundleVersionError(
            f"{path} has precision {manifest.precision!r}; "
            f"this version reads {', '.join(get_args(Precision))}: update fer-edge"
        )
    if manifest.input != INPUT:
        raise BundleVersionError(f"{path} needs input {manifest.input}; this version gives {INPUT}: update fer-edge")
    return manifest


def _check_printable(manifest: Manifest) -> None:
    """Refuse text that a terminal would interpret or cannot encode.

    Free-form values (checkpoint, proof, options) may contain newlines and tabs, all others only printable characters.

    Raises:
        BundleDamagedError: Text with other characters.
    """
    engines = tuple(replace(entry, proof={}, options={}) for entry in manifest.engines)
    names = replace(manifest, engines=engines, input={}, operators={}, checkpoint={}, files={})
    unprintable = [text for text in _texts(asdict(names)) if not text.isprintable()]
    unprintable += [text for text in _texts(asdict(manifest)) if UNPRINTABLE.search(text)]
    if unprintable:
        raise BundleDamagedError(f"{unprintable[0]!r} contains unprintable characters; expected printable text")


def _texts(value: object) -> Iterator[str]:
    """Yield every string at any depth, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _texts(name)
            yield from _texts(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _texts(inner)


def _check_labels(manifest: Manifest) -> None:
    """Check that labels are unique, since scores are looked up by label.

    Raises:
        BundleDamagedError: Fewer than two labels, a repeated or empty one, or another number of words.
    """
    labels, words = manifest.labels, manifest.words
    if len(labels) < 2:
        raise BundleDamagedError(f"labels are {list(labels)}; expected at least 2")
    if len(set(labels)) != len(labels) or not all(label.strip() for label in labels):
        raise BundleDamagedError(f"labels are {list(labels)}; expected unique labels that are not empty")
    if len(words) not in (0, len(labels)):
        raise BundleDamagedError(f"{len(words)} words for {len(labels)} labels; expected one per label, or none")
