"""Folder of a page, which is written beside the old one and replaces it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from fer_edge._files import as_path
from fer_edge.errors import ConfigError, FerEdgeError
from fer_edge.web.site import DESCRIPTION


def write_site(files: Mapping[str, bytes], folder: str | os.PathLike[str]) -> Path:
    """Write a page completely, or leave the folder as it was.

    Args:
        files: Content by path inside of the page, see `make_site`.
        folder: Folder that does not exist, is empty, or has an earlier page, which is replaced.

    Returns:
        The folder.

    Raises:
        ConfigError: Folder with other files.
        FerEdgeError: Folder that cannot be written.
    """
    path = as_path(folder, "the folder of the page", ConfigError)
    target = Path(os.path.realpath(path))
    check_folder(path)
    suffix = os.urandom(4).hex()
    new, old = (target.with_name(f".{target.name}.{suffix}.{state}") for state in ("new", "old"))
    try:
        for name, data in files.items():
            file = new / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        if target.exists():
            target.rename(old)
        new.rename(target)
    except OSError as error:
        if old.exists() and not target.exists():
            old.rename(target)
        raise FerEdgeError(f"cannot write {path}: {error.strerror or error}; nothing was changed") from error
    finally:
        for rest in (new, old):
            shutil.rmtree(rest, ignore_errors=True)
    return path


def check_folder(path: Path) -> None:
    """Refuse a folder whose files a page would replace, unless they are those of an earlier page.

    Raises:
        ConfigError: File in place of a folder, working folder, or folder with other files.
    """
    target = Path(os.path.realpath(path))
    if not target.exists():
        return
    if not target.is_dir():
        raise ConfigError(f"the output {path} is a file; name a folder")
    if Path.cwd().is_relative_to(target):
        raise ConfigError(f"the output {path} is the working folder or contains it; name a new folder inside")
    present = {file.relative_to(target).as_posix() for file in target.rglob("*") if not file.is_dir()}
    others = sorted(present - _files_of_page(target))
    if others:
        raise ConfigError(f"the output {path} has files that are not of a page, such as {others[0]}; name a new folder")


def _files_of_page(folder: Path) -> set[str]:
    """Return the names of the files that an earlier page consists of; none if there is no page."""
    try:
        return {DESCRIPTION, *json.loads((folder / DESCRIPTION).read_bytes())["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return set()
