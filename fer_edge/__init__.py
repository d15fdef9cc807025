"""Facial expression recognition on the device: bundles and recognizers, without torch.

>>> from fer_edge import Recognizer
>>> with Recognizer.open() as recognizer:
...     print(recognizer.recognize(frame, box=(x, y, width, height)).label)

Names are imported when they are first used, so that the command can handle an interrupt from its first moment on.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fer_edge.bundle import Bundle
    from fer_edge.errors import FerEdgeError
    from fer_edge.recognizer import Expression, Recognizer

__version__ = "0.1.0"

__all__ = ["Bundle", "Expression", "FerEdgeError", "Recognizer", "__version__"]

_MODULES = {  # name -> where it is defined
    "Bundle": "bundle",
    "FerEdgeError": "errors",
    "Expression": "recognizer",
    "Recognizer": "recognizer",
}


def __getattr__(name: str) -> Any:
    """Import a name of `__all__`, or a module that one of them brings with it."""
    if name in _MODULES:
        return getattr(_import_module(f"fer_edge.{_MODULES[name]}"), name)
    if name in {*_MODULES.values(), "engines", "images", "labels"}:
        return _import_module(f"fer_edge.{name}")
    raise AttributeError(f"module 'fer_edge' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
