"""Files of bundles: paths, zip archives, and checks of the members. All content is untrusted until it is checked."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fer_edge._files import CHUNK, as_path, is_os_error
from fer_edge.errors import BundleDamagedError, BundleError, shown
from fer_edge.file_kind import describe_file, describe_stream
from fer_edge.manifest import MANIFEST, Manifest, parse_manifest

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
MODEL = "model.onnx"
MAX_BUNDLE_BYTES = 4 << 30
MAX_MANIFEST_BYTES = 4 << 20
MAX_MEMBERS = 64


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


def wrong_file_error(path: Path, reason: object, content: bytes | None = None) -> BundleError:
    """Return the error for a file that is not a bundle; the message names the kind of the file.

    Args:
        path: The file.
        reason: Cause from the zip reader; part of the message only where the kind of the file is unknown.
        content: Content of the file; None: it is read.
    """
    kind = describe_file(path) if content is None else describe_stream(io.BytesIO(content), path.name)
    if kind.startswith(DAMAGED):
        return BundleDamagedError(f"{path} is not a bundle, or is truncated: {reason}; fetch or build it again")
    remedy = next((remedy for start, remedy in REMEDIES.items() if kind.startswith(start)), "")
    text = f"{path} is {kind}; {remedy or 'expected a fer-edge bundle (.fer)'}"
    return BundleDamagedError(text) if kind.startswith("an empty file") else BundleError(text)


def read_content(path: Path) -> bytes:
    """Read a whole file.

    Raises:
        BundleError: File that cannot be read or is too large.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            _check_file_size(size, path)
            return file.read(size)
    except OSError as error:
        raise read_error(path, error) from error


def read_bundle(
    path: Path, content: bytes | None = None, *, in_memory: bool = False
) -> tuple[Manifest, dict[str, bytes]]:
    """Check all members of a bundle.

    Args:
        path: Path of the bundle.
        content: Content of the file; None: it is read.
        in_memory: Whether to return the members.

    Returns:
        The manifest, and the content by member, which is empty without `in_memory`.

    Raises:
        BundleError: As for `Bundle.open`.
    """
    members = {}
    with open_archive(path, content) as archive:
        manifest = read_manifest(archive, path)
        for name, expected in manifest.files.items():
            chunks: list[bytes] = []
            check_member(archive, name, expected, path, chunks if in_memory else None)
            if in_memory:
                members[name] = b"".join(chunks)
    return manifest, members


def open_archive(path: Path, content: bytes | None = None) -> zipfile.ZipFile:
    """Open a bundle as a zip archive, and check the sizes of its members.

    Args:
        path: Path of the bundle.
        content: Content of the file; None: it is read.

    Raises:
        BundleError: File that cannot be read or is not a bundle, or too many or compressed members.
        BundleDamagedError: Sizes of members that contradict each other or the file.
    """
    try:
        size = path.stat().st_size if content is None else len(content)
        _check_file_size(size, path)
        archive = zipfile.ZipFile(path if content is None else io.BytesIO(content))
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        if isinstance(error, OSError) and is_os_error(error):
            raise read_error(path, error) from error
        raise wrong_file_error(path, error, content) from error
    try:
        if MANIFEST not in archive.namelist():
            raise wrong_file_error(path, f"it has no {MANIFEST}", content)
        _check_sizes(archive.infolist(), size, path)
    except BundleError:
        archive.close()
        raise
    return archive


def _check_file_size(size: int, path: Path) -> None:
    if size > MAX_BUNDLE_BYTES:
        raise BundleError(f"{path} has {size} bytes; bundles have at most {MAX_BUNDLE_BYTES}")


def _check_sizes(infos: list[zipfile.ZipInfo], size: int, path: Path) -> None:
    """Check that members are stored uncompressed, so that their total size cannot exceed that of the file."""
    if len(infos) > MAX_MEMBERS:
        raise BundleError(f"{path} has {len(infos)} members; bundles have at most {MAX_MEMBERS}")
    for info in infos:
        if info.compress_type != zipfile.ZIP_STORED:
            raise BundleError(
                f"{path}: member {info.filename!r} is compressed (zip method {info.compress_type}); expected members "
                "stored uncompressed: build the bundle again, or zip it without compression"
            )
        if info.file_size != info.compress_size:
            raise BundleDamagedError(
                f"{path}: member {info.filename!r} has size {info.file_size} and stored size {info.compress_size} in "
                "the zip directory; expected equal sizes: fetch or build the bundle again"
            )
    total = sum(info.file_size for info in infos)
    if total > size:
        raise BundleDamagedError(
            f"{path} has {size} bytes, but its members have {total} in the zip directory: "
            "fetch or build the bundle again"
        )


def read_manifest(archive: zipfile.ZipFile, path: Path) -> Manifest:
    """Read the manifest, and check that it lists exactly the members of the archive.

    Raises:
        BundleError: Unsafe or repeated member name, or a manifest that is too large.
        BundleDamagedError: Invalid manifest, or a missing or unlisted member.
        BundleVersionError: Format that this version does not support.
    """
    infos = archive.infolist()
    names = [info.filename for info in infos]
    for name in names:
        check_name(name, path)
    if len(set(names)) != len(names):
        raise BundleError(f"{path} has two members of the same name")
    info = archive.getinfo(MANIFEST)
    if info.file_size > MAX_MANIFEST_BYTES:
        raise BundleError(f"{path}: {MANIFEST} is larger than {MAX_MANIFEST_BYTES} bytes")
    manifest = parse_manifest(b"".join(_chunks(archive, info, path)), path)
    if set(names) != {MANIFEST, *manifest.files}:
        unlisted = sorted(set(names) - {MANIFEST, *manifest.files})
        missing = sorted(set(manifest.files) - set(names))
        raise BundleDamagedError(f"{path}: members not in the manifest: {unlisted}; missing: {missing}")
    required = {MODEL, *(entry.file for entry in manifest.engines if entry.file is not None)}
    if not required <= set(names):
        raise BundleDamagedError(f"{path}: missing members: {sorted(required - set(names))}")
    return manifest


def check_name(name: str, path: Path) -> None:
    """Refuse a member name that is not a plain relative path.

    Raises:
        BundleError: Absolute path, backslash, colon, "..", or unprintable characters.
    """
    parts = name.split("/")
    if not name.isprintable() or "\\" in name or ":" in name or any(part in ("", ".", "..") for part in parts):
        raise BundleError(f"{path}: unsafe member name {name!r}; expected a plain relative path")


def check_member(
    archive: zipfile.ZipFile, name: str, expected: Mapping[str, Any], path: Path, chunks: list[bytes] | None = None
) -> None:
    """Compare size and SHA-256 of a member with the manifest.

    Args:
        archive: The open bundle.
        name: Name of the member.
        expected: The member's "size" and "sha256" in the manifest.
        path: Path of the bundle, for messages.
        chunks: List to append the content to; None: at most one chunk is in memory at a time.

    Raises:
        BundleDamagedError: Missing member, or another size or SHA-256.
    """
    try:
        info = archive.getinfo(name)
    except KeyError as error:
        raise BundleDamagedError(f"{path}: {name} was removed after the bundle was opened; open it again") from error
    if info.file_size != expected.get("size"):
        raise BundleDamagedError(
            f"{path}: {name} has {info.file_size} bytes; expected {expected.get('size')!r}, as in the manifest"
        )
    digest = hashlib.sha256()
    for chunk in _chunks(archive, info, path):
        digest.update(chunk)
        if chunks is not None:
            chunks.append(chunk)
    if digest.hexdigest() != expected.get("sha256"):
        raise BundleDamagedError(f"{path}: {name} differs from the SHA-256 in the manifest; fetch or build it again")


def _chunks(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> Iterator[bytes]:
    """Yield the content of a member; at most the size of the file, which `_check_sizes` has checked."""
    try:
        with archive.open(info) as member:
            while chunk := member.read(CHUNK):
                yield chunk
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        if isinstance(error, OSError) and is_os_error(error):
            raise read_error(path, error) from error
        raise BundleDamagedError(f"{path}: {info.filename} cannot be read: {error}") from error
