"""Files that appear whole or not at all."""

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
    """A temporary path beside `path`, renamed to it when the block ends well and removed when it does not.

    Where `path` is a link, the file that it points to is replaced and the link stays. A file that is replaced hands
    its permissions on.

    Raises:
        FerEdgeError: The folder cannot be written, the disk is full, or `path` is a folder, device or pipe.
    """
    temporary: Path | None = None
    try:
        target, mode = _replaceable(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = _new_file(target, mode)
        yield temporary
        with temporary.open("r+b") as file:  # Windows flushes only what is open for writing
            os.fsync(file.fileno())
        if mode is not None:
            with suppress(PermissionError):  # file systems without permissions
                temporary.chmod(mode)
        temporary.replace(target)
    except OSError as error:
        raise FerEdgeError(f"cannot write {path}: {error.strerror or error}; nothing was changed") from error
    finally:
        if temporary is not None:
            with suppress(OSError):  # what went wrong before is what is told
                temporary.unlink(missing_ok=True)


def _new_file(target: Path, mode: int | None) -> Path:
    """An empty file beside `target`, no more open to others than `target` is; the kernel applies the umask."""
    path = target.with_name(f".{target.name}.{os.urandom(4).hex()}")
    flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_BINARY", 0)
    os.close(os.open(path, flags, 0o666 if mode is None else mode | stat.S_IWUSR | stat.S_IRUSR))
    return path


def _replaceable(path: Path) -> tuple[Path, int | None]:
    """What a rename onto `path` may replace, and its permissions; None where there is nothing yet.

    Renaming would put a file in the place of a link or even a device.
    """
    target = Path(os.path.realpath(path))
    blocking = next((parent for parent in target.parents if parent.exists()), None)
    if blocking is not None and not blocking.is_dir():
        raise FerEdgeError(f"cannot write {path}: {blocking} is no folder; nothing was changed, name another place")
    try:
        mode = target.lstat().st_mode
    except FileNotFoundError:
        return target, None
    if not stat.S_ISREG(mode):
        raise FerEdgeError(f"cannot write {path}: it is no regular file; name a file")
    return target, mode & 0o777


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_together(files: Mapping[Path, bytes]) -> None:
    """Write several files: each is whole, and none appears unless all could be written.

    Args:
        files: Path -> content.

    Raises:
        FerEdgeError: One of them cannot be written; nothing was changed.
    """
    with ExitStack() as stack:
        for path, data in files.items():
            temporary = stack.enter_context(atomic_path(path))
            with temporary.open("r+b") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())  # a full disk shows here, before the first of them is renamed


def check_output(out: Path, *inputs: Path | None) -> None:
    """Refuse an output path that is one of the inputs, before any work is done.

    Args:
        out: File or folder to write.
        inputs: Files and folders that are read; None for one that was not given.

    Raises:
        ConfigError: `out` names the same file as an input, by another spelling or through a link too.
    """
    for path in inputs:
        if path is not None and os.path.realpath(out) == os.path.realpath(path):
            raise ConfigError(f"the output {out} is also an input; name another file to write")


def make_folder(folder: Path) -> None:
    """Make a folder, before long work is done for what it will hold.

    Raises:
        FerEdgeError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FerEdgeError(f"cannot make the folder {folder}: {error.strerror}; name another one") from error


def refused_by_system(error: OSError) -> bool:
    """Whether the system would not give a file's bytes. Otherwise they are nonsense that sent a reader astray."""
    return error.errno not in (None, errno.EINVAL)  # a seek to before the start is invalid


def sha256(data: bytes | memoryview) -> str:
    """Hex SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file, which is not held in memory."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
