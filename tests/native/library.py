"""The C library through ctypes, and its build."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from ctypes import POINTER, byref
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from fer_edge.boxes import XYWH
from fer_edge.faces.face import Face

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "native"
# Header of ONNX Runtime, which Python's package does not contain; scripts/test-native fetches it.
ONNXRUNTIME = Path(os.environ.get("FER_EDGE_ONNXRUNTIME", ROOT / "build" / "native" / "onnxruntime"))
SANITIZERS = os.environ.get("FER_EDGE_SANITIZERS", "")
ENGINES = ("onnxruntime", "openvino")
FORMATS = ("rgb", "bgr", "rgba", "bgra", "grey")
MESSAGE_BYTES = 512
AnyFace = Face | XYWH | None


class Frame(ctypes.Structure):
    _fields_ = (
        ("pixels", ctypes.c_void_p),
        ("stride", ctypes.c_ssize_t),
        ("width", ctypes.c_int32),
        ("height", ctypes.c_int32),
        ("format", ctypes.c_int32),
    )


class NativeFace(ctypes.Structure):
    _fields_ = (
        ("box", ctypes.c_double * 4),
        ("points", ctypes.c_double * 10),
        ("kind", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
    )


class Quality(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_double) for name in ("width", "height", "share", "contrast", "noise", "sharpness"))


class NativeExpression(ctypes.Structure):
    _fields_ = (
        ("quality", Quality),
        ("status", ctypes.c_int32),
        ("label", ctypes.c_int32),
        ("score", ctypes.c_float),
        ("certain", ctypes.c_int32),
        ("warnings", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
    )


class Options(ctypes.Structure):
    _fields_ = (("engine", ctypes.c_char_p), ("threads", ctypes.c_int32), ("batch", ctypes.c_int32))


class NativeError(Exception):
    """Failure of a call, with its status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Library:
    """Functions of the library; those that fail raise `NativeError`.

    Args:
        path: Path of the shared library.
        engines: Names of the engines that it is built with.
    """

    def __init__(self, path: Path, engines: Sequence[str]) -> None:
        self.path, self.engines = path, tuple(engines)
        self.functions = functions = ctypes.CDLL(str(path))
        functions.fer_version.restype = ctypes.c_char_p
        functions.fer_describe_warning.restype = ctypes.c_char_p
        for name in ("fer_label", "fer_engine"):
            getattr(functions, name).restype = ctypes.c_char_p
            getattr(functions, name).argtypes = [ctypes.c_void_p] + [ctypes.c_int32] * (name == "fer_label")
        functions.fer_close.argtypes = functions.fer_label_count.argtypes = [ctypes.c_void_p]
        functions.fer_close.restype = None
        functions.fer_open_memory.argtypes = [
            *(ctypes.c_char_p, ctypes.c_size_t, POINTER(Options), POINTER(ctypes.c_void_p), ctypes.c_char_p)
        ]
        functions.fer_open_signed_memory.argtypes = [
            *(ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p),
            *(POINTER(Options), POINTER(ctypes.c_void_p), ctypes.c_char_p),
        ]
        functions.fer_recognize.argtypes = [
            *(ctypes.c_void_p, POINTER(Frame), POINTER(NativeFace), ctypes.c_size_t),
            *(POINTER(NativeExpression), ctypes.c_void_p, ctypes.c_char_p),
        ]

    def call(self, function: str, *arguments: Any) -> None:
        """Call a function with a message as the last argument.

        Raises:
            NativeError: Status other than FER_OK.
        """
        message = ctypes.create_string_buffer(MESSAGE_BYTES)
        status = getattr(self.functions, function)(*arguments, message)
        if status:
            raise NativeError(status, message.value.decode())

    def crop(self, frame: npt.NDArray[np.uint8], face: AnyFace = None, color: str = "rgb") -> npt.NDArray[np.uint8]:
        """Return the crop of a face."""
        crop = np.zeros((112, 112, 3), np.uint8)
        self.call(
            "fer_crop",
            byref(native_frame(frame, color)),
            byref(native_face(face)),
            crop.ctypes.data_as(ctypes.c_char_p),
        )
        return crop

    def open(
        self, bundle: Path | bytes, engine: str | None = None, threads: int = 1, batch: int = 1
    ) -> NativeRecognizer:
        """Open a bundle by its path or in memory."""
        options = Options(None if engine is None else engine.encode(), threads, batch)
        handle = ctypes.c_void_p()
        if isinstance(bundle, bytes):
            self.call("fer_open_memory", bundle, len(bundle), byref(options), byref(handle))
        else:
            self.call("fer_open", os.fsencode(bundle), byref(options), byref(handle))
        return NativeRecognizer(self, handle)

    def open_signed(
        self, bundle: Path | bytes, key: bytes, signature: bytes = b"", engine: str | None = None
    ) -> NativeRecognizer:
        """Open a bundle by its path, or in memory with its signature, if a key has signed it."""
        options = Options(None if engine is None else engine.encode(), 1, 1)
        handle = ctypes.c_void_p()
        if isinstance(bundle, bytes):
            arguments = bundle, len(bundle), signature, len(signature), key
            self.call("fer_open_signed_memory", *arguments, byref(options), byref(handle))
        else:
            self.call("fer_open_signed", os.fsencode(bundle), key, byref(options), byref(handle))
        return NativeRecognizer(self, handle)


class NativeRecognizer:
    """Open recognizer of the library."""

    def __init__(self, library: Library, handle: ctypes.c_void_p) -> None:
        self.library, self.handle = library, handle
        functions = library.functions
        self.labels = [
            functions.fer_label(handle, index).decode() for index in range(functions.fer_label_count(handle))
        ]

    def recognize(
        self, frame: npt.NDArray[np.uint8], faces: Sequence[AnyFace], color: str = "rgb"
    ) -> tuple[list[NativeExpression], npt.NDArray[np.float32]]:
        """Return expressions and probabilities, also if some faces are refused: see `NativeExpression.status`."""
        expressions = (NativeExpression * len(faces))()
        probabilities = np.full((len(faces), len(self.labels)), np.nan, np.float32)
        native_faces = (NativeFace * len(faces))(*map(native_face, faces))
        try:
            self.library.call(
                *("fer_recognize", self.handle, byref(native_frame(frame, color)), native_faces, len(faces)),
                *(expressions, probabilities.ctypes.data),
            )
        except NativeError:
            if not any(expression.status for expression in expressions):
                raise
        return list(expressions), probabilities

    def __enter__(self) -> NativeRecognizer:
        return self

    def __exit__(self, *_: object) -> None:
        self.library.functions.fer_close(self.handle)


def native_frame(frame: npt.NDArray[np.uint8], color: str = "rgb") -> Frame:
    """Return the description of an array, whose memory is not copied; rows may be padded or bottom-up."""
    return Frame(frame.ctypes.data, frame.strides[0], frame.shape[1], frame.shape[0], FORMATS.index(color))


def native_face(face: AnyFace) -> NativeFace:
    """Convert a face, a box or None, as `Recognizer.recognize` takes them."""
    if face is None:
        return NativeFace()
    if isinstance(face, Face):
        return NativeFace((ctypes.c_double * 4)(*face.box), (ctypes.c_double * 10)(*face.points.ravel()), 2)
    return NativeFace((ctypes.c_double * 4)(*face), kind=1)


def missing_part() -> str:
    """Return the reason why the library cannot be built here; empty if it can."""
    if sys.platform != "linux":
        return "the names of libraries in these tests are those of Linux"
    tools = [tool for tool in ("cmake", "cc") if shutil.which(tool) is None]
    if tools:
        return f"needs {' and '.join(tools)}"
    if not SOURCE.is_dir():
        return "needs a clone of the repository"
    includes = b"#include <jansson.h>\n#include <sodium/crypto_hash_sha256.h>\n"
    headers = subprocess.run(
        ["cc", "-E", "-"], input=includes, capture_output=True, env=plain_environment(), check=False
    )
    return "needs the headers of Jansson and libsodium: scripts/test-native" if headers.returncode else ""


def require_mono() -> None:
    """Skip a test without Mono, or fail it in CI."""
    if shutil.which("mcs") is None or shutil.which("mono") is None:
        if os.environ.get("FER_EDGE_REQUIRE_NATIVE"):
            pytest.fail("needs Mono, and FER_EDGE_REQUIRE_NATIVE forbids skipping: see scripts/test-native")
        pytest.skip("needs Mono; on Debian or Ubuntu: apt-get install mono-mcs mono-runtime")


def has_openssl() -> bool:
    """Return whether the headers of OpenSSL are here, so that the library verifies signatures."""
    command, source = ["cc", "-E", "-"], b"#include <openssl/evp.h>\n"
    return (
        subprocess.run(command, input=source, capture_output=True, env=plain_environment(), check=False).returncode == 0
    )


def build(folder: Path) -> None:
    """Build the library with all engines into a folder."""
    settings = [f"-DFER_EDGE_{name.upper()}={'ON' if name in engines() else 'OFF'}" for name in ENGINES]
    settings.append(f"-DFER_EDGE_SIGNATURES={'ON' if has_openssl() else 'OFF'}")
    configure(folder, *settings, f"-DOpenVINO_DIR={package_folder('openvino') / 'cmake'}")
    run("cmake", "--build", folder)


def configure(folder: Path, *settings: str) -> None:
    """Configure a build with warnings as errors."""
    flags = ["-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_C_FLAGS=-Werror", "-DCMAKE_CXX_FLAGS=-Werror"]
    flags += [f"-DFER_EDGE_SANITIZERS={SANITIZERS}", f"-DONNXRUNTIME_INCLUDE={ONNXRUNTIME / 'include'}"]
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    run("cmake", "-S", SOURCE, "-B", folder, *generator, *flags, *settings)


def has_onnxruntime() -> bool:
    """Return whether the header and the library of ONNX Runtime are here."""
    return (ONNXRUNTIME / "include" / "onnxruntime_c_api.h").is_file() and find_spec("onnxruntime") is not None


def engines() -> list[str]:
    """Return the names of the engines that `build` includes.

    OpenVINO loads one of its libraries in a way that AddressSanitizer refuses (RTLD_DEEPBIND).
    """
    return [name for name in ENGINES if (has_onnxruntime() if name == "onnxruntime" else not SANITIZERS)]


def package_folder(name: str) -> Path:
    """Return the folder of an installed package; OpenVINO's contains headers and CMake files."""
    package = find_spec(name)
    assert package is not None and package.origin is not None
    return Path(package.origin).parent


def runtime_library() -> Path:
    """Return the library of ONNX Runtime in Python's package."""
    return next(package_folder("onnxruntime").glob("capi/libonnxruntime.so.*"))


def run(*command: str | Path, environment: Mapping[str, str] | None = None, folder: Path | None = None) -> str:
    """Run a command and return what it printed; its output is in the error if it fails."""
    result = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        cwd=folder,
        env=plain_environment() | dict(environment or {}),
    )
    assert result.returncode == 0, f"{' '.join(map(str, command))}:\n{result.stdout}"
    return result.stdout


def plain_environment() -> dict[str, str]:
    """Return the environment without the sanitizers' run-time, which other programs hang with."""
    return {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
