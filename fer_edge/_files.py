"""Files: conversion of path arguments, atomic writing, checks of output paths, hashes."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from fer_edge.errors import ConfigError, FerEdgeError, InputError, shown

CHUNK = 1 << 20  # bytes read at once
SHOWN_HASH = 12  # digits of a SHA-256 in messages and tables


def as_path(path: str | os.PathLike[str], what: str, error: type[FerEdgeError] = InputError) -> Path:
    """Convert a path argument of the Python API.

    Args:
        path: Path as the caller gave it.
        what: Name of the argument for messages: "the checkpoint".
        error: Exception to raise, InputError by default.

    Raises:
        FerEdgeError: As `error`: another type, an empty text or an embedded null byte.
    """
    text = os.fspath(path) if isinstance(path, (str, os.PathLike)) else path
    if not isinstance(text, str):
        raise error(f"{what} is of type {type(path).__name__}; expected a path: str or os.PathLike")
    if not text.strip():
        raise error(f"{what} is an empty path; expected the name of a file or folder")
    if "\0" in text:
        raise error(f"{what} is {shown(text)}; expected a path without null bytes")
    return Path(text)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`; it replaces `path` on success and is removed on failure.

    If `path` is a link, the file that it points to is replaced and the link stays. The new file gets the permissions of
    the old one.

    Raises:
        FerEdgeError: Folder that cannot be written, full disk, or a `path` that is a folder, device or pipe.
    """
    temporary: Path | None = None
    try:
        target, mode = _resolve_target(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = _create_temporary(target, mode)
        yield temporary
        with temporary.open("r+b") as file:  # Windows flushes only files that are open for writing
            os.fsync(file.fileno())
        if mode is not None:
            with suppress(PermissionError):  # file systems without permissions
                temporary.chmod(mode)
        temporary.replace(target)
    except OSError as error:
        raise FerEdgeError(f"cannot write {path}: {error.strerror or error}; nothing was changed") from error
    finally:
        if temporary is not None:
            with suppress(OSError):  # an error here must not hide the first one
                temporary.unlink(missing_ok=True)


def _create_temporary(target: Path, mode: int | None) -> Path:
    """Create an empty file next to `target`, with at most its permissions; the kernel applies the umask."""
    path = target.with_name(f".{target.name}.{os.urandom(4).hex()}")
    flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags, 0o666 if mode is None else mode | stat.S_IWUSR | stat.S_IRUSR)
    try:
        os.close(descriptor)
    except OSError:  # network file systems report errors here
        with suppress(OSError):
            path.unlink()
        raise
    return path


def _resolve_target(path: Path) -> tuple[Path, int | None]:
    """Return the file that a rename onto `path` replaces, and its permissions; None if it does not exist yet.

    A rename alone would replace links and devices too.
    """
    target = Path(os.path.realpath(path))
    blocking = next((parent for parent in target.parents if parent.exists()), None)
    if blocking is not None and not blocking.is_dir():
        raise FerEdgeError(f"cannot write {path}: {blocking} is not a folder; nothing was changed, use another path")
    try:
        mode = target.lstat().st_mode
    except FileNotFoundError:
        return target, None
    if not stat.S_ISREG(mode):
        raise FerEdgeError(f"cannot write {path}: it is not a regular file; use the path of a file")
    return target, mode & 0o777


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` to `path`, completely or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_together(files: Mapping[Path, bytes]) -> None:
    """Write several files completely, or none of them if one cannot be written.

    Args:
        files: Content by path.

    Raises:
        FerEdgeError: File that cannot be written; nothing was changed.
    """
    with ExitStack() as stack:
        for path, data in files.items():
            temporary = stack.enter_context(atomic_path(path))
            with temporary.open("r+b") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())  # reports a full disk before the first file is renamed


def check_output(out: Path, *inputs: Path | None) -> None:
    """Refuse an output path that is also an input, before any work is done.

    Args:
        out: File or folder to write.
        inputs: Files and folders to read; None for an input that is not used.

    Raises:
        ConfigError: `out` is the same file as an input, also by another spelling or through a link.
    """
    for path in inputs:
        if path is not None and os.path.realpath(out) == os.path.realpath(path):
            raise ConfigError(f"the output {out} is also an input; name another file to write")


def check_output_files(outputs: Mapping[str, Path | None], *inputs: Path | None) -> None:
    """Refuse outputs that are inputs, and two outputs that are one file, before any work is done.

    Args:
        outputs: File to write by the name of its argument or option; None for one that is not written.
        inputs: Files and folders to read; None for an input that is not used.

    Raises:
        ConfigError: Output that is an input, or two outputs that are one file.
    """
    names: dict[Path, str] = {}
    for name, path in outputs.items():
        if path is None:
            continue
        check_output(path, *inputs)
        other = names.setdefault(path.resolve(), name)
        if other != name:
            raise ConfigError(f"{other} and {name} are one file, {path}; name two")


def make_folder(folder: Path) -> None:
    """Create a folder for output, before long work starts.

    Raises:
        FerEdgeError: Folder that cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FerEdgeError(f"cannot make the folder {folder}: {error.strerror}; name another one") from error


def is_os_error(error: OSError) -> bool:
    """Return True if the operating system could not read the file, False if its content is malformed."""
    return error.errno not in (None, errno.EINVAL)  # seeking to a negative offset from a malformed file gives EINVAL


def sha256(data: bytes | memoryview) -> str:
    """Return the SHA-256 of `data` in hex."""
    return hashlib.sha256(data).hexdigest()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hex, reading it in chunks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
