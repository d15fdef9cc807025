"""Every exception of fer-edge.

    FerEdgeError
    ├── ConfigError            a model configuration, recipe or option that cannot be right
    ├── ImageError             an image that cannot be read or used
    ├── DataError              a data set that is missing, incomplete or laid out otherwise
    ├── CheckpointError        a checkpoint that cannot be read or does not fit
    ├── BundleError            a bundle that cannot be read
    │   ├── BundleDamaged      bytes differ from what the manifest promises
    │   ├── BundleVersionError a bundle format this version does not know
    │   └── BundleMismatch     made for another engine version, compute capability or platform
    ├── EngineError            an engine failed while building, loading or running
    │   ├── EngineUnavailable  the engine is not installed or has no device here
    │   └── UnsupportedTarget  the engine cannot build this precision for this target
    ├── NonFiniteError         NaN or infinity in a loss, in weights, in activation ranges or in a model's outputs
    └── InputError             an argument of `infer` or `recognize` has the wrong type, shape or range

Messages say what was found, what was expected and what to do next.
"""

from __future__ import annotations

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


class BundleDamaged(BundleError):
    """Bytes differ from what the manifest promises."""


class BundleVersionError(BundleError):
    """A bundle format that this version does not know."""


class BundleMismatch(BundleError):
    """An engine file made for another engine version, compute capability or platform."""


class EngineError(FerEdgeError):
    """An engine failed while building, loading or running."""


class EngineUnavailable(EngineError):
    """The engine is not installed, or has no device here."""


class UnsupportedTarget(EngineError):
    """The engine cannot build this precision for this target."""


class NonFiniteError(FerEdgeError):
    """NaN or infinity in a loss, in weights, in activation ranges or in a model's outputs."""


class InputError(FerEdgeError):
    """An argument of `infer` or `recognize` has the wrong type, shape or range."""


def shown(value: object) -> str:
    """A wrong value as a message shows it: on one line, and short."""
    try:
        text = " ".join(repr(value).split())
    except (ValueError, RecursionError):  # integers of many thousand digits, endless nesting
        return f"of type {type(value).__name__}"
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
