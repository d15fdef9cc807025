"""Facial expression recognition on the device: bundles and recognizers, without torch.

>>> from fer_edge import Recognizer
>>> with Recognizer.open() as recognizer:
...     print(recognizer.recognize(frame, box=(x, y, width, height)).label)
"""

from fer_edge._few_threads import spare_threads

spare_threads()  # before anything imports NumPy

from fer_edge.bundle import Bundle  # noqa: E402
from fer_edge.errors import FerEdgeError  # noqa: E402
from fer_edge.recognizer import Expression, Recognizer  # noqa: E402

__version__ = "0.1.0"

__all__ = ["Bundle", "Expression", "FerEdgeError", "Recognizer", "__version__"]
