"""One model's folder in a Triton model repository: what it holds already, and how a version gets into it whole.

A model's versions share `config.pbtxt` and `labels.txt`, so a new version must be of the same kind as those beside it.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from fer_edge._files import file_sha256, sha256, write_together
from fer_edge.errors import ConfigError, FerEdgeError

LABELS = "labels.txt"
CONFIG = "config.pbtxt"
# Fields of a configuration that say what a model is; others, such as instances, say how it is served.
IDENTITY = ("name", "backend", "default_model_filename", "max_batch_size", "input", "output")
SHOWN_HASH = 12  # digits


@dataclass(frozen=True)
class ModelVersion:
    """What is to be written."""

    folder: Path  # of the model, with all its versions
    version: int
    file: str  # name of the model file
    model: bytes
    labels: str  # content of `labels.txt`
    config: str  # content of `config.pbtxt`

    @property
    def target(self) -> Path:
        """The version's folder."""
        return self.folder / str(self.version)


def check_replaceable(new: ModelVersion, *, replace: bool) -> None:
    """Refuse to put a version where another model is.

    A version that has the same model file is written again, with the instances and the queue asked for now.

    Args:
        new: What is to be written.
        replace: Whether the version's folder may hold another model.

    Raises:
        ConfigError: The version holds another model, or other versions would not fit the new configuration.
    """
    try:
        present = _files(new.target)
        others = [
            number for number in versions(new.folder) if number != new.version and _files(new.folder / str(number))
        ]
        differences = _differences(new)
        same = present == [new.file] and file_sha256(new.target / new.file) == sha256(new.model)
    except OSError as error:
        raise FerEdgeError(
            f"cannot read the model in {new.folder}: {error.strerror or error}; give --name, or another --out"
        ) from error
    if others and differences:
        raise ConfigError(
            f"{new.folder} has version {', '.join(map(str, others))} of another model: {'; '.join(differences)}; its "
            "versions share one configuration: give --name"
        )
    if replace or not present:
        return
    if not same:
        found = _hash_of(new.target, present)
        other = max([new.version, *others]) + 1
        alternative = "" if differences else f"--version {other}, "
        raise ConfigError(
            f"{new.target} holds another model ({found}; this one has SHA-256 {sha256(new.model)[:SHOWN_HASH]}); give "
            f"{alternative}--name, or --replace"
        )
    if differences:
        raise ConfigError(f"{new.folder} is configured otherwise: {'; '.join(differences)}; give --name, or --replace")


def write_version(new: ModelVersion) -> None:
    """Write a version and the model's configuration; nothing is left behind where that fails.

    Raises:
        FerEdgeError: The folder cannot be written or the disk is full.
    """
    missing = [folder for folder in (new.folder, *new.folder.parents) if not folder.exists()]
    try:
        with _staged(new) as staging:
            write_together({new.folder / LABELS: new.labels.encode(), new.folder / CONFIG: new.config.encode()})
            _put_in_place(staging, new.target)
    except BaseException as error:
        if new.folder in missing:
            shutil.rmtree(new.folder, ignore_errors=True)
        for folder in missing:
            with suppress(OSError):  # somebody else put something into it
                folder.rmdir()
        if isinstance(error, OSError):
            raise FerEdgeError(f"cannot write {new.target}: {error.strerror or error}; nothing was changed") from error
        raise


def versions(folder: Path) -> list[int]:
    """Numbers of a model's versions, the smallest first."""
    if not folder.is_dir():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if re.fullmatch("[1-9][0-9]*", path.name))


@contextmanager
def _staged(new: ModelVersion) -> Iterator[Path]:
    """A folder beside the version's, with the model in it; Triton passes over names that are no numbers."""
    staging = new.folder / f".{new.version}.{os.urandom(4).hex()}"
    try:
        staging.mkdir(parents=True)
        with (staging / new.file).open("wb") as file:
            file.write(new.model)
            file.flush()
            os.fsync(file.fileno())
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _put_in_place(staging: Path, target: Path) -> None:
    """Rename a folder to `target`, whose present content goes."""
    if not target.exists():
        staging.rename(target)
        return
    old = staging.with_name(f"{staging.name}.old")
    target.rename(old)
    try:
        staging.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _files(version: Path) -> list[str]:
    """Names of what a version's folder holds."""
    return sorted(path.name for path in version.iterdir()) if version.is_dir() else []


def _hash_of(version: Path, names: list[str]) -> str:
    path = version / names[0]
    if len(names) == 1 and path.is_file():
        return f"{names[0]} of SHA-256 {file_sha256(path)[:SHOWN_HASH]}"
    return ", ".join(names[:3])


def _differences(new: ModelVersion) -> list[str]:
    """How the model that is there differs from the new one in what all versions share."""
    found = []
    labels, config = new.folder / LABELS, new.folder / CONFIG
    if labels.is_file() and labels.read_text(encoding="utf-8", errors="replace") != new.labels:
        present = labels.read_text(encoding="utf-8", errors="replace").splitlines()
        found.append(f"its labels are {', '.join(present)[:80]}, this one's {', '.join(new.labels.splitlines())[:80]}")
    if config.is_file():
        present_fields = _fields(config.read_text(encoding="utf-8", errors="replace"))
        fields = _fields(new.config)
        found += [
            f"its {name} is {present_fields.get(name, 'not given')}, this one's {fields[name]}"
            if len(fields[name]) < 40
            else f"its {name} is another"
            for name in IDENTITY
            if present_fields.get(name) != fields[name]
        ]
    return found


def _fields(config: str) -> dict[str, str]:
    """Top-level field -> its text without spaces around, of a configuration written as this package writes it."""
    found: dict[str, str] = {}
    name = ""
    for line in config.splitlines():
        if line.startswith("#"):
            continue
        start = re.match(r"(\w+)\s*:?\s*(.*)", line)
        if start:
            name = start[1]
            found[name] = f"{found.get(name, '')} {start[2]}".strip()
        elif name:
            found[name] += f" {line.strip()}"
    return found
