"""Bundles: one `.fer` file with the typed ONNX, engine files and a manifest that vouches for every byte.

A bundle is untrusted until `Bundle.open` has checked it: member names, sizes and SHA-256 of all members,
before any native code sees a byte. The manifest is not signed: hashes tell damage, not who made the file.
"""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from fer_edge._archive import MODEL, check_member, check_name, open_archive, read_manifest
from fer_edge._bundle_path import checked_path
from fer_edge._files import atomic_path, sha256
from fer_edge._text import did_you_mean, one_line
from fer_edge.engines.base import Artifact, Runner, RunOptions, check_prediction
from fer_edge.engines.lifetime import OPENING
from fer_edge.engines.registry import ENGINE_MODULES, get_engine, machine_of, platform_tag
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

CALIBRATION = "calibration.json"  # the activation ranges, where the precision came from some
LOG = logging.getLogger("fer_edge")
LOCAL_OPTIONS = ("timing_cache",)  # build options that name a place on the machine that builds

OTHERS = "; the bundle's other engines: "  # at the end of an error about an engine that was asked for by name
Used = TypeVar("Used")


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
            BundleDamagedError: A member's bytes are not those the manifest promises.
            BundleVersionError: Its format is not known to this version.
        """
        path = checked_path(path)
        with open_archive(path) as archive:
            manifest = read_manifest(archive, path)
            for name, promised in manifest.files.items():
                check_member(archive, name, promised, path)
        return cls(path, manifest)

    def read(self, member: str) -> bytes:
        """A member's bytes, checked again as they are read.

        Raises:
            BundleError: There is no such member, or the file cannot be read.
            BundleDamagedError: The file changed since it was opened.
        """
        if member not in self.manifest.files:
            raise BundleError(f"{self.path} has no member {member}; it has {', '.join(self.manifest.files)}")
        with open_archive(self.path) as archive:
            chunks: list[bytes] = []
            check_member(archive, member, self.manifest.files[member], self.path, chunks)
        return b"".join(chunks)

    def entry(self, engine: str | None = None) -> EngineEntry:
        """The entry of an engine, or of the first one.

        Raises:
            BundleError: The bundle was not built for that engine.
        """
        for entry in self.manifest.engines:
            if engine in (None, entry.engine):
                return entry
        present = [entry.engine for entry in self.manifest.engines]
        names = ", ".join(present) or "none"
        if engine is not None and engine not in ENGINE_MODULES:
            hint = did_you_mean(engine, present) if isinstance(engine, str) else ""
            raise BundleError(f"{self.path} has no engine {shown(engine)}; it has: {names}{hint}")
        raise BundleError(
            f"{self.path} has no engine {engine or ''}; it has: {names}. "
            f"Add one with: fer-edge add-engine {self.path} --engine {engine or 'ENGINE'}"
        )

    def first_that_runs(self, engine: str | None, use: Callable[[EngineEntry], Used]) -> Used:
        """Use an engine of the bundle: the one that is named, or the first that runs on this machine.

        Engines that are passed over are logged as a warning, with the reason.

        Args:
            engine: Name of the engine; None: the first for which `use` raises neither EngineUnavailableError nor
                BundleMismatchError.
            use: Whatever is done with the engine's entry.

        Returns:
            The result of `use`.

        Raises:
            BundleError: The bundle was not built for that engine, or has none.
            BundleMismatchError: Its only engine was made for another engine version, compute capability or platform.
            EngineUnavailableError: None of its engines runs here; says why of each.
        """
        if engine is not None or not self.manifest.engines:
            return self._use_named(self.entry(engine), use)
        refused: dict[str, FerEdgeError] = {}
        for entry in self.manifest.engines:
            try:
                if entry.engine not in ENGINE_MODULES:
                    raise EngineUnavailableError("this version of fer-edge does not know it; update fer-edge")
                used = use(entry)
            except (EngineUnavailableError, BundleMismatchError) as error:
                refused[entry.engine] = error
                continue
            if refused:
                LOG.warning("%s runs on %s; not on %s", self.path, entry.engine, self._reasons(refused))
            return used
        if len(refused) == 1:
            raise next(iter(refused.values()))
        raise EngineUnavailableError(f"{self.path} has no engine that runs here; {self._reasons(refused)}")

    def _use_named(self, entry: EngineEntry, use: Callable[[EngineEntry], Used]) -> Used:
        others = ", ".join(other.engine for other in self.manifest.engines if other.engine != entry.engine)
        try:
            return use(entry)
        except (EngineUnavailableError, BundleMismatchError) as error:
            if not others or OTHERS in str(error):
                raise
            raise type(error)(f"{error}{OTHERS}{others}") from error

    def _reasons(self, refused: Mapping[str, FerEdgeError]) -> str:
        texts = {name: str(why).removeprefix(f"{self.path}: ").split(OTHERS)[0] for name, why in refused.items()}
        return "; ".join(f"{name}: {one_line(text)}" for name, text in texts.items())

    def runnable_entry(self, engine: str | None = None, device: int = 0) -> EngineEntry:
        """The entry of an engine, or of the first one that runs on this machine; nothing is loaded.

        Args:
            engine: As for `first_that_runs`; one that is named is not checked, nor is an only one: loading it will
                say why it does not run.
            device: The GPU it is to run on, for engines that have one.

        Raises:
            BundleError: The bundle was not built for that engine.
            EngineUnavailableError: None of its engines runs here; says why of each.
        """

        def checked(entry: EngineEntry) -> EngineEntry:
            if engine is None and len(self.manifest.engines) > 1:
                with OPENING:
                    self._check_fits(entry, device)
                    get_engine(entry.engine).check_runnable()
                    get_engine(entry.engine).local_target(device)
            return entry

        return self.first_that_runs(engine, checked)

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
        except EngineUnavailableError:
            return None  # loading it will say why there is no such GPU
        return next((tuning for tuning in found if tuning.machine == machine), None)

    def runner(self, engine: str | None = None, options: RunOptions | None = None) -> Runner:
        """Load an engine of the bundle.

        Args:
            engine: Its name; the first one of the bundle that runs on this machine if not given.
            options: How to run.

        Raises:
            BundleError: The bundle was not built for that engine.
            BundleMismatchError: Its engine file was made for another engine version, compute capability or platform.
            EngineUnavailableError: The engine is not installed or has no device here; of several, none runs.
            EngineError: The engine refused the file.
        """
        return self.first_that_runs(engine, lambda entry: self._load(entry, options or RunOptions()))

    def _load(self, entry: EngineEntry, options: RunOptions) -> Runner:
        with OPENING:
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
            NonFiniteError: The model's outputs are NaN or infinite.
        """
        with OPENING:
            return self._warm(self.runner(engine, options), largest)

    def _warm(self, runner: Runner, largest: int) -> Runner:
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
        """What an engine of the bundle is loaded from.

        Raises:
            BundleDamagedError: The file changed since it was opened.
        """
        file = None if entry.file is None else self.read(entry.file)
        return Artifact(self.read(MODEL), file, self.manifest.max_batch)

    def _check_fits(self, entry: EngineEntry, device: int) -> None:
        """An engine file is good for one platform, engine version and set of compute capabilities."""
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
        check_name(name, path)
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
    except (TypeError, ValueError, BundleDamagedError, BundleVersionError) as error:
        raise BundleError(f"not written, since it could not be opened again: {error}") from error
    return stored


def recorded_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Build options as a bundle keeps them: only those that say the same on every machine, as JSON gives them back."""
    kept = {name: value for name, value in options.items() if name not in LOCAL_OPTIONS}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in kept.items()}
