"""Folder of one model in a Triton model repository: check of its content, and atomic writing of a version.

The versions of a model share `config.pbtxt` and `labels.txt`, so a new version needs the same inputs, outputs, labels
and backend as the others.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from fer_edge._files import SHOWN_HASH, file_sha256, sha256, write_together
from fer_edge.errors import ConfigError, FerEdgeError

LABELS = "labels.txt"
CONFIG = "config.pbtxt"
# Fields of a configuration that identify a model; the others, such as instances, are settings of the server.
IDENTITY = ("name", "backend", "default_model_filename", "max_batch_size", "input", "output")


@dataclass(frozen=True)
class ModelVersion:
    """Version of a model to be written."""

    folder: Path  # of the model, with all its versions
    version: int
    file: str  # name of the model file
    model: bytes
    labels: str  # content of `labels.txt`
    config: str  # content of `config.pbtxt`

    @property
    def target(self) -> Path:
        """Folder of the version."""
        return self.folder / str(self.version)


def check_replaceable(new: ModelVersion, *, replace: bool) -> None:
    """Refuse to overwrite another model.

    A version with the same model file is written again, with the new instances and queue.

    Args:
        new: Version to be written.
        replace: Whether the folder of the version may contain another model.

    Raises:
        ConfigError: Another model in the version's folder, or other versions that the new configuration does not fit.
        FerEdgeError: Folder that cannot be read.
    """
    try:
        present = _file_names(new.target)
        others = [
            number for number in versions(new.folder) if number != new.version and _file_names(new.folder / str(number))
        ]
        differences = _differences(new)
        same = present == [new.file] and file_sha256(new.target / new.file) == sha256(new.model)
    except OSError as error:
        raise FerEdgeError(
            f"cannot read the model in {new.folder}: {error.strerror or error}; name another --model-name or --out"
        ) from error
    if others and differences:
        raise ConfigError(
            f"{new.folder} has version {', '.join(map(str, others))} of another model: {'; '.join(differences)}; its "
            "versions share one configuration: name another --model-name"
        )
    if replace or not present:
        return
    if not same:
        description = _describe_files(new.target, present)
        unused = max([new.version, *others]) + 1
        alternative = "" if differences else f"--model-version {unused}, "
        raise ConfigError(
            f"{new.target} contains another model ({description}; the new one has SHA-256 "
            f"{sha256(new.model)[:SHOWN_HASH]}); add {alternative}--model-name, or --replace"
        )
    if differences:
        raise ConfigError(
            f"{new.folder} has another configuration: {'; '.join(differences)}; add --model-name, or --replace"
        )


def write_version(new: ModelVersion) -> None:
    """Write a version and the model's configuration; a failure leaves no files behind.

    Raises:
        FerEdgeError: Folder that cannot be written, or full disk.
    """
    missing = [folder for folder in (new.folder, *new.folder.parents) if not folder.exists()]
    try:
        with _stage(new) as staging:
            write_together({new.folder / LABELS: new.labels.encode(), new.folder / CONFIG: new.config.encode()})
            _put_in_place(staging, new.target)
    except BaseException as error:
        if new.folder in missing:
            shutil.rmtree(new.folder, ignore_errors=True)
        for folder in missing:
            with suppress(OSError):  # not empty: another process wrote into it
                folder.rmdir()
        if isinstance(error, OSError):
            raise FerEdgeError(f"cannot write {new.target}: {error.strerror or error}; nothing was changed") from error
        raise


def versions(folder: Path) -> list[int]:
    """Return the version numbers of a model, in ascending order."""
    if not folder.is_dir():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if re.fullmatch("[1-9][0-9]*", path.name))


@contextmanager
def _stage(new: ModelVersion) -> Iterator[Path]:
    """Write the model into a temporary folder beside the version's; Triton ignores names that are not numbers."""
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
    """Rename a folder to `target`, and delete the previous one."""
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


def _file_names(version: Path) -> list[str]:
    """Return the names in a version's folder; empty if there is none."""
    return sorted(path.name for path in version.iterdir()) if version.is_dir() else []


def _describe_files(version: Path, names: list[str]) -> str:
    """Return name and hash of a single file, or the first names of several."""
    path = version / names[0]
    if len(names) == 1 and path.is_file():
        return f"{names[0]} with SHA-256 {file_sha256(path)[:SHOWN_HASH]}"
    return ", ".join(names[:3])


def _differences(new: ModelVersion) -> list[str]:
    """Describe how labels and identity of the present model differ from those of the new version."""
    differences = []
    labels, config = new.folder / LABELS, new.folder / CONFIG
    if labels.is_file() and labels.read_text(encoding="utf-8", errors="replace") != new.labels:
        present = labels.read_text(encoding="utf-8", errors="replace").splitlines()
        differences.append(
            f"its labels are {', '.join(present)[:80]}, the new ones {', '.join(new.labels.splitlines())[:80]}"
        )
    if config.is_file():
        present_fields = _fields(config.read_text(encoding="utf-8", errors="replace"))
        fields = _fields(new.config)
        differences += [
            f"its {name} is {present_fields.get(name, 'missing')}, the new one {fields[name]}"
            if len(fields[name]) < 40
            else f"its {name} differs"
            for name in IDENTITY
            if present_fields.get(name) != fields[name]
        ]
    return differences


def _fields(config: str) -> dict[str, str]:
    """Parse a configuration in the form that this package writes: text of each top-level field by name."""
    fields: dict[str, str] = {}
    name = ""
    for line in config.splitlines():
        if line.startswith("#"):
            continue
        start = re.match(r"(\w+)\s*:?\s*(.*)", line)
        if start:
            name = start[1]
            fields[name] = f"{fields.get(name, '')} {start[2]}".strip()
        elif name:
            fields[name] += f" {line.strip()}"
    return fields
