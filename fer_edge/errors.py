"""Exceptions of fer-edge. Messages state the cause, the expected value and the next step, in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fer_edge.expression import Expression

MAX_SHOWN = 80  # characters of a wrong value in a message; a value from a file may be as long as the file


class FerEdgeError(Exception):
    """Base of all exceptions of fer-edge."""


class ConfigError(FerEdgeError):
    """Invalid model configuration, recipe, argument or option."""


class ImageError(FerEdgeError):
    """Image that cannot be read or used."""


class VideoError(FerEdgeError):
    """Video source that is missing, cannot be read or has no video."""


class DataError(FerEdgeError):
    """Data set that is missing, incomplete or has another layout."""


class CheckpointError(FerEdgeError):
    """Checkpoint that cannot be read or does not fit."""


class BundleError(FerEdgeError):
    """Bundle that cannot be read."""


class BundleDamagedError(BundleError):
    """Content that contradicts the manifest."""


class BundleVersionError(BundleError):
    """Bundle format that this version does not support."""


class BundleMismatchError(BundleError):
    """Engine file for another engine version, GPU architecture or platform."""


class SignatureError(BundleError):
    """Signature of a bundle that is missing, invalid, by another key, or of another file."""


class EngineError(FerEdgeError):
    """Failure of an engine while building, loading or running."""


class CopyError(EngineError, TypeError):
    """Pickling or copying of a recognizer or runner; a TypeError, as the pickle module raises it elsewhere."""


class EngineUnavailableError(EngineError):
    """Package that is not installed, or missing device."""


class UnsupportedTargetError(EngineError):
    """Precision or target that the engine cannot build."""


class NonFiniteError(FerEdgeError):
    """NaN or infinity in a loss, in weights, in activation ranges or in outputs."""


class InputError(FerEdgeError):
    """Argument of the Python API with a wrong type, shape or range."""


class FacesError(InputError):
    """Face boxes refused by `recognize_faces`.

    Attributes:
        results: Expression of each box, in order; None for refused boxes.
        errors: Error of each refused box, by its index.
    """

    def __init__(self, message: str, results: Sequence[Expression | None], errors: Mapping[int, InputError]) -> None:
        super().__init__(message)
        self.results = list(results)
        self.errors = dict(errors)

    def __reduce__(self) -> tuple[type[FacesError], tuple[Any, ...]]:
        return type(self), (str(self), self.results, self.errors)


def shown(value: object) -> str:
    """Format a wrong value for a message: on one line, at most `MAX_SHOWN` characters."""
    try:
        text = " ".join(repr(value).split())
    except (ValueError, RecursionError):  # integers of many thousand digits, deeply nested containers
        return f"of type {type(value).__name__}"
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
