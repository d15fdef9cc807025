"""Errors for paths and files that are not bundles: kind of the file and next step."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from fer_edge._files import as_path
from fer_edge.errors import BundleDamagedError, BundleError, shown
from fer_edge.file_kind import describe_file

# Next step by the beginning of `describe_file`'s text.
REMEDIES = {
    "a fer-edge checkpoint": "build a bundle from it: fer-edge build-engine",
    "a safetensors file": "build a bundle from a checkpoint: fer-edge build-engine",
    "a file of text features": "pass it to fer-edge train --text-features; build a bundle from a checkpoint: "
    "fer-edge build-engine",
    "a resume file of fer-edge train": "build a bundle from that checkpoint: fer-edge build-engine",
    "a PyTorch file": "import it first: fer-edge checkpoint import, then fer-edge build-engine",
    "a Python pickle": "import it first: fer-edge checkpoint import, then fer-edge build-engine",
    "an ONNX model": "build a bundle from a checkpoint: fer-edge build-engine",
}
DAMAGED = ("a damaged zip archive", "a fer-edge bundle", "a file of an unknown kind")


def check_path(path: str | os.PathLike[str]) -> Path:
    """Check that a path leads to a regular file, and return it.

    Raises:
        BundleError: Argument of another type, empty path, URL, or no regular file at the path.
    """
    if path == "" or (isinstance(path, str) and path.isspace()):
        raise BundleError("the path of a bundle is empty; expected a .fer file, or None for the shipped bundle")
    file = as_path(path, "the path of a bundle", BundleError)
    text = os.fspath(path)
    if "://" in text:
        raise BundleError(f"no bundle at {shown(text)}: a URL; download the file and pass its path")
    try:
        mode = file.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        remedy = "; ~ is not expanded here: use pathlib.Path(path).expanduser()" if text.startswith("~") else ""
        raise BundleError(f"no bundle at {file}{remedy}") from error
    except OSError as error:
        raise read_error(file, error) from error
    if stat.S_ISDIR(mode):
        raise BundleError(f"no bundle at {file}: a folder; expected a .fer file")
    if not stat.S_ISREG(mode):
        raise BundleError(f"no bundle at {file}: a pipe or device; write its content to a .fer file first")
    return file


def read_error(path: Path, error: OSError) -> BundleError:
    """Return the error for a file that the operating system cannot read."""
    return BundleError(f"{path} cannot be read: {error.strerror or error}")


def wrong_file_error(path: Path, reason: object) -> BundleError:
    """Return the error for a file that is not a bundle; the message names the kind of the file.

    Args:
        path: The file.
        reason: Cause from the zip reader; part of the message only where the kind of the file is unknown.
    """
    kind = describe_file(path)
    if kind.startswith(DAMAGED):
        return BundleDamagedError(f"{path} is not a bundle, or is truncated: {reason}; fetch or build it again")
    remedy = next((remedy for start, remedy in REMEDIES.items() if kind.startswith(start)), "")
    text = f"{path} is {kind}; {remedy or 'expected a fer-edge bundle (.fer)'}"
    return BundleDamagedError(text) if kind.startswith("an empty file") else BundleError(text)
