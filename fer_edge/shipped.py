"""Files that come with the package, found by name: models, build recipes, activation ranges, calibration sets.

A wheel has them inside of the package. A clone keeps recipes and ranges in folders of the repository, which are used
where the package has none.
"""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fer_edge._text import did_you_mean
from fer_edge.errors import BundleError, ConfigError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

Kind = Literal["bundle", "checkpoint", "recipe", "ranges", "calibration set"]
EDGE = "edge"  # name of the shipped model


@dataclass(frozen=True)
class _Place:
    """Where the files of a kind lie."""

    folder: str  # inside of the package
    suffix: str
    repository: str = ""  # folder of a clone that the wheel's folder is made of
    names: tuple[str, ...] = ()  # files that count; all of the suffix if empty


_PLACES: dict[Kind, _Place] = {
    "bundle": _Place("weights", ".fer"),
    "checkpoint": _Place("weights", ".safetensors"),
    "recipe": _Place("build_recipes", ".toml", "export"),
    "ranges": _Place("ranges", ".json", "calibration", ("edge",)),
    "calibration set": _Place("calibration_sets", ".json", "calibration", ("ferplus-512",)),
}
_unpacked = ExitStack()  # copies of files from a zip archive, removed at exit
atexit.register(_unpacked.close)


def shipped_names(kind: Kind) -> list[str]:
    """Names of the shipped files of a kind, sorted."""
    return sorted(_files(kind))


def shipped_file(kind: Kind, name: str) -> Path:
    """Path of a shipped file; from a package in a zip archive, that of a temporary copy.

    Raises:
        ConfigError: No file of that kind has the name.
    """
    files = _files(kind)
    if name not in files:
        raise ConfigError(
            f"no shipped {kind} {name!r}; there are: {', '.join(files) or 'none'}{did_you_mean(name, files)}"
        )
    entry = files[name]
    return entry if isinstance(entry, Path) else _unpacked.enter_context(resources.as_file(entry))


def path_or_shipped(kind: Kind, name: Path | str) -> Path:
    """A path as it is, or the shipped file that a name without suffix and folder stands for.

    A file of that name in the working folder comes first.

    Raises:
        ConfigError: The name is neither a file nor shipped.
    """
    path = Path(name)
    if len(path.parts) != 1 or path.suffix or path.is_file():
        return path
    files = _files(kind)
    if path.name not in files:
        names = ", ".join(files) or "none"
        raise ConfigError(
            f"no {kind} at {path}; expected a file, or one that is shipped: {names}{did_you_mean(path.name, files)}"
        )
    return shipped_file(kind, path.name)


def checkpoint_path(name: Path | str) -> Path:
    """Path of a checkpoint: as given, or of the shipped one for its name, `edge`.

    Raises:
        ConfigError: The name is neither a file nor shipped.
    """
    return path_or_shipped("checkpoint", name)


def shipped_bundle() -> Path:
    """Path of the bundle that comes with the package.

    Raises:
        BundleError: The installation lacks it.
    """
    try:
        return shipped_file("bundle", EDGE)
    except ConfigError:
        raise BundleError("the shipped bundle is missing; reinstall fer-edge, or name a bundle") from None


def _files(kind: Kind) -> dict[str, Traversable]:
    """Name -> file."""
    place = _PLACES[kind]
    entries = {
        entry.name.removesuffix(place.suffix): entry
        for entry in sorted(_entries(place), key=lambda entry: entry.name)
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
