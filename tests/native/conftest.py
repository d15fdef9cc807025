"""The built library; without compiler or headers its tests skip, except in CI."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import pytest

from tests.made_once import made_once
from tests.native.library import Library, build, engines, has_onnxruntime, missing_part, runtime_library


@pytest.fixture(scope="session")
def native_build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder with the library, built once per run."""
    reason = missing_part()
    if os.environ.get("FER_EDGE_REQUIRE_NATIVE") and not (reason or has_onnxruntime()):
        reason = "needs the header of ONNX Runtime"
    if reason and os.environ.get("FER_EDGE_REQUIRE_NATIVE"):
        pytest.fail(f"{reason}, and FER_EDGE_REQUIRE_NATIVE forbids skipping: see scripts/test-native")
    if reason:
        pytest.skip(reason)
    return made_once(tmp_path_factory, "native", build)


@pytest.fixture(scope="session")
def library(native_build: Path) -> Library:
    """Return the library; its ONNX Runtime is that of Python's package."""
    if has_onnxruntime():
        ctypes.CDLL(str(runtime_library()))  # later loads by the name libonnxruntime.so.1 return this library
    return Library(native_build / "libfer_edge.so", engines())


# OpenVINO compiles the model of each recognizer for a second.
@pytest.fixture(params=["onnxruntime", pytest.param("openvino", marks=pytest.mark.slow)])
def engine(request: pytest.FixtureRequest, library: Library) -> str:
    """Return the name of each engine of the library."""
    if request.param not in library.engines:
        pytest.skip(f"the library is built without {request.param}: see scripts/test-native")
    return str(request.param)
