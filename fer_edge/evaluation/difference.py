"""Differences between two bundles, with their reasons."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fer_edge._files import SHOWN_HASH, as_path
from fer_edge.bundle import MODEL, Bundle, Manifest
from fer_edge.engines.registry import get_engine, is_engine
from fer_edge.results import Result, Table
from fer_edge.shipped import path_or_shipped

ABSENT = "-"


@dataclass(frozen=True)
class Difference:
    """One part in which two bundles differ.

    Attributes:
        part: Member of the bundle, "model.onnx", or field of its manifest, "manifest: created_with.torch".
        first: Value in the first bundle; of a member, its SHA-256; "-" where it is absent.
        second: Value in the second bundle.
        reason: Reason for which two equal builds differ in this part; empty if they do not.
    """

    part: str
    first: str
    second: str
    reason: str = ""


@dataclass(frozen=True)
class BundleDifference(Result):
    """Comparison of two bundles."""

    first: Path
    second: Path
    equal_bytes: bool
    differences: tuple[Difference, ...]

    @property
    def equal_builds(self) -> bool:
        """True if two builds of the same inputs can differ like this."""
        return all(difference.reason for difference in self.differences)

    def to_dict(self) -> dict[str, Any]:
        """Return the files, the verdicts, and all differences with their full values."""
        return {**super().to_dict(), "equal_builds": self.equal_builds}

    def tables(self) -> Sequence[Table]:
        rows = tuple((part.part, _shorten(part.first), _shorten(part.second)) for part in self.differences)
        return (Table("differences", ("part", "first", "second"), rows),) if rows else ()

    def notes(self) -> Sequence[str]:
        names = f"{self.first} and {self.second}"
        if self.equal_bytes:
            return (f"{names} are equal, byte for byte",)
        reasons = [f"{part.part}: {part.reason}" for part in self.differences if part.reason]
        verdict = "only where equal builds may" if self.equal_builds else "in more than equal builds may"
        return (*reasons, f"{names} differ {verdict}")


def compare_bundles(first: str | os.PathLike[str], second: str | os.PathLike[str]) -> BundleDifference:
    """Compare the content of two bundles: manifests field by field, members by their bytes. No engine is loaded.

    Args:
        first: Bundle (`.fer`), or "edge", the shipped one.
        second: Other bundle.

    Raises:
        BundleError: Bundle that is damaged or cannot be read.
    """
    paths = [path_or_shipped("bundle", as_path(path, "the bundle")) for path in (first, second)]
    bundle, other = (Bundle.open(path, in_memory=True) for path in paths)
    equal = bundle.sha256 == other.sha256
    reasons = _reasons(bundle.manifest, other.manifest)
    differences = [
        *_manifest_differences(bundle.manifest, other.manifest, reasons),
        *_member_differences(bundle, other, reasons),
    ]
    if not equal and not differences:
        size, other_size = (f"{path.stat().st_size} bytes" for path in paths)
        reason = "another program has written it: times and attributes vary"
        differences = [Difference("zip archive", size, other_size, reason)]
    return BundleDifference(bundle.path, other.path, equal, tuple(differences))


def _reasons(first: Manifest, second: Manifest) -> dict[str, str]:
    """Return the reasons for which engines differ between two equal builds, by engine.

    An engine has a reason only if both bundles contain it, built from the same model by the same version with the same
    options.
    """
    if first.files[MODEL] != second.files[MODEL]:
        return {}
    entries, others = (
        {entry.engine: replace(entry, proof={}) for entry in manifest.engines} for manifest in (first, second)
    )
    same = [name for name, entry in entries.items() if others.get(name) == entry and is_engine(name)]
    return {name: get_engine(name).variation for name in same}


def _manifest_differences(first: Manifest, second: Manifest, reasons: Mapping[str, str]) -> Iterator[Difference]:
    """Yield the differences of all fields, except those that follow from the members."""
    values, others = dict(_leaves(_by_engine(first, second))), dict(_leaves(_by_engine(second, first)))
    for name in sorted({**values, **others}):
        value, other = values.get(name, ABSENT), others.get(name, ABSENT)
        if value != other:
            proof = name.split(".")[1] if re.match(r"engines\..*\.proof\b", name) else ""
            yield Difference(f"manifest: {name}", value, other, reasons.get(proof, ""))


def _by_engine(manifest: Manifest, other: Manifest) -> dict[str, Any]:
    """Return the fields of a manifest, with entries by engine instead of a list.

    An engine that the other manifest lacks is one value.
    """
    present = {entry.engine for entry in other.engines}
    fields = asdict(replace(manifest, files={}, operators={}, engines=()))
    engines = {
        entry.engine: asdict(entry)
        if entry.engine in present
        else f"{entry.engine_version} for {', '.join(entry.targets)}"
        for entry in manifest.engines
    }
    return {**fields, "engines": engines, "order of the engines": [entry.engine for entry in manifest.engines]}


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield the path and the text of every plain value."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, (list, tuple)) and any(isinstance(item, Mapping) for item in value):
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{name}[{index}]")
    elif isinstance(value, (list, tuple)):
        yield name, ", ".join(map(str, value)) or "none"
    else:
        yield name, "none" if value in (None, "") else str(value)


def _member_differences(first: Bundle, second: Bundle, reasons: Mapping[str, str]) -> Iterator[Difference]:
    files, others = first.manifest.files, second.manifest.files
    for name in sorted({**files, **others}):
        if files.get(name) == others.get(name):
            continue
        hashes = [str(members[name]["sha256"]) if name in members else ABSENT for members in (files, others)]
        reason = reasons.get(_engine_of(first.manifest, name), "")
        if reason and ABSENT not in hashes:
            reason = f"{_different_bytes(first.read(name), second.read(name))}: {reason}"
        yield Difference(name, hashes[0], hashes[1], reason)


def _engine_of(manifest: Manifest, member: str) -> str:
    """Return the engine that a member belongs to, as its file or its layer report; empty for other members."""
    for entry in manifest.engines:
        if entry.file is not None and member in (entry.file, entry.file.removesuffix(".engine") + ".layers.json"):
            return entry.engine
    return ""


def _different_bytes(first: bytes, second: bytes) -> str:
    """Describe how many bytes differ."""
    if len(first) != len(second):
        return f"{len(first)} and {len(second)} bytes"
    count = np.count_nonzero(np.frombuffer(first, np.uint8) != np.frombuffer(second, np.uint8))
    return f"{count} of {len(first)} bytes differ"


def _shorten(value: str) -> str:
    """Return a hash with its first digits, and other values whole."""
    return value[:SHOWN_HASH] if len(value) == 64 and " " not in value else value
