"""Facial expression recognition on the device: bundles and recognizers, without torch.

>>> from fer_edge import Recognizer
>>> with Recognizer.open() as recognizer:
...     print(recognizer.recognize(frame, box=(x, y, width, height)).label)
"""

import fer_edge._few_threads  # noqa: F401  before anything imports NumPy
from fer_edge.bundle import Bundle
from fer_edge.errors import FerEdgeError
from fer_edge.recognizer import Expression, Recognizer

__version__ = "0.1.0"

__all__ = ["Bundle", "Expression", "FerEdgeError", "Recognizer", "__version__"]
