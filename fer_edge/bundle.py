"""Bundles: one `.fer` file with the typed ONNX, engine files and a manifest that vouches for every byte.

A bundle is untrusted until `Bundle.open` has checked it: member names, sizes and SHA-256 of all members,
before any native code sees a byte. The manifest is not signed: hashes tell damage, not who made the file.
"""

from __future__ import annotations

import hashlib
import stat
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fer_edge._files import CHUNK, atomic_path, refused_by_system, sha256
from fer_edge.engines.available import get_engine, machine_of, platform_tag
from fer_edge.engines.base import Artifact, Runner, RunOptions
from fer_edge.errors import BundleDamaged, BundleError, BundleMismatch, BundleVersionError, EngineUnavailable
from fer_edge.manifest import MANIFEST, MAX_BATCH, EngineEntry, Manifest, Tuning, parse_manifest

__all__ = [
    "CALIBRATION",
    "MANIFEST",
    "MAX_BATCH",
    "MODEL",
    "Bundle",
    "EngineEntry",
    "Manifest",
    "Tuning",
    "recorded_options",
    "write_bundle",
]

MODEL = "model.onnx"
CALIBRATION = "calibration.json"  # the activation ranges, where the precision came from some
MAX_BUNDLE_BYTES = 4 << 30
MAX_MANIFEST_BYTES = 4 << 20
MAX_MEMBERS = 64
LOCAL_OPTIONS = ("timing_cache",)  # build options that name a place on the machine that builds


@dataclass(frozen=True)
class Bundle:
    """A bundle that has been checked."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: Path | str) -> Bundle:
        """Check a bundle whole and read its manifest.

        Raises:
            BundleError: It is no bundle or cannot be read, a member's name or size is not acceptable, or one is
                compressed.
            BundleDamaged: A member's bytes are not those the manifest promises.
            BundleVersionError: Its format is not known to this version.
        """
        path = Path(path)
        if not _is_file(path):
            raise BundleError(f"no bundle at {path}")
        with _open_zip(path) as archive:
            manifest = _read_manifest(archive, path)
            for name, promised in manifest.files.items():
                _check_member(archive, name, promised, path)
        return cls(path, manifest)

    def read(self, member: str) -> bytes:
        """A member's bytes, checked again as they are read.

        Raises:
            BundleError: There is no such member, or the file cannot be read.
            BundleDamaged: The file changed since it was opened.
        """
        if member not in self.manifest.files:
            raise BundleError(f"{self.path} has no member {member}; it has {', '.join(self.manifest.files)}")
        with _open_zip(self.path) as archive:
            chunks: list[bytes] = []
            _check_member(archive, member, self.manifest.files[member], self.path, chunks)
        return b"".join(chunks)

    def entry(self, engine: str | None = None) -> EngineEntry:
        """The entry of an engine, or of the first one.

        Raises:
            BundleError: The bundle was not built for that engine.
        """
        for entry in self.manifest.engines:
            if engine in (None, entry.engine):
                return entry
        names = ", ".join(entry.engine for entry in self.manifest.engines) or "none"
        raise BundleError(
            f"{self.path} has no engine {engine or ''}; it has: {names}. "
            "Build one with: fer-edge build-engine CHECKPOINT --engine ENGINE"
        )

    def tuning(self, engine: str | None = None, device: int = 0) -> Tuning | None:
        """What an engine was tuned to on machines like this one, if it was.

        Args:
            engine: As for `runner`.
            device: The GPU it is to run on, for engines that have one.

        Raises:
            BundleError: The bundle was not built for that engine.
        """
        name = self.entry(engine).engine
        found = [tuning for tuning in self.manifest.tunings if tuning.engine == name]
        if not found:
            return None
        try:
            machine = machine_of(name, device)
        except EngineUnavailable:
            return None  # loading it will say why there is no such GPU
        return next((tuning for tuning in found if tuning.machine == machine), None)

    def runner(self, engine: str | None = None, options: RunOptions | None = None) -> Runner:
        """Load an engine of the bundle.

        Args:
            engine: Its name; the first one of the bundle if not given.
            options: How to run.

        Raises:
            BundleError: The bundle was not built for that engine.
            BundleMismatch: Its engine file was made for another engine version, compute capability or platform.
            EngineUnavailable: The engine is not installed or has no device here.
            EngineError: The engine refused the file.
        """
        entry = self.entry(engine)
        options = options or RunOptions()
        self._check_fits(entry, options.device)
        return get_engine(entry.engine).load(self.artifact(entry), options)

    def warm_runner(self, engine: str | None = None, options: RunOptions | None = None, largest: int = 1) -> Runner:
        """Load an engine and run it once. Only then is it known how many labels the model really has.

        Args:
            engine: As for `runner`.
            options: As for `runner`.
            largest: Batches up to so many images are run once too: what an engine makes for each is ready then.

        Raises:
            BundleError: The model has another number of labels than the bundle; or as `runner` says.
            EngineError: The engine failed; or as `runner` says.
        """
        runner, labels = self.runner(engine, options), len(self.manifest.labels)
        try:
            images = runner.input_buffer()
            shape = runner.infer(images[:1]).probabilities.shape
            if shape != (1, labels):
                raise BundleError(
                    f"{self.path} has {labels} labels, but its model gives probabilities of shape {shape} for one "
                    f"image; expected (1, {labels}): build the bundle again"
                )
            for batch in range(2, largest + 1):
                runner.infer(images[:batch])
        except BaseException:
            runner.close()
            raise
        return runner

    def artifact(self, entry: EngineEntry) -> Artifact:
        """What an engine of the bundle is loaded from.

        Raises:
            BundleDamaged: The file changed since it was opened.
        """
        file = None if entry.file is None else self.read(entry.file)
        return Artifact(self.read(MODEL), file, self.manifest.max_batch)

    def _check_fits(self, entry: EngineEntry, device: int) -> None:
        """An engine file is good for one platform, engine version and set of compute capabilities."""
        if entry.file is None:
            return
        rebuild = "rebuild it with: fer-edge build-engine"
        if entry.platform is not None and entry.platform != platform_tag():
            raise BundleMismatch(
                f"{self.path}: the {entry.engine} engine was built for {entry.platform}; "
                f"this machine is {platform_tag()}; {rebuild}"
            )
        engine = get_engine(entry.engine)
        if not engine.runs_version(entry.engine_version):
            raise BundleMismatch(
                f"{self.path}: built with {entry.engine} {entry.engine_version}; "
                f"installed is {engine.version()}; {rebuild}, or install that version"
            )
        target = engine.local_target(device)
        if not engine.runs_target(entry.targets, target):
            raise BundleMismatch(
                f"{self.path}: the {entry.engine} engine was built for {', '.join(entry.targets)}; "
                f"this device is {target}; {rebuild} --target {target}"
            )


def write_bundle(path: Path, manifest: Manifest, members: Mapping[str, bytes]) -> None:
    """Write a bundle, whole or not at all. Equal contents give equal bytes.

    Args:
        path: File to write, `.fer`.
        manifest: Its description; `files` is filled in here.
        members: Bytes by member name; `model.onnx` is one of them.

    Raises:
        BundleError: `model.onnx` is missing, a name is not acceptable, or no version could read the manifest.
        FerEdgeError: The file cannot be written.
    """
    if MODEL not in members:
        raise BundleError(f"a bundle needs {MODEL}; got {', '.join(members) or 'nothing'}")
    for name in members:
        _check_name(name, path)
    files = {name: {"sha256": sha256(data), "size": len(data)} for name, data in sorted(members.items())}
    stored = _stored_manifest(replace(manifest, files=files), path)
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, data in [(MANIFEST, stored), *sorted(members.items())]:
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.external_attr = 0o644 << 16
            archive.writestr(info, data)


def _stored_manifest(manifest: Manifest, path: Path) -> bytes:
    """The stored form, read back: what `Bundle.open` would refuse is not written."""
    try:
        stored = manifest.to_json().encode()
        parse_manifest(stored, path)
    except (TypeError, ValueError, BundleDamaged, BundleVersionError) as error:
        raise BundleError(f"not written, since it could not be opened again: {error}") from error
    return stored


def recorded_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Build options as a bundle keeps them: only those that say the same on every machine, as JSON gives them back."""
    kept = {name: value for name, value in options.items() if name not in LOCAL_OPTIONS}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in kept.items()}


def _is_file(path: Path) -> bool:
    """Whether there is a file.

    Raises:
        BundleError: The system does not tell.
    """
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # a name may hold what no name can
        return False
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> BundleError:
    return BundleError(f"{path} cannot be read: {error.strerror or error}")


def _open_zip(path: Path) -> zipfile.ZipFile:
    """Open a bundle whose members are no larger than the file itself."""
    try:
        size = path.stat().st_size
        if size > MAX_BUNDLE_BYTES:
            raise BundleError(f"{path} has {size} bytes; bundles have at most {MAX_BUNDLE_BYTES}")
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        if isinstance(error, OSError) and refused_by_system(error):
            raise _unreadable(path, error) from error
        if path.suffix == ".safetensors":
            raise BundleError(f"{path} is a checkpoint; make a bundle of it with: fer-edge build-engine") from error
        raise BundleDamaged(f"{path} is not a bundle, or is truncated: {error}") from error
    try:
        _check_stored(archive.infolist(), size, path)
    except BundleError:
        archive.close()
        raise
    return archive


def _check_stored(infos: list[zipfile.ZipInfo], size: int, path: Path) -> None:
    """Members are stored as they are, so all of them together are bounded by the file, which was found small enough.

    Raises:
        BundleError: There are too many, or one is compressed and could unpack to anything.
        BundleDamaged: Sizes contradict each other or the file.
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
            raise BundleDamaged(
                f"{path}: member {info.filename!r} is said to have {info.file_size} bytes and to be stored in "
                f"{info.compress_size}; expected equal numbers: fetch or build the bundle again"
            )
    total = sum(info.file_size for info in infos)
    if total > size:
        raise BundleDamaged(
            f"{path} has {size} bytes, but its members are said to have {total}: fetch or build the bundle again"
        )


def _read_manifest(archive: zipfile.ZipFile, path: Path) -> Manifest:
    infos = archive.infolist()
    names = [info.filename for info in infos]
    for name in names:
        _check_name(name, path)
    if len(set(names)) != len(names):
        raise BundleError(f"{path} holds a member twice")
    if MANIFEST not in names:
        raise BundleError(f"{path} is a zip file without {MANIFEST}; not a fer-edge bundle")
    info = archive.getinfo(MANIFEST)
    if info.file_size > MAX_MANIFEST_BYTES:
        raise BundleError(f"{path}: {MANIFEST} is larger than {MAX_MANIFEST_BYTES} bytes")
    manifest = parse_manifest(b"".join(_chunks(archive, info, path)), path)
    if set(names) != {MANIFEST, *manifest.files}:
        unlisted = sorted(set(names) - {MANIFEST, *manifest.files})
        absent = sorted(set(manifest.files) - set(names))
        raise BundleDamaged(f"{path}: members not in the manifest: {unlisted}; missing: {absent}")
    wanted = {MODEL, *(entry.file for entry in manifest.engines if entry.file is not None)}
    if not wanted <= set(names):
        raise BundleDamaged(f"{path}: missing members: {sorted(wanted - set(names))}")
    return manifest


def _check_name(name: str, path: Path) -> None:
    parts = name.split("/")
    if not name.isprintable() or "\\" in name or ":" in name or any(part in ("", ".", "..") for part in parts):
        raise BundleError(f"{path}: member name {name!r} is not acceptable: expected a plain relative path")


def _check_member(
    archive: zipfile.ZipFile, name: str, promised: Mapping[str, Any], path: Path, into: list[bytes] | None = None
) -> None:
    """Compare a member with what the manifest promises, without holding more than one chunk unless asked to."""
    try:
        info = archive.getinfo(name)
    except KeyError as error:
        raise BundleDamaged(f"{path}: {name} is gone since the bundle was opened; open it again") from error
    if info.file_size != promised.get("size"):
        raise BundleDamaged(f"{path}: {name} has {info.file_size} bytes; the manifest says {promised.get('size')!r}")
    digest = hashlib.sha256()
    for chunk in _chunks(archive, info, path):
        digest.update(chunk)
        if into is not None:
            into.append(chunk)
    if digest.hexdigest() != promised.get("sha256"):
        raise BundleDamaged(f"{path}: {name} differs from the SHA-256 in the manifest; fetch or build it again")


def _chunks(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> Iterator[bytes]:
    """The bytes of a stored member; no more than the file has, since `_check_stored` has seen its sizes."""
    try:
        with archive.open(info) as member:
            while chunk := member.read(CHUNK):
                yield chunk
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        if isinstance(error, OSError) and refused_by_system(error):
            raise _unreadable(path, error) from error
        raise BundleDamaged(f"{path}: {info.filename} cannot be read: {error}") from error
