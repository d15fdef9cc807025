"""Shipped files by name: models, face networks, presets, recipes, activation ranges, calibration sets.

A wheel contains them inside the package. A clone of the repository has recipes and ranges in its own folders, which are
used if the package has none.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fer_edge._files import as_path
from fer_edge._text import did_you_mean
from fer_edge.errors import BundleError, ConfigError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

Kind = Literal[
    "bundle",
    "checkpoint",
    "face network",
    "mapping",
    "preset",
    "training recipe",
    "recipe",
    "ranges",
    "calibration set",
    "browser script",
    "licence",
]
EDGE = "edge"  # name of the shipped model


@dataclass(frozen=True)
class _Place:
    """Location of the files of one kind."""

    folder: str  # inside the package
    suffix: str
    repository: str = ""  # folder of the repository that the wheel copies
    names: tuple[str, ...] = ()  # names of the shipped files; empty: all files with the suffix


_PLACES: dict[Kind, _Place] = {
    "bundle": _Place("weights", ".fer"),
    "checkpoint": _Place("weights", ".safetensors"),
    "face network": _Place("weights/faces", ".onnx"),
    "mapping": _Place("live/mappings", ".toml"),
    "preset": _Place("presets", ".toml"),
    "training recipe": _Place("recipes", ".toml"),
    "recipe": _Place("build_recipes", ".toml", "export"),
    "ranges": _Place("ranges", ".json", "calibration", ("edge", "edge-tiny")),
    "calibration set": _Place("calibration_sets", ".json", "calibration", ("ferplus-512",)),
    "browser script": _Place("web/scripts", ".js", "web/src"),
    "licence": _Place("licences", "", ".", ("LICENSE",)),
}
_unpacked = ExitStack()  # temporary copies of files from a zip archive, removed at exit
atexit.register(_unpacked.close)


def shipped_names(kind: Kind) -> list[str]:
    """Return the names of the shipped files of a kind, sorted."""
    return sorted(_files(kind))


def shipped_file(kind: Kind, name: str) -> Path:
    """Return the path of a shipped file, or of a temporary copy if the package is in a zip archive.

    Raises:
        ConfigError: Unknown name.
    """
    files = _files(kind)
    if name not in files:
        raise ConfigError(
            f"no shipped {kind} {name!r}; expected one of: {', '.join(files) or 'none'}{did_you_mean(name, files)}"
        )
    entry = files[name]
    return entry if isinstance(entry, Path) else _unpacked.enter_context(resources.as_file(entry))


def path_or_shipped(kind: Kind, name: str | os.PathLike[str]) -> Path:
    """Return a path, or the path of the shipped file for a name without suffix and folder.

    A file of that name in the working folder has precedence.

    Args:
        kind: Kind of the file.
        name: Path, or name of a shipped file: "edge".

    Raises:
        ConfigError: Neither a file nor a shipped name, or an argument of another type.
    """
    path = as_path(name, f"the {kind}", ConfigError)
    if len(path.parts) != 1 or path.suffix or path.is_file():
        return path
    files = _files(kind)
    if path.name not in files:
        names = ", ".join(files) or "none"
        raise ConfigError(
            f"no {kind} at {path}; expected a file, or one that is shipped: {names}{did_you_mean(path.name, files)}"
        )
    return shipped_file(kind, path.name)


def shipped_bundle() -> Path:
    """Return the path of the shipped bundle.

    Raises:
        BundleError: Incomplete installation.
    """
    try:
        return shipped_file("bundle", EDGE)
    except ConfigError:
        raise BundleError("the shipped bundle is missing; reinstall fer-edge, or pass the path of a bundle") from None


def face_network(name: str) -> bytes:
    """Return the ONNX file of a shipped face network: "detector" or "landmarks".

    Raises:
        ConfigError: Installation from a clone without the networks.
    """
    try:
        return shipped_file("face network", name).read_bytes()
    except ConfigError:
        raise ConfigError(
            "the face networks are not installed; in the clone of fer-edge run: python scripts/fetch_faces.py"
        ) from None


def _files(kind: Kind) -> dict[str, Traversable]:
    """Return the files of a kind by name."""
    place = _PLACES[kind]
    entries = {
        entry.name.removesuffix(place.suffix): entry
        for entry in sorted(_entries(place), key=lambda entry: entry.name.removesuffix(place.suffix))
        if entry.name.endswith(place.suffix)
    }
    return {name: entry for name, entry in entries.items() if not place.names or name in place.names}


def _entries(place: _Place) -> Iterator[Traversable]:
    package = resources.files("fer_edge")
    folder = package.joinpath(place.folder)
    if folder.is_dir():
        yield from folder.iterdir()
    elif place.repository and isinstance(package, Path):
        clone = package.parent / place.repository
        if clone.is_dir() and (package.parent / "pyproject.toml").is_file():
            yield from clone.iterdir()
