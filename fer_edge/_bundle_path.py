"""Paths and files that are not bundles: what they are, and what to do instead."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from fer_edge.errors import BundleDamagedError, BundleError, shown
from fer_edge.file_kind import describe_file

# What `describe_file` says of a file, by its beginning, and what to do with such a file.
REMEDIES = {
    "a fer-edge checkpoint": "make a bundle of it with: fer-edge build-engine",
    "a safetensors file": "a checkpoint becomes a bundle by: fer-edge build-engine",
    "a file of text features": "it is for fer-edge train --text-features; a bundle is made of a checkpoint: "
    "fer-edge build-engine",
    "a resume file of fer-edge train": "a bundle is made of that checkpoint: fer-edge build-engine",
    "a PyTorch file": "import it first: fer-edge import-checkpoint, then fer-edge build-engine",
    "a Python pickle": "import it first: fer-edge import-checkpoint, then fer-edge build-engine",
    "an ONNX model": "a bundle is made of a checkpoint: fer-edge build-engine",
}
DAMAGED = ("a damaged zip archive", "a fer-edge bundle", "a file of an unknown kind")


def checked_path(path: Path | str) -> Path:
    """Check that there is a file at a path.

    Raises:
        BundleError: The path is of another type, empty, a URL, or leads to no file; says which.
    """
    if not isinstance(path, (str, os.PathLike)) or not isinstance(os.fspath(path), str):
        raise BundleError(f"the path of a bundle is of type {type(path).__name__}; expected a string or pathlib.Path")
    if isinstance(path, str) and not path.strip():
        raise BundleError("the path of a bundle is empty; expected a .fer file, or no path for the shipped bundle")
    given, path = os.fspath(path), Path(path)
    if "://" in given:
        raise BundleError(f"no bundle at {shown(given)}: a URL; download the file and give its path")
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:  # a name may hold what no name can
        remedy = "; ~ is not expanded here: use pathlib.Path(path).expanduser()" if given.startswith("~") else ""
        raise BundleError(f"no bundle at {path}{remedy}") from error
    except OSError as error:
        raise unreadable(path, error) from error
    if stat.S_ISDIR(mode):
        raise BundleError(f"no bundle at {path}: a folder; expected a .fer file")
    if not stat.S_ISREG(mode):
        raise BundleError(f"no bundle at {path}: a pipe or device; copy what comes of it to a .fer file")
    return path


def unreadable(path: Path, error: OSError) -> BundleError:
    """Error for a file that the system does not let read."""
    return BundleError(f"{path} cannot be read: {error.strerror or error}")


def not_a_bundle(path: Path, reason: object) -> BundleError:
    """Error for a file that is no bundle, with what it is.

    Args:
        path: The file.
        reason: Why it cannot be opened as a bundle; told where the file's kind says nothing.
    """
    kind = describe_file(path)
    if kind.startswith(DAMAGED):
        return BundleDamagedError(f"{path} is not a bundle, or is truncated: {reason}; fetch or build it again")
    remedy = next((remedy for name, remedy in REMEDIES.items() if kind.startswith(name)), "")
    text = f"{path} is {kind}; {remedy or 'expected a fer-edge bundle (.fer)'}"
    return BundleDamagedError(text) if kind.startswith("an empty file") else BundleError(text)
