"""Every exception of fer-edge.

    FerEdgeError
    ├── ConfigError            a model configuration, recipe or option that cannot be right
    ├── ImageError             an image that cannot be read or used
    ├── DataError              a data set that is missing, incomplete or laid out otherwise
    ├── CheckpointError        a checkpoint that cannot be read or does not fit
    ├── BundleError            a bundle that cannot be read
    │   ├── BundleDamagedError      bytes differ from what the manifest promises
    │   ├── BundleVersionError a bundle format this version does not know
    │   └── BundleMismatchError     made for another engine version, compute capability or platform
    ├── EngineError            an engine failed while building, loading or running
    │   ├── CopyError          a recognizer or runner is pickled or copied
    │   ├── EngineUnavailableError  the engine is not installed or has no device here
    │   └── UnsupportedTargetError  the engine cannot build this precision for this target
    ├── NonFiniteError         NaN or infinity in a loss, in weights, in activation ranges or in a model's outputs
    └── InputError             an argument of `infer` or `recognize` has the wrong type, shape or range
        └── FacesError         some boxes of `recognize_faces` are refused; holds the answers for the others

Messages say what was found, what was expected and what to do next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fer_edge.recognizer import Expression

MAX_SHOWN = 80  # characters of a wrong value in a message; a file's may be as long as the file


class FerEdgeError(Exception):
    """Base of every error that fer-edge raises on purpose."""


class ConfigError(FerEdgeError):
    """A model configuration, recipe or option that cannot be right."""


class ImageError(FerEdgeError):
    """An image that cannot be read or used."""


class DataError(FerEdgeError):
    """A data set that is missing, incomplete or laid out otherwise."""


class CheckpointError(FerEdgeError):
    """A checkpoint that cannot be read or does not fit."""


class BundleError(FerEdgeError):
    """A bundle that cannot be read."""


class BundleDamagedError(BundleError):
    """Bytes differ from what the manifest promises."""


class BundleVersionError(BundleError):
    """A bundle format that this version does not know."""


class BundleMismatchError(BundleError):
    """An engine file made for another engine version, compute capability or platform."""


class EngineError(FerEdgeError):
    """An engine failed while building, loading or running."""


class CopyError(EngineError, TypeError):
    """A recognizer or runner is pickled or copied; a TypeError too, as of everything that cannot be pickled."""


class EngineUnavailableError(EngineError):
    """The engine is not installed, or has no device here."""


class UnsupportedTargetError(EngineError):
    """The engine cannot build this precision for this target."""


class NonFiniteError(FerEdgeError):
    """NaN or infinity in a loss, in weights, in activation ranges or in a model's outputs."""


class InputError(FerEdgeError):
    """An argument of `infer` or `recognize` has the wrong type, shape or range."""


class FacesError(InputError):
    """Some boxes of `recognize_faces` are refused.

    Attributes:
        results: Expression of each box, in order; None for those refused.
        errors: Why, by the index of the box.
    """

    def __init__(self, message: str, results: Sequence[Expression | None], errors: Mapping[int, InputError]) -> None:
        super().__init__(message)
        self.results = list(results)
        self.errors = dict(errors)

    def __reduce__(self) -> tuple[type[FacesError], tuple[Any, ...]]:
        return type(self), (str(self), self.results, self.errors)


def shown(value: object) -> str:
    """A wrong value as a message shows it: on one line, and short."""
    try:
        text = " ".join(repr(value).split())
    except (ValueError, RecursionError):  # integers of many thousand digits, endless nesting
        return f"of type {type(value).__name__}"
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
