"""Expressions of the C library: those of Python on the same engine."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import byref
from pathlib import Path
from threading import Thread

import numpy as np
import onnx
import pytest
import skimage.data
from PIL import Image

import fer_edge
from fer_edge import Bundle, Expression, Recognizer
from fer_edge.bundle import write_bundle
from fer_edge.engines.base import Images
from fer_edge.errors import FacesError
from fer_edge.faces.face import TARGET, Face
from fer_edge.faces.geometry import Square
from fer_edge.shipped import shipped_bundle
from tests.native.library import (
    AnyFace,
    Frame,
    Library,
    NativeError,
    NativeExpression,
    NativeFace,
    native_face,
    native_frame,
)
from tests.tiny import LABELS, tiny_bundle, tiny_manifest, tiny_onnx

ASTRONAUT = skimage.data.astronaut()
BOX = (165.0, 70.0, 120.0, 120.0)
POINTS = Square(225, 130, 130, 0.1).from_input(112).apply(np.insert(TARGET, 2, (56.0, 60.0), axis=0))
FACE = Face(BOX, 0.9, POINTS)
WARNINGS = (
    "face of",
    "only",
    "no contrast",
    "noise",
    "blurred",
)  # beginnings of Python's warnings, in the order of bits


def compare(
    expected: Sequence[Expression | None], expressions: Sequence[NativeExpression], probabilities: np.ndarray
) -> float:
    """Check labels, certainty, warnings and measurements, and return the largest difference of a probability."""
    difference = 0.0
    for python, native, row in zip(expected, expressions, probabilities, strict=True):
        if python is None:
            assert native.status == 1 and not row.any()
            continue
        labels, values = list(python.scores), np.array(list(python.scores.values()))
        assert labels[native.label] == python.label and not native.status
        assert native.score == row.max() and abs(row.sum() - 1) < 1e-5
        difference = max(difference, float(np.abs(values - row).max()))
        assert python.quality is not None
        for name, _ in native.quality._fields_:
            assert getattr(native.quality, name) == pytest.approx(getattr(python.quality, name), rel=1e-4, abs=1e-4)
        reasons = python.warning.split("; ") if python.warning else []
        bits = sum(1 << index for index, start in enumerate(WARNINGS) for reason in reasons if reason.startswith(start))
        assert native.warnings == bits and bool(native.certain) == python.certain
    return difference


def test_library_has_the_version_of_the_package(library: Library) -> None:
    assert library.functions.fer_version().decode() == fer_edge.__version__
    assert library.functions.fer_abi_version() == 1


def test_faces_of_a_frame_have_the_expressions_of_python(library: Library, engine: str) -> None:
    faces: list[AnyFace] = [
        BOX,
        FACE,
        None,
        (150.0, 60.0, 20.0, 24.0),
        (0.0, 0.0, 50.0, 40.0),
        (-60.0, 60.0, 100.0, 100.0),
    ]
    with Recognizer.open(engine=engine, threads=1) as python, library.open(shipped_bundle(), engine, batch=4) as native:
        assert native.labels == list(python.labels)
        assert library.functions.fer_engine(native.handle).decode() == engine
        expected = python.recognize_faces(ASTRONAUT, faces)
        assert compare(expected, *native.recognize(ASTRONAUT, faces)) <= 1e-6
        bgr = np.ascontiguousarray(ASTRONAUT[:, :, ::-1])
        assert compare(expected, *native.recognize(bgr, faces, "bgr")) <= 1e-6
        assert expected[0].label == "happiness" and expected[0].certain
        assert native.recognize(ASTRONAUT, [])[0] == []


def test_warnings_are_those_of_python(library: Library) -> None:
    rng = np.random.default_rng(0)
    grey = np.full((200, 200, 3), 128, np.uint8)
    noise = rng.integers(0, 256, (200, 200, 3), dtype=np.uint8)
    blurred = np.asarray(Image.fromarray(ASTRONAUT[70:190, 165:285]).resize((8, 8)).resize((200, 200)))
    faces: list[AnyFace] = [(10.0, 10.0, 150.0, 150.0), (-90.0, -90.0, 150.0, 150.0), (20.0, 20.0, 15.0, 20.0), None]
    engine = library.engines[0]
    seen = 0
    with Recognizer.open(engine=engine, threads=1) as python, library.open(shipped_bundle(), engine) as native:
        for frame in (grey, noise, blurred):
            expressions, probabilities = native.recognize(frame, faces)
            assert compare(python.recognize_faces(frame, faces), expressions, probabilities) <= 1e-6
            for expression in expressions:
                seen |= expression.warnings
    assert seen == 31
    assert library.functions.fer_describe_warning(4).decode() == "no contrast: there may be no face"
    assert library.functions.fer_describe_warning(3) == b""


def test_refused_faces_leave_the_results_of_the_others(library: Library) -> None:
    engine = library.engines[0]
    faces: list[AnyFace] = [BOX, (0.0, 0.0, 0.0, 0.0), FACE, (900.0, 900.0, 50.0, 50.0)]
    with Recognizer.open(engine=engine, threads=1) as python, library.open(shipped_bundle(), engine, batch=2) as native:
        with pytest.raises(FacesError) as caught:
            python.recognize_faces(ASTRONAUT, faces)
        assert compare(caught.value.results, *native.recognize(ASTRONAUT, faces)) <= 1e-6
        expression = NativeExpression()
        with pytest.raises(NativeError, match=r"^face 0 of 1 \(counted from 0\): box \(0, 0, 0, 0\) is empty"):
            library.call(
                *("fer_recognize", native.handle, byref(native_frame(ASTRONAUT)), byref(native_face(faces[1])), 1),
                *(byref(expression), None),
            )


@pytest.mark.data
@pytest.mark.slow
def test_real_faces_have_the_labels_and_probabilities_of_python(library: Library, engine: str, ferplus: Path) -> None:
    paths = sorted((ferplus / "FER2013Valid").glob("*.png"))[:300]
    assert len(paths) == 300
    difference = 0.0
    with Recognizer.open(engine=engine, threads=1) as python, library.open(shipped_bundle(), engine) as native:
        for path in paths:
            face: Images = np.asarray(Image.open(path).convert("RGB"))
            difference = max(difference, compare([python.recognize(face)], *native.recognize(face, [None])))
    assert difference <= 1e-6


def test_recognizers_run_in_threads(library: Library, engine: str, tmp_path: Path) -> None:
    results: dict[int, np.ndarray] = {}
    bundle = tiny_bundle(tmp_path / "tiny.fer")

    def work(index: int) -> None:
        with library.open(bundle, engine) as native:
            for _ in range(50):
                _, results[index] = native.recognize(ASTRONAUT, [BOX, FACE])

    threads = [Thread(target=work, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert np.array_equal(results[0], results[1])


def test_errors_of_two_threads_stay_apart(library: Library) -> None:
    """Each call writes to its own message: the library has no shared text."""
    messages: dict[int, set[str]] = {0: set(), 1: set()}

    def work(index: int) -> None:
        for _ in range(300):
            try:
                library.crop(ASTRONAUT, (index + 1.0, 0.0, 0.0, 0.0))
            except NativeError as error:
                messages[index].add(str(error))

    threads = [Thread(target=work, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(texts) for texts in messages.values()] == [1, 1]
    assert "box (1, " in messages[0].pop() and "box (2, " in messages[1].pop()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 0}, "the frame has 0 x 512 pixels; expected sides of 1 to 16384"),
        ({"height": 20000}, "the frame has 512 x 20000 pixels"),
        ({"format": 5}, "the frame has format 5; expected FER_RGB"),
        ({"stride": 1535}, "the frame has a stride of 1535 bytes; expected at least 1536"),
        ({"stride": -1535}, "the frame has a stride of -1535 bytes"),
        ({"pixels": None}, "the frame or its pixels are NULL"),
    ],
)
def test_wrong_frames_are_refused(library: Library, changes: dict[str, int | None], message: str) -> None:
    frame = native_frame(ASTRONAUT)
    for name, value in changes.items():
        setattr(frame, name, value)
    crop = ctypes.create_string_buffer(112 * 112 * 3)
    with pytest.raises(NativeError, match=message):
        library.call("fer_crop", byref(frame), byref(NativeFace()), crop)


def test_wrong_arguments_are_refused(library: Library, tmp_path: Path) -> None:
    bundle, engine = tiny_bundle(tmp_path / "tiny.fer"), library.engines[0]
    for keywords in ({"threads": -1}, {"threads": 1025}, {"batch": -1}, {"batch": 9}):
        with pytest.raises(
            NativeError, match=r"expected 0 to 1024 threads and a batch of 1 to 8, the bundle's largest"
        ):
            library.open(bundle, engine, **keywords)
    with pytest.raises(NativeError, match="has no engine tensorrt that this library is built with"):
        library.open(bundle, "tensorrt")
    handle = ctypes.c_void_p(1)
    for arguments in ((None, None, byref(handle)), (b"a.fer", None, None)):
        with pytest.raises(NativeError, match="path or recognizer is NULL"):
            library.call("fer_open", *arguments)
    with pytest.raises(NativeError, match="data or recognizer is NULL"):
        library.call("fer_open_memory", None, 0, None, byref(handle))
    with pytest.raises(NativeError, match="recognizer, faces or expressions are NULL"):
        library.call("fer_recognize", None, byref(Frame()), None, 0, None, None)
    with pytest.raises(NativeError, match="face or crop is NULL"):
        library.call("fer_crop", byref(native_frame(ASTRONAUT)), None, None)
    functions = library.functions
    assert functions.fer_crop(None, None, None, None) == 1  # the message is optional
    functions.fer_close(None)
    assert functions.fer_label(None, 0) is None and functions.fer_engine(None) is None
    with library.open(bundle, engine) as native:
        assert native.labels == list(LABELS)
        assert functions.fer_label(native.handle, 3) is None and functions.fer_label(native.handle, -1) is None


def test_outputs_that_are_not_numbers_are_refused(library: Library, tmp_path: Path) -> None:
    model = onnx.load_from_string(tiny_onnx())
    weights = next(constant for constant in model.graph.initializer if constant.name == "label_weight")
    weights.raw_data = np.full((3, 3), np.nan, np.float32).tobytes()
    write_bundle(tmp_path / "nan.fer", tiny_manifest(), {"model.onnx": model.SerializeToString()})
    with pytest.raises(NativeError, match="the model's probabilities are NaN or infinite for crop 0 of the batch"):
        library.open(tmp_path / "nan.fer")


def test_first_engine_of_the_library_is_the_default(library: Library, tmp_path: Path) -> None:
    with library.open(tiny_bundle(tmp_path / "tiny.fer")) as native:
        assert library.functions.fer_engine(native.handle).decode() == library.engines[0]
    for entry in Bundle.open(tmp_path / "tiny.fer").manifest.engines:
        path = tiny_bundle(tmp_path / "one.fer", engines=(entry,))
        if entry.engine in library.engines:
            with library.open(path) as native:
                assert library.functions.fer_engine(native.handle).decode() == entry.engine
        else:
            with pytest.raises(NativeError, match="has no engine  that this library is built with"):
                library.open(path)
