"""Facial expression recognition on the device: bundles and recognizers, without torch.

>>> from fer_edge import Recognizer
>>> with Recognizer.open() as recognizer:
...     print(recognizer.recognize(frame, box=(x, y, width, height)).label)

Names are imported when they are first used, so that the command can handle an interrupt from its first moment on.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING, Any

import fer_edge._few_threads  # noqa: F401  before anything imports NumPy

if TYPE_CHECKING:
    from fer_edge.boxes import box_from_corners
    from fer_edge.bundle import Bundle
    from fer_edge.engines.base import RunOptions
    from fer_edge.errors import (
        BundleError,
        ConfigError,
        EngineError,
        EngineUnavailableError,
        FacesError,
        FerEdgeError,
        ImageError,
        InputError,
        NonFiniteError,
    )
    from fer_edge.images import read_image
    from fer_edge.recognizer import Expression, Recognizer

__version__ = "0.1.0"

__all__ = [
    "Bundle",
    "BundleError",
    "ConfigError",
    "EngineError",
    "EngineUnavailableError",
    "Expression",
    "FacesError",
    "FerEdgeError",
    "ImageError",
    "InputError",
    "NonFiniteError",
    "Recognizer",
    "RunOptions",
    "__version__",
    "box_from_corners",
    "read_image",
]

_MODULES = {  # name -> where it is defined; all others of `__all__` are errors
    "Bundle": "bundle",
    "Expression": "recognizer",
    "Recognizer": "recognizer",
    "RunOptions": "engines.base",
    "box_from_corners": "boxes",
    "read_image": "images",
}
_SUBMODULES = {"boxes", "bundle", "engines", "errors", "images", "labels", "recognizer"}


def __getattr__(name: str) -> Any:
    """Import a name of `__all__`, or a module that is an attribute of the package."""
    if name in __all__:
        return getattr(_import_module(f"fer_edge.{_MODULES.get(name, 'errors')}"), name)
    if name in _SUBMODULES:
        return _import_module(f"fer_edge.{name}")
    raise AttributeError(f"module 'fer_edge' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
