"""Zip files of bundles, as they are read: nothing in them is believed before it is checked."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fer_edge._bundle_path import not_a_bundle, unreadable
from fer_edge._files import CHUNK, refused_by_system
from fer_edge.errors import BundleDamagedError, BundleError
from fer_edge.manifest import MANIFEST, Manifest, parse_manifest

MODEL = "model.onnx"
MAX_BUNDLE_BYTES = 4 << 30
MAX_MANIFEST_BYTES = 4 << 20
MAX_MEMBERS = 64


def open_archive(path: Path) -> zipfile.ZipFile:
    """Open a bundle whose members are no larger than the file itself."""
    try:
        size = path.stat().st_size
        if size > MAX_BUNDLE_BYTES:
            raise BundleError(f"{path} has {size} bytes; bundles have at most {MAX_BUNDLE_BYTES}")
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        if isinstance(error, OSError) and refused_by_system(error):
            raise unreadable(path, error) from error
        raise not_a_bundle(path, error) from error
    try:
        if MANIFEST not in archive.namelist():
            raise not_a_bundle(path, f"it has no {MANIFEST}")
        _check_stored(archive.infolist(), size, path)
    except BundleError:
        archive.close()
        raise
    return archive


def _check_stored(infos: list[zipfile.ZipInfo], size: int, path: Path) -> None:
    """Members are stored as they are, so all of them together are bounded by the file, which was found small enough.

    Raises:
        BundleError: There are too many, or one is compressed and could unpack to anything.
        BundleDamagedError: Sizes contradict each other or the file.
    """
    if len(infos) > MAX_MEMBERS:
        raise BundleError(f"{path} has {len(infos)} members; bundles have at most {MAX_MEMBERS}")
    for info in infos:
        if info.compress_type != zipfile.ZIP_STORED:
            raise BundleError(
                f"{path}: member {info.filename!r} is compressed (zip method {info.compress_type}); "
                "members of a bundle are stored as they are: build it again, or zip it without compression"
            )
        if info.file_size != info.compress_size:
            raise BundleDamagedError(
                f"{path}: member {info.filename!r} is said to have {info.file_size} bytes and to be stored in "
                f"{info.compress_size}; expected equal numbers: fetch or build the bundle again"
            )
    total = sum(info.file_size for info in infos)
    if total > size:
        raise BundleDamagedError(
            f"{path} has {size} bytes, but its members are said to have {total}: fetch or build the bundle again"
        )


def read_manifest(archive: zipfile.ZipFile, path: Path) -> Manifest:
    infos = archive.infolist()
    names = [info.filename for info in infos]
    for name in names:
        check_name(name, path)
    if len(set(names)) != len(names):
        raise BundleError(f"{path} holds a member twice")
    info = archive.getinfo(MANIFEST)
    if info.file_size > MAX_MANIFEST_BYTES:
        raise BundleError(f"{path}: {MANIFEST} is larger than {MAX_MANIFEST_BYTES} bytes")
    manifest = parse_manifest(b"".join(_chunks(archive, info, path)), path)
    if set(names) != {MANIFEST, *manifest.files}:
        unlisted = sorted(set(names) - {MANIFEST, *manifest.files})
        absent = sorted(set(manifest.files) - set(names))
        raise BundleDamagedError(f"{path}: members not in the manifest: {unlisted}; missing: {absent}")
    wanted = {MODEL, *(entry.file for entry in manifest.engines if entry.file is not None)}
    if not wanted <= set(names):
        raise BundleDamagedError(f"{path}: missing members: {sorted(wanted - set(names))}")
    return manifest


def check_name(name: str, path: Path) -> None:
    parts = name.split("/")
    if not name.isprintable() or "\\" in name or ":" in name or any(part in ("", ".", "..") for part in parts):
        raise BundleError(f"{path}: member name {name!r} is not acceptable: expected a plain relative path")


def check_member(
    archive: zipfile.ZipFile, name: str, promised: Mapping[str, Any], path: Path, into: list[bytes] | None = None
) -> None:
    """Compare a member with what the manifest promises, without holding more than one chunk unless asked to."""
    try:
        info = archive.getinfo(name)
    except KeyError as error:
        raise BundleDamagedError(f"{path}: {name} is gone since the bundle was opened; open it again") from error
    if info.file_size != promised.get("size"):
        raise BundleDamagedError(
            f"{path}: {name} has {info.file_size} bytes; the manifest says {promised.get('size')!r}"
        )
    digest = hashlib.sha256()
    for chunk in _chunks(archive, info, path):
        digest.update(chunk)
        if into is not None:
            into.append(chunk)
    if digest.hexdigest() != promised.get("sha256"):
        raise BundleDamagedError(f"{path}: {name} differs from the SHA-256 in the manifest; fetch or build it again")


def _chunks(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> Iterator[bytes]:
    """The bytes of a stored member; no more than the file has, since `_check_stored` has seen its sizes."""
    try:
        with archive.open(info) as member:
            while chunk := member.read(CHUNK):
                yield chunk
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        if isinstance(error, OSError) and refused_by_system(error):
            raise unreadable(path, error) from error
        raise BundleDamagedError(f"{path}: {info.filename} cannot be read: {error}") from error
