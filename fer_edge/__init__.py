"""Facial expression recognition on edge devices: recognizers for apps, and the steps from a checkpoint to a bundle.

>>> from fer_edge import Recognizer
>>> with Recognizer.open() as recognizer:
...     print(recognizer.recognize(frame, box=(x, y, width, height)).label)

`build`, `add_engine`, `calibrate`, `parity`, `evaluate`, `bench` and `compare` do the work of the commands of the same
names. Names are imported on first use, so that `import fer_edge` imports neither NumPy nor PyTorch.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING, Any

import fer_edge._few_threads  # noqa: F401  before the first import of NumPy

if TYPE_CHECKING:
    from fer_edge.analysis.analyse import analyse
    from fer_edge.analysis.predict import predict
    from fer_edge.benchmark.compare import compare
    from fer_edge.benchmark.run import bench
    from fer_edge.boxes import Box, box_from_corners
    from fer_edge.bundle import Bundle
    from fer_edge.engines.base import Prediction, RunOptions
    from fer_edge.engines.threads import limit_threads
    from fer_edge.errors import (
        BundleDamagedError,
        BundleError,
        BundleMismatchError,
        BundleVersionError,
        CheckpointError,
        ConfigError,
        CopyError,
        DataError,
        EngineError,
        EngineUnavailableError,
        FacesError,
        FerEdgeError,
        ImageError,
        InputError,
        NonFiniteError,
        SignatureError,
        UnsupportedTargetError,
        VideoError,
    )
    from fer_edge.evaluation.evaluate import evaluate
    from fer_edge.evaluation.parity import parity
    from fer_edge.export.add_engine import add_engine
    from fer_edge.export.build import build
    from fer_edge.export.calibrate import calibrate
    from fer_edge.expression import Expression
    from fer_edge.faces.detector import FaceDetector
    from fer_edge.faces.face import Face
    from fer_edge.faces.smoothing import OneEuro
    from fer_edge.faces.tracker import ExpressionTracker, TrackedFace
    from fer_edge.images import read_image
    from fer_edge.recognizer import Recognizer
    from fer_edge.video import open_source

__version__ = "0.1.0"

__all__ = [
    "Box",
    "Bundle",
    "BundleDamagedError",
    "BundleError",
    "BundleMismatchError",
    "BundleVersionError",
    "CheckpointError",
    "ConfigError",
    "CopyError",
    "DataError",
    "EngineError",
    "EngineUnavailableError",
    "Expression",
    "ExpressionTracker",
    "Face",
    "FaceDetector",
    "FacesError",
    "FerEdgeError",
    "ImageError",
    "InputError",
    "NonFiniteError",
    "OneEuro",
    "Prediction",
    "Recognizer",
    "RunOptions",
    "SignatureError",
    "TrackedFace",
    "UnsupportedTargetError",
    "VideoError",
    "__version__",
    "add_engine",
    "analyse",
    "bench",
    "box_from_corners",
    "build",
    "calibrate",
    "compare",
    "evaluate",
    "limit_threads",
    "open_source",
    "parity",
    "predict",
    "read_image",
]

_MODULES = {  # module by name; all other names of `__all__` are errors
    "Box": "boxes",
    "Bundle": "bundle",
    "Expression": "expression",
    "ExpressionTracker": "faces.tracker",
    "Face": "faces.face",
    "FaceDetector": "faces.detector",
    "OneEuro": "faces.smoothing",
    "Prediction": "engines.base",
    "Recognizer": "recognizer",
    "RunOptions": "engines.base",
    "TrackedFace": "faces.tracker",
    "add_engine": "export.add_engine",
    "analyse": "analysis.analyse",
    "bench": "benchmark.run",
    "box_from_corners": "boxes",
    "build": "export.build",
    "calibrate": "export.calibrate",
    "compare": "benchmark.compare",
    "evaluate": "evaluation.evaluate",
    "limit_threads": "engines.threads",
    "open_source": "video",
    "parity": "evaluation.parity",
    "predict": "analysis.predict",
    "read_image": "images",
}
_SUBMODULES = {"boxes", "bundle", "engines", "errors", "faces", "images", "labels", "live", "recognizer", "video"}


def __getattr__(name: str) -> Any:
    """Import a name of `__all__`, or a submodule."""
    if name in __all__:
        value = getattr(_import_module(f"fer_edge.{_MODULES.get(name, 'errors')}"), name)
        globals()[name] = value
        return value
    if name in _SUBMODULES:
        return _import_module(f"fer_edge.{name}")
    raise AttributeError(f"module 'fer_edge' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
