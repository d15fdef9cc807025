"""Bundles: one `.fer` file with the typed ONNX, engine files and a manifest that vouches for every byte.

A bundle is untrusted until `Bundle.open` has checked it: member names, sizes and SHA-256 of all members,
before any native code sees a byte. The manifest is not signed: hashes tell damage, not who made the file.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

from fer_edge._files import atomic_path, sha256
from fer_edge.engines.available import get_engine, platform_tag
from fer_edge.engines.base import Artifact, Precision, Runner, RunOptions
from fer_edge.errors import BundleDamaged, BundleError, BundleMismatch, BundleVersionError
from fer_edge.machine import machine_name

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
MODEL = "model.onnx"
CALIBRATION = "calibration.json"  # the activation ranges, where the precision came from some
MAX_BUNDLE_BYTES = 4 << 30
MAX_MANIFEST_BYTES = 4 << 20
MAX_MEMBERS = 64
MAX_BATCH = 1024
MAX_THREADS = 1024
LOCAL_OPTIONS = ("timing_cache",)  # build options that name a place on the machine that builds
CHUNK = 1 << 20
INPUT: dict[str, Any] = {
    "name": "images",
    "dtype": "uint8",
    "layout": "NHWC",
    "height": 112,
    "width": 112,
    "color": "RGB",
}


@dataclass(frozen=True)
class EngineEntry:
    """One engine of a bundle."""

    engine: str
    targets: tuple[str, ...]
    engine_version: str
    file: str | None  # member name; None: the engine runs model.onnx, on any version and platform
    platform: str | None  # where the file is tied to one
    proof: dict[str, Any] = field(default_factory=dict)  # what it executes: see `fer_edge.export.precision`
    options: dict[str, Any] = field(default_factory=dict)  # it was built with; left out of the stored form where empty


@dataclass(frozen=True)
class Tuning:
    """Settings that were measured to be best on one kind of machine."""

    engine: str
    machine: str  # as `machine_name` calls it
    threads: int  # of one inference
    streams: int  # recognizers at once, each in a thread of the app's
    batch: int  # faces that run together
    target: str  # what was asked for: "p99=8", "throughput=300"
    p99_ms: float  # of a batch
    images_per_second: float  # of all streams


@dataclass(frozen=True)
class Manifest:
    """What a bundle says about itself. Everything a runtime needs, and where it came from."""

    name: str
    labels: tuple[str, ...]
    decision: str  # which head `probabilities` come from: label, text or mean
    precision: str
    max_batch: int
    engines: tuple[EngineEntry, ...]
    words: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()
    text_source: str = "none"
    input: dict[str, Any] = field(default_factory=lambda: dict(INPUT))
    operators: dict[str, dict[str, int]] = field(default_factory=dict)  # operator type -> element type -> nodes
    checkpoint: dict[str, Any] = field(default_factory=dict)  # SHA-256, metrics, provenance
    created_with: dict[str, str] = field(default_factory=dict)  # tool -> version
    tunings: tuple[Tuning, ...] = ()  # one for each engine and machine; left out of the stored form where empty
    files: dict[str, dict[str, Any]] = field(default_factory=dict)  # member -> sha256, size; set when written

    def to_json(self) -> str:
        """The stored form."""
        values = asdict(self)
        if not self.tunings:
            del values["tunings"]  # earlier versions do not know it
        for entry in values["engines"]:
            if not entry["options"]:
                del entry["options"]  # nor this
        return json.dumps({"format": FORMAT_VERSION, **values}, indent=1, sort_keys=True)


@dataclass(frozen=True)
class Bundle:
    """A bundle that has been checked."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: Path | str) -> Bundle:
        """Check a bundle whole and read its manifest.

        Raises:
            BundleError: It is no bundle, or a member's name or size is not acceptable.
            BundleDamaged: A member's bytes are not those the manifest promises.
            BundleVersionError: Its format is not known to this version.
        """
        path = Path(path)
        if not path.is_file():
            raise BundleError(f"no bundle at {path}")
        with _open_zip(path) as archive:
            manifest = _read_manifest(archive, path)
            for name, promised in manifest.files.items():
                _check_member(archive, name, promised, path)
        return cls(path, manifest)

    def read(self, member: str) -> bytes:
        """A member's bytes, checked again as they are read.

        Raises:
            BundleError: There is no such member.
            BundleDamaged: The file changed since it was opened.
        """
        if member not in self.manifest.files:
            raise BundleError(f"{self.path} has no member {member}; it has {', '.join(self.manifest.files)}")
        with _open_zip(self.path) as archive:
            buffer = io.BytesIO()
            _check_member(archive, member, self.manifest.files[member], self.path, buffer)
        return buffer.getvalue()

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

    def tuning(self, engine: str | None = None) -> Tuning | None:
        """What an engine was tuned to on machines like this one, if it was.

        Raises:
            BundleError: The bundle was not built for that engine.
        """
        found = [tuning for tuning in self.manifest.tunings if tuning.engine == self.entry(engine).engine]
        return next((tuning for tuning in found if tuning.machine == machine_name()), None)

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
    """
    if MODEL not in members:
        raise BundleError(f"a bundle needs {MODEL}; got {', '.join(members) or 'nothing'}")
    for name in members:
        _check_name(name, path)
    files = {name: {"sha256": sha256(data), "size": len(data)} for name, data in sorted(members.items())}
    described = replace(manifest, files=files)
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, data in [(MANIFEST, described.to_json().encode()), *sorted(members.items())]:
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.external_attr = 0o644 << 16
            archive.writestr(info, data)


def recorded_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Build options as a bundle keeps them: only those that say the same on every machine, as JSON gives them back."""
    kept = {name: value for name, value in options.items() if name not in LOCAL_OPTIONS}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in kept.items()}


def _open_zip(path: Path) -> zipfile.ZipFile:
    size = path.stat().st_size
    if size > MAX_BUNDLE_BYTES:
        raise BundleError(f"{path} has {size} bytes; bundles have at most {MAX_BUNDLE_BYTES}")
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise BundleDamaged(f"{path} is not a bundle, or is truncated: {error}") from error


def _read_manifest(archive: zipfile.ZipFile, path: Path) -> Manifest:
    infos = archive.infolist()
    if len(infos) > MAX_MEMBERS:
        raise BundleError(f"{path} has {len(infos)} members; bundles have at most {MAX_MEMBERS}")
    names = [info.filename for info in infos]
    for name in names:
        _check_name(name, path)
    if len(set(names)) != len(names):
        raise BundleError(f"{path} holds a member twice")
    if MANIFEST not in names:
        raise BundleError(f"{path} is a zip file without {MANIFEST}; not a fer-edge bundle")
    if archive.getinfo(MANIFEST).file_size > MAX_MANIFEST_BYTES:
        raise BundleError(f"{path}: {MANIFEST} is larger than {MAX_MANIFEST_BYTES} bytes")
    manifest = _manifest_from_json(_read_all(archive, MANIFEST, path), path)
    if set(names) != {MANIFEST, *manifest.files}:
        unlisted = sorted(set(names) - {MANIFEST, *manifest.files})
        absent = sorted(set(manifest.files) - set(names))
        raise BundleDamaged(f"{path}: members not in the manifest: {unlisted}; missing: {absent}")
    wanted = {MODEL, *(entry.file for entry in manifest.engines if entry.file is not None)}
    if not wanted <= set(names):
        raise BundleDamaged(f"{path}: missing members: {sorted(wanted - set(names))}")
    return manifest


def _manifest_from_json(data: bytes, path: Path) -> Manifest:
    try:
        values = json.loads(data)
        version = values.pop("format")
        if version != FORMAT_VERSION:
            raise BundleVersionError(
                f"{path} has bundle format {version}; this version reads {FORMAT_VERSION}: "
                "update fer-edge, or build the bundle again"
            )
        engines = tuple(EngineEntry(**{**entry, "targets": tuple(entry["targets"])}) for entry in values.pop("engines"))
        lists = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
        tunings = tuple(Tuning(**tuning) for tuning in values.get("tunings", ()))
        manifest = Manifest(**{**values, **lists, "engines": engines, "tunings": tunings})
        _check_types(manifest)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BundleDamaged(f"{path}: {MANIFEST} is not understood: {error!r}") from error
    if manifest.precision not in get_args(Precision):
        raise BundleVersionError(
            f"{path} has precision {manifest.precision!r}; "
            f"this version knows {', '.join(get_args(Precision))}: update fer-edge"
        )
    if manifest.input != INPUT:
        raise BundleVersionError(f"{path} wants input {manifest.input}; this version gives {INPUT}: update fer-edge")
    return manifest


def _check_types(manifest: Manifest) -> None:
    """A manifest is anyone's JSON: every field has its type, or it is no manifest.

    Raises:
        TypeError: A field has another.
    """
    texts = [manifest.name, manifest.decision, manifest.precision, manifest.text_source]
    for names in (manifest.labels, manifest.words, manifest.templates, *(entry.targets for entry in manifest.engines)):
        if not isinstance(names, tuple):
            raise TypeError(f"{names!r} is no list")
        texts += names
    for entry in manifest.engines:
        texts += [entry.engine, entry.engine_version, entry.file or "", entry.platform or ""]
        _check_options(entry)
    for tuning in manifest.tunings:
        texts += [tuning.engine, tuning.machine, tuning.target]
        _check_counts(tuning)
    wrong = [text for text in texts if not isinstance(text, str)]
    if wrong:
        raise TypeError(f"{wrong[0]!r} is no text")
    if type(manifest.max_batch) is not int or not 1 <= manifest.max_batch <= MAX_BATCH:
        raise TypeError(f"max_batch is {manifest.max_batch!r}; expected 1 to {MAX_BATCH}")
    described = [manifest.operators, manifest.checkpoint, manifest.created_with, manifest.files]
    described += [entry.proof for entry in manifest.engines]
    if not all(isinstance(value, dict) for value in [*described, *manifest.files.values()]):
        raise TypeError("files, operators, checkpoint, created_with and proof are objects")


def _check_options(entry: EngineEntry) -> None:
    if not isinstance(entry.options, dict):
        raise TypeError(f"options of {entry.engine} are {entry.options!r}; expected an object")
    for name, value in entry.options.items():
        values = value if isinstance(value, list) else [value]
        if not all(value is None or isinstance(value, (bool, int, float, str)) for value in values):
            raise TypeError(f"option {name} of {entry.engine} is {value!r}; expected a plain value or a list of those")


def _check_counts(tuning: Tuning) -> None:
    for name, most in (("threads", MAX_THREADS), ("streams", MAX_THREADS), ("batch", MAX_BATCH)):
        count = getattr(tuning, name)
        if type(count) is not int or not 1 <= count <= most:
            raise TypeError(f"tuned {name} is {count!r}; expected 1 to {most}")
    if not all(type(value) in (int, float) for value in (tuning.p99_ms, tuning.images_per_second)):
        raise TypeError("p99_ms and images_per_second are numbers")


def _check_name(name: str, path: Path) -> None:
    parts = name.split("/")
    if not name or "\\" in name or ":" in name or "\0" in name or any(part in ("", ".", "..") for part in parts):
        raise BundleError(f"{path}: member name {name!r} is not acceptable: expected a plain relative path")


def _check_member(
    archive: zipfile.ZipFile, name: str, promised: Mapping[str, Any], path: Path, into: io.BytesIO | None = None
) -> None:
    """Compare a member with what the manifest promises, without holding more than one chunk unless asked to."""
    info = archive.getinfo(name)
    if info.file_size != promised.get("size"):
        raise BundleDamaged(f"{path}: {name} has {info.file_size} bytes; the manifest says {promised.get('size')}")
    digest = hashlib.sha256()
    try:
        with archive.open(info) as member:
            while chunk := member.read(CHUNK):
                digest.update(chunk)
                if into is not None:
                    into.write(chunk)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise BundleDamaged(f"{path}: {name} cannot be read: {error}") from error
    if digest.hexdigest() != promised.get("sha256"):
        raise BundleDamaged(f"{path}: {name} differs from the SHA-256 in the manifest; fetch or build it again")


def _read_all(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    try:
        return archive.read(name)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise BundleDamaged(f"{path}: {name} cannot be read: {error}") from error
