"""Bundles: `.fer` files with the typed ONNX, engine files and a manifest that lists every byte.

A bundle is untrusted until `Bundle.open` has checked names, sizes and SHA-256 of all members; native code reads them
only afterwards. The hashes detect damage; a signature beside the bundle proves its origin, see `fer_edge.signing`.
"""

from __future__ import annotations

import logging
import os
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from fer_edge._archive import MODEL, check_member, check_name, check_path, open_archive, read_bundle, read_content
from fer_edge._files import as_path, atomic_path, sha256
from fer_edge._text import did_you_mean, one_line
from fer_edge.engines.base import Artifact, Runner, RunOptions
from fer_edge.engines.lifetime import OPENING
from fer_edge.engines.outputs import check_prediction
from fer_edge.engines.registry import get_engine, is_engine, platform_tag
from fer_edge.errors import (
    BundleDamagedError,
    BundleError,
    BundleMismatchError,
    BundleVersionError,
    EngineUnavailableError,
    FerEdgeError,
    NonFiniteError,
    shown,
)
from fer_edge.manifest import MANIFEST, MAX_BATCH, EngineEntry, Manifest, parse_manifest
from fer_edge.signing import PublicKey, read_signed

__all__ = [
    "CALIBRATION",
    "MANIFEST",
    "MAX_BATCH",
    "MODEL",
    "Bundle",
    "EngineEntry",
    "Manifest",
    "write_bundle",
]

CALIBRATION = "calibration.json"  # activation ranges; missing in bundles built without them
LOG = logging.getLogger("fer_edge")

OTHER_ENGINES = "; the bundle's other engines: "  # end of the error of an engine that the caller named
Used = TypeVar("Used")


@dataclass(frozen=True)
class Bundle:
    """Checked bundle.

    Attributes:
        path: Path of the file.
        manifest: Its manifest.
        contents: Verified content by member; None if members are read from the file.
        signed_by: Public key by which the signature was verified; None: it was not.
        sha256: SHA-256 of the file, whose content is the one held in memory; None if members are read from the file.
    """

    path: Path
    manifest: Manifest
    contents: Mapping[str, bytes] | None = field(default=None, repr=False, compare=False)
    signed_by: PublicKey | None = field(default=None, repr=False, compare=False)
    sha256: str | None = field(default=None, repr=False, compare=False)

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], *, in_memory: bool = False, signed_by: PublicKey | None = None
    ) -> Bundle:
        """Check all members of a bundle and read its manifest.

        Args:
            path: Path of the bundle (`.fer`).
            in_memory: Whether to hold the checked members in memory, so that engines can be loaded several times
                without reading and checking the file again. False by default.
            signed_by: Public key (ECDSA P-256) that must have signed the bundle: PEM file, or its content as bytes. The
                signature `MODEL.fer.sig` is verified before anything of the bundle is parsed, and the bundle is then
                held in memory. None: the origin is not checked.

        Raises:
            SignatureError: Signature that is missing, invalid, by another key, or of another file.
            ConfigError: Key that cannot be used.
            EngineUnavailableError: `signed_by` without the package `cryptography`.
            BundleError: File that cannot be read or is not a bundle, or member with an unsafe name or compression.
            BundleDamagedError: Member that differs from the manifest.
            BundleVersionError: Format that this version does not support.
        """
        file = check_path(path)
        if signed_by is not None:
            content = read_signed(file, signed_by)
        elif in_memory:
            content = read_content(file)
        else:
            return cls(file, read_bundle(file)[0])
        manifest, members = read_bundle(file, content, in_memory=True)
        return cls(file, manifest, MappingProxyType(members), signed_by, sha256(content))

    def read(self, member: str) -> bytes:
        """Return the content of a member; from the file, it is checked again while it is read.

        Args:
            member: Name of the member: "model.onnx".

        Raises:
            BundleError: Unknown member, or file that cannot be read.
            BundleDamagedError: The file changed after the bundle was opened.
        """
        if member not in self.manifest.files:
            raise BundleError(f"{self.path} has no member {member}; it has {', '.join(self.manifest.files)}")
        if self.contents is not None:
            return self.contents[member]
        with open_archive(self.path) as archive:
            chunks: list[bytes] = []
            check_member(archive, member, self.manifest.files[member], self.path, chunks)
        return b"".join(chunks)

    def entry(self, engine: str | None = None) -> EngineEntry:
        """Return the manifest's entry of an engine.

        Args:
            engine: Name of the engine; None: the bundle's first engine.

        Raises:
            BundleError: Engine that the bundle does not contain.
        """
        for entry in self.manifest.engines:
            if engine in (None, entry.engine):
                return entry
        present = [entry.engine for entry in self.manifest.engines]
        names = ", ".join(present) or "none"
        if engine is not None and not is_engine(engine):
            hint = did_you_mean(engine, present) if isinstance(engine, str) else ""
            raise BundleError(f"{self.path} has no engine {shown(engine)}; it has: {names}{hint}")
        raise BundleError(
            f"{self.path} has no engine {engine or ''}; it has: {names}. "
            f"Add one with: fer-edge bundle add-engine {self.path} --engine {engine or 'ENGINE'}"
        )

    def use_first_runnable(self, engine: str | None, use: Callable[[EngineEntry], Used]) -> Used:
        """Call a function with the entry of the first engine that runs on this machine.

        A log warning lists the engines that were skipped, with the reasons.

        Args:
            engine: Name of an engine, which alone is tried; None: all engines in the bundle's order, until `use` raises
                neither EngineUnavailableError nor BundleMismatchError.
            use: Function of the engine's entry.

        Returns:
            The result of `use`.

        Raises:
            BundleError: Engine that the bundle does not contain, or bundle without engines.
            BundleMismatchError: The only engine is for another engine version, GPU architecture or platform.
            EngineUnavailableError: No engine runs here; the message contains each reason.
        """
        if engine is not None or not self.manifest.engines:
            return self._use_named(self.entry(engine), use)
        refused: dict[str, FerEdgeError] = {}
        for entry in self.manifest.engines:
            try:
                if not is_engine(entry.engine):
                    raise EngineUnavailableError("unknown to this version of fer-edge; update fer-edge")
                result = use(entry)
            except (EngineUnavailableError, BundleMismatchError) as error:
                refused[entry.engine] = error
                continue
            if refused:
                LOG.warning("%s runs on %s; not on %s", self.path, entry.engine, self._reasons(refused))
            return result
        if len(refused) == 1:
            raise next(iter(refused.values()))
        raise EngineUnavailableError(f"{self.path} has no engine that runs here; {self._reasons(refused)}")

    def _use_named(self, entry: EngineEntry, use: Callable[[EngineEntry], Used]) -> Used:
        others = ", ".join(other.engine for other in self.manifest.engines if other.engine != entry.engine)
        try:
            return use(entry)
        except (EngineUnavailableError, BundleMismatchError) as error:
            if not others or OTHER_ENGINES in str(error):
                raise
            raise type(error)(f"{error}{OTHER_ENGINES}{others}") from error

    def _reasons(self, refused: Mapping[str, FerEdgeError]) -> str:
        texts = {
            name: str(error).removeprefix(f"{self.path}: ").split(OTHER_ENGINES)[0] for name, error in refused.items()
        }
        return "; ".join(f"{name}: {one_line(text)}" for name, text in texts.items())

    def runnable_entry(self, engine: str | None = None, device: int = 0) -> EngineEntry:
        """Return the entry of the first engine that runs on this machine, without loading it.

        Args:
            engine: Name of an engine; None: the first that runs. A named engine is not checked, nor is the only engine
                of a bundle, since the error of loading it is more precise.
            device: Index of the GPU, 0 by default; for engines on a GPU.

        Raises:
            BundleError: Engine that the bundle does not contain.
            EngineUnavailableError: No engine runs here; the message contains each reason.
        """

        def check_entry(entry: EngineEntry) -> EngineEntry:
            if engine is None and len(self.manifest.engines) > 1:
                with OPENING:
                    self.check_compatible(entry, device)
                    get_engine(entry.engine).check_runnable()
                    get_engine(entry.engine).local_target(device)
            return entry

        return self.use_first_runnable(engine, check_entry)

    def runner(self, engine: str | None = None, options: RunOptions | None = None) -> Runner:
        """Load an engine of the bundle.

        Args:
            engine: Name of the engine; None: the first engine that runs on this machine.
            options: Run options; None: the defaults.

        Raises:
            BundleError: Engine that the bundle does not contain.
            BundleMismatchError: Engine file for another engine version, GPU architecture or platform.
            EngineUnavailableError: Engine that is not installed or has no device; of several engines, none runs.
            EngineError: Engine that cannot load the file.
        """
        return self.use_first_runnable(engine, lambda entry: self._load(entry, options or RunOptions()))

    def _load(self, entry: EngineEntry, options: RunOptions) -> Runner:
        with OPENING:
            self.check_compatible(entry, options.device)
            return get_engine(entry.engine).load(self.artifact(entry), options)

    def warm_runner(self, engine: str | None = None, options: RunOptions | None = None, largest: int = 1) -> Runner:
        """Load an engine and run it once, which also shows the model's real number of labels.

        Args:
            engine: Name of the engine, as for `runner`.
            options: Run options, as for `runner`.
            largest: Largest batch to prepare: all batches up to this size are compiled and run once.

        Raises:
            BundleError: Another number of labels in the model than in the bundle; or as for `runner`.
            EngineError: Failure of the engine; or as for `runner`.
            NonFiniteError: NaN or infinity in the model's outputs.
        """
        with OPENING:
            return self._warm_up(self.runner(engine, options), largest)

    def _warm_up(self, runner: Runner, largest: int) -> Runner:
        labels = len(self.manifest.labels)
        try:
            images = runner.input_buffer()
            prediction = runner.infer(images[:1], checked=False)
            shape = prediction.probabilities.shape
            if shape != (1, labels):
                raise BundleError(
                    f"{self.path} has {labels} labels, but its model gives probabilities of shape {shape} for one "
                    f"image; expected (1, {labels}): build the bundle again"
                )
            check_prediction(prediction, 1, runner.title)
            for batch in range(2, largest + 1):
                runner.infer(images[:batch])
        except NonFiniteError as error:
            runner.close()
            raise NonFiniteError(f"{self.path}: {error}") from error
        except BaseException:
            runner.close()
            raise
        return runner

    def __repr__(self) -> str:
        manifest = self.manifest
        engines = ", ".join(entry.engine for entry in manifest.engines) or "no engine"
        return f"<Bundle {self.path}: {len(manifest.labels)} labels, {manifest.precision}, {engines}>"

    def artifact(self, entry: EngineEntry) -> Artifact:
        """Return the verified content that an engine is loaded from.

        Raises:
            BundleDamagedError: The file changed after the bundle was opened.
        """
        file = None if entry.file is None else self.read(entry.file)
        return Artifact(self.read(MODEL), file, self.manifest.max_batch)

    def check_compatible(self, entry: EngineEntry, device: int = 0) -> None:
        """Check platform, engine version and target of an engine file against this machine.

        Args:
            entry: Entry of the engine.
            device: Index of the GPU, 0 by default; for engines on a GPU.

        Raises:
            BundleMismatchError: Engine file for another engine version, GPU architecture or platform.
            EngineUnavailableError: Engine that is not installed, or missing device.
        """
        if entry.file is None:
            return
        rebuild = "rebuild it with: fer-edge build-engine"
        if entry.platform is not None and entry.platform != platform_tag():
            raise BundleMismatchError(
                f"{self.path}: the {entry.engine} engine was built for {entry.platform}; "
                f"this machine is {platform_tag()}; {rebuild}"
            )
        engine = get_engine(entry.engine)
        if not engine.runs_version(entry.engine_version):
            raise BundleMismatchError(
                f"{self.path}: built with {entry.engine} {entry.engine_version}; "
                f"installed is {engine.version()}; {rebuild}, or install that version"
            )
        target = engine.local_target(device)
        if not engine.runs_target(entry.targets, target):
            raise BundleMismatchError(
                f"{self.path}: the {entry.engine} engine was built for {', '.join(entry.targets)}; "
                f"this device is {target}; {rebuild} --gpu-arch {target}"
            )


def write_bundle(
    path: str | os.PathLike[str], manifest: Manifest, members: Mapping[str, bytes]
) -> tuple[Manifest, int]:
    """Write a bundle, completely or not at all. Equal contents give equal bytes.

    Args:
        path: File to write (`.fer`).
        manifest: Its manifest; `files` is filled in here.
        members: Content by member name, including `model.onnx`.

    Returns:
        The manifest as `Bundle.open` reads it, and the size of the bundle in bytes.

    Raises:
        BundleError: Missing `model.onnx`, unsafe member name, or manifest that `Bundle.open` would refuse.
        FerEdgeError: File that cannot be written.
    """
    file = as_path(path, "the bundle to write")
    if MODEL not in members:
        raise BundleError(f"a bundle needs {MODEL}; got {', '.join(members) or 'nothing'}")
    for name in members:
        check_name(name, file)
    files = {name: {"sha256": sha256(data), "size": len(data)} for name, data in sorted(members.items())}
    content, written = _encode(replace(manifest, files=files), file)
    with atomic_path(file) as temporary:
        with zipfile.ZipFile(temporary, "w") as archive:
            for name, data in [(MANIFEST, content), *sorted(members.items())]:
                info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
                info.external_attr = 0o644 << 16
                archive.writestr(info, data)
        size = temporary.stat().st_size  # here, since a failure after this block would leave a changed output
    return written, size


def _encode(manifest: Manifest, path: Path) -> tuple[bytes, Manifest]:
    """Return the manifest as JSON, and as `parse_manifest` reads it."""
    try:
        content = manifest.to_json().encode()
        return content, parse_manifest(content, path)
    except (TypeError, ValueError, BundleDamagedError, BundleVersionError) as error:
        raise BundleError(f"not written, since it could not be opened again: {error}") from error
