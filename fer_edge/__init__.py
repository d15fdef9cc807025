"""Facial expression recognition on the device: bundles and recognizers, without torch.

>>> from fer_edge import Recognizer
>>> with Recognizer.open() as recognizer:
...     print(recognizer.recognize(frame, box=(x, y, width, height)).label)
"""

import fer_edge._few_threads  # noqa: F401  before anything imports NumPy
from fer_edge.boxes import box_from_corners
from fer_edge.bundle import Bundle
from fer_edge.engines.base import RunOptions
from fer_edge.errors import (
    BundleError,
    ConfigError,
    EngineError,
    EngineUnavailable,
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
    "EngineUnavailable",
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
