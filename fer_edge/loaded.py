"""Model of a bundle in an engine, with all that belongs to it, so that a recognizer replaces everything at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

from fer_edge._archive import MODEL
from fer_edge.bundle import Bundle, EngineEntry
from fer_edge.engines.base import Images, Prediction, Runner, RunOptions
from fer_edge.errors import BundleError, ConfigError, shown
from fer_edge.expression import Expression
from fer_edge.quality import FaceQuality
from fer_edge.shipped import path_or_shipped, shipped_bundle, shipped_names
from fer_edge.signing import PublicKey

Made = TypeVar("Made")
BundlePath = str | os.PathLike[str] | Bundle | None


class Source(NamedTuple):
    """Bundle that a model is loaded from, and how.

    Attributes:
        bundle: Open bundle.
        engine: Name of one of its engines; None: the first that runs.
        options: Run options.
        faces: Largest number of faces to prepare for.
    """

    bundle: Bundle
    engine: str | None = None
    options: RunOptions = RunOptions()
    faces: int = 1

    def load(self, make: Callable[..., Made]) -> Made:
        """Load the model, run it once, and return an object for it.

        Args:
            make: Constructor with the arguments of `LoadedModel`.

        Raises:
            FerEdgeError: As for `Recognizer.open`.
        """
        manifest = self.bundle.manifest
        if type(self.faces) is not int or not 1 <= self.faces <= manifest.max_batch:
            raise ConfigError(
                f"faces is {shown(self.faces)}; expected a whole number from 1 to {manifest.max_batch}, the bundle's "
                "largest batch"
            )

        def load_engine(entry: EngineEntry) -> Made:
            runner = self.bundle.warm_runner(entry.engine, self.options, largest=self.faces)
            source = self._replace(bundle=replace(self.bundle, contents=None))  # not to hold the bytes in memory
            return make(runner, manifest.labels, engine=entry.engine, source=source)

        return self.bundle.use_first_runnable(self.engine, load_engine)


class LoadedModel:
    """Model that a recognizer uses, or will use after `Recognizer.swap`.

    Args:
        runner: Runner of the engine.
        labels: Labels of the model.
        engine: Name of the engine.
        source: Bundle that it was loaded from; None: a runner of the caller.

    Attributes:
        model_hash: SHA-256 of the bundle's `model.onnx`; empty without a bundle.
        images: Input buffer, in the memory that the engine reads fastest.
    """

    def __init__(
        self, runner: Runner, labels: Sequence[str], *, engine: str = "", source: Source | None = None
    ) -> None:
        self.runner, self.labels, self.engine, self.source = runner, tuple(labels), engine, source
        self.name = "" if source is None else source.bundle.path.name
        self.model_hash = "" if source is None else str(source.bundle.manifest.files[MODEL]["sha256"])
        self.images: Images = runner.input_buffer()

    def expressions(
        self, prediction: Prediction, qualities: Sequence[FaceQuality | None], model_hash: str
    ) -> list[Expression]:
        """Convert a prediction to expressions with the labels of this model."""
        expressions = []
        for row, quality in zip(prediction.probabilities.tolist(), qualities, strict=True):
            score = max(row)
            expressions.append(
                Expression(
                    self.labels[row.index(score)],
                    score,
                    dict(zip(self.labels, row, strict=True)),
                    "" if quality is None else quality.warning,
                    quality,
                    model_hash=model_hash,
                )
            )
        return expressions

    def settle(self) -> None:
        """Release the engine at the end of a call during which `close` was called."""
        self.runner.settle()
        self._drop_images()

    def close(self) -> None:
        """Release the engine after the call of another thread; may be called several times."""
        self.runner.close()
        self._drop_images()

    def _drop_images(self) -> None:
        """Drop the input buffer after the engine is released, since its memory belongs to the engine."""
        if self.runner.is_released and len(self.images):
            self.images = self.images[:0].copy()


def open_bundle(path: BundlePath, signed_by: PublicKey | None) -> Bundle:
    """Open the bundle of an argument; an open one is returned as it is.

    Args:
        path: Path of the bundle, an open bundle, or "edge" or None for the shipped one.
        signed_by: Public key that must have signed the bundle; None: the origin is not checked.

    Raises:
        BundleError: Bundle that cannot be read, or another key.
        ConfigError: `signed_by` beside an open bundle, or a key that cannot be used.
    """
    if isinstance(path, Bundle):
        if signed_by is not None:
            raise ConfigError("signed_by is set beside an open bundle; pass it to Bundle.open")
        return path
    if path is None:
        path = shipped_bundle()
    elif isinstance(path, str | os.PathLike) and os.fspath(path) in shipped_names("bundle"):
        path = path_or_shipped("bundle", path)
    return Bundle.open(path, signed_by=signed_by)


def open_update(current: LoadedModel, path: BundlePath, signed_by: PublicKey | None, other_labels: bool) -> Source:
    """Open the bundle that replaces that of a model, and check that it may.

    Args:
        current: Model that is replaced.
        path: Path of the bundle, or an open bundle; None: the path of the current one.
        signed_by: Public key that must have signed the bundle; None: that of the current one.
        other_labels: Whether other labels are accepted.

    Raises:
        BundleError: Bundle that cannot be read, another key, or other labels.
        ConfigError: No path, or an open bundle whose signature was not verified although that of the current was.
    """
    source = current.source
    if source is None and path is None:
        raise ConfigError("the recognizer was not opened from a bundle; pass the path of one to reload")
    key = None if source is None else source.bundle.signed_by
    if isinstance(path, Bundle):
        if key is not None and path.signed_by is None:
            raise ConfigError(
                f"the signature of {path.path} was not verified, but that of the current bundle was; pass its path, or "
                "open it with signed_by"
            )
        bundle = open_bundle(path, signed_by)
    else:
        bundle = open_bundle(path or (source and source.bundle.path), signed_by or key)
    if bundle.manifest.labels != current.labels and not other_labels:
        raise BundleError(
            f"{bundle.path} has the labels {', '.join(bundle.manifest.labels)}; expected {', '.join(current.labels)}, "
            "those of the current model: pass other_labels=True if the app accepts others"
        )
    return Source(bundle) if source is None else source._replace(bundle=bundle)
