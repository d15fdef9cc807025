"""Compare the C library with the Python package in one process, on the same engine.

    scripts/fetch-onnxruntime
    PYTHONPATH=. .venv/bin/python benchmarks/native.py --engine onnxruntime --engine openvino

Both recognise a face of 160 x 160 in a frame of 640 x 480, by its box and aligned by its points, and crop it without
the model. The time of ctypes is part of the calls to the C library.
"""

from __future__ import annotations

import argparse
import ctypes
from collections.abc import Callable
from ctypes import byref
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import in_process
from fer_edge import Face, Recognizer
from fer_edge.benchmark.drawn_face import BACKGROUND, draw_face
from fer_edge.crop import crop_and_resize
from fer_edge.faces.face import TARGET
from fer_edge.faces.geometry import Square
from fer_edge.shipped import shipped_bundle
from tests.native.library import (
    ROOT,
    AnyFace,
    Library,
    NativeExpression,
    NativeRecognizer,
    build,
    engines,
    native_face,
    native_frame,
    runtime_library,
)

BOX = (240.0, 160.0, 160.0, 160.0)
POINTS = Square(320, 240, 170, 0.1).from_input(112).apply(np.insert(TARGET, 2, (56.0, 60.0), axis=0))
FACES: dict[str, AnyFace] = {"box": BOX, "points": Face(BOX, 1.0, POINTS)}


def native_call(recognizer: NativeRecognizer, frame: Any, face: AnyFace) -> Callable[[], Any]:
    """Return a call of `fer_recognize` whose arguments are prepared."""
    arguments = (byref(native_frame(frame)), byref(native_face(face)), 1, byref(NativeExpression()))
    probabilities = np.zeros(len(recognizer.labels), np.float32)
    message = ctypes.create_string_buffer(512)
    function = recognizer.library.functions.fer_recognize

    def call() -> None:
        if function(recognizer.handle, *arguments, probabilities.ctypes.data, message):
            raise RuntimeError(message.value.decode())

    return call


def native_crop(library: Library, frame: Any) -> Callable[[], Any]:
    """Return a call of `fer_crop` whose arguments are prepared."""
    arguments = (byref(native_frame(frame)), byref(native_face(BOX)), ctypes.create_string_buffer(112 * 112 * 3), None)
    return partial(library.functions.fer_crop, *arguments)


def main() -> None:
    """Time the calls of the engines on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=shipped_bundle())
    parser.add_argument("--engine", action="append", choices=engines(), help="repeatable; default: all")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--csv", type=Path)
    arguments = parser.parse_args()
    folder = ROOT / "build" / "native" / "benchmark"
    build(folder)
    if "onnxruntime" in engines():
        ctypes.CDLL(str(runtime_library()))
    library = Library(folder / "libfer_edge.so", engines())
    picture = Image.new("RGB", (640, 480), BACKGROUND)
    picture.paste(draw_face().resize((160, 160)), (240, 160))
    frame = np.asarray(picture)
    calls: dict[str, Callable[[], Any]] = {
        "crop, python": partial(crop_and_resize, frame, BOX),
        "crop, c": native_crop(library, frame),
    }
    recognizers: list[Any] = []
    for engine in arguments.engine or engines():
        python = Recognizer.open(arguments.bundle, engine, threads=arguments.threads)
        native = library.open(arguments.bundle, engine, arguments.threads)
        recognizers += [python, native]
        for name, face in FACES.items():
            calls[f"{engine}, {name}, python"] = partial(python.recognize, frame, face)
            calls[f"{engine}, {name}, c"] = native_call(native, frame, face)
    names = [name.removesuffix(", c") for name in calls if name.endswith(", c")]
    settings = {"bundle": arguments.bundle.name, "threads": arguments.threads}
    pairs = [(f"{name}, c", f"{name}, python") for name in names]
    in_process.run(calls, pairs, arguments.rounds, settings, arguments.csv)
    for recognizer in recognizers:
        recognizer.__exit__(None, None, None)


if __name__ == "__main__":
    main()
