"""Recognizer: expressions of frames and boxes."""

from __future__ import annotations

import importlib.util
import pickle
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from fer_edge import Bundle, Expression, FacesError, Recognizer, box_from_corners
from fer_edge.engines.base import Images, Prediction, Runner, RunOptions
from fer_edge.engines.openvino.engine import OpenVINOEngine
from fer_edge.errors import BundleError, ConfigError, EngineError, InputError
from fer_edge.recognizer import shipped_bundle
from tests.synthetic import smooth_frame
from tests.tiny import LABELS, tiny_bundle

FRAME = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)


def test_faces_of_a_frame_in_batches(tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path / "a.fer", max_batch=2)
    boxes = [(float(10 * i), 5.0, 60.0, 80.0) for i in range(5)]
    with Recognizer.open(path, "onnxruntime", threads=1) as recognizer:
        expressions = recognizer.recognize_faces(FRAME, boxes)
        single = [recognizer.recognize(FRAME, box) for box in boxes]
        assert recognizer.recognize_faces(FRAME, []) == []
    assert [expression.label for expression in expressions] == [expression.label for expression in single]
    for expression in expressions:
        assert list(expression.scores) == list(LABELS)
        assert expression.score == max(expression.scores.values()) == expression.scores[expression.label]
        assert sum(expression.scores.values()) == pytest.approx(1)


def test_wrong_frame_is_refused(tmp_path: Path) -> None:
    frame = np.zeros((4, 4, 3), np.float32)
    expected = r"the frame is float32 \(4, 4, 3\); expected a uint8 array"
    with Recognizer.open(tiny_bundle(tmp_path / "a.fer")) as recognizer, pytest.raises(InputError, match=expected):
        recognizer.recognize(frame)  # type: ignore[arg-type]


def test_closed_recognizer_is_refused(tmp_path: Path) -> None:
    recognizer = Recognizer.open(tiny_bundle(tmp_path / "a.fer"), "onnxruntime", threads=1)
    recognizer.close()
    recognizer.close()
    assert not len(recognizer._model.images), "the engine's memory is still referenced"
    uses: list[Callable[[Any], Any]] = [
        recognizer.recognize,
        lambda frame: recognizer.recognize_faces(frame, []),
        lambda frame: recognizer.preprocess(frame, [None]),
    ]
    for use in uses:
        with pytest.raises(EngineError, match="the recognizer is closed; open the bundle again"):
            use(FRAME)


@pytest.mark.parametrize("box", [(1, 2, 3), ("1", 2, 3, 4), (1, 2, None, 4), 5, (1, 1, 10**400, 1)])
def test_wrong_boxes_are_refused(tmp_path: Path, box: Any) -> None:
    with Recognizer.open(tiny_bundle(tmp_path / "a.fer"), "onnxruntime", threads=1) as recognizer:
        with pytest.raises(InputError, match="is not a box; expected four finite numbers"):
            recognizer.recognize(FRAME, box)
        assert recognizer.recognize(FRAME, (10, 10, 50, 50)).label in LABELS


def test_boxes_that_are_not_a_list_are_refused(tmp_path: Path) -> None:
    with Recognizer.open(tiny_bundle(tmp_path / "a.fer", max_batch=2), "onnxruntime", threads=1) as recognizer:
        face: Any = (10, 10, 50, 50)
        for single in (face, list(face)):
            with pytest.raises(InputError, match=r"boxes .10, 10, 50, 50. are a single box; expected a list of boxes"):
                recognizer.recognize_faces(FRAME, single)
        for shape in ((4,), (2, 5), (1, 2, 4)):
            with pytest.raises(InputError, match=rf"boxes are an array of shape {re.escape(str(shape))}; expected a"):
                recognizer.recognize_faces(FRAME, np.zeros(shape))
        assert recognizer.recognize_faces(FRAME, np.zeros((0, 4))) == recognizer.recognize_faces(FRAME, ()) == []
        for boxes, kind in ((5, "int"), (iter([face]), "tuple_iterator|list_iterator"), ({0: face}, "dict")):
            with pytest.raises(InputError, match=f"boxes are of type ({kind}); expected a list of boxes"):
                recognizer.recognize_faces(FRAME, boxes)  # type: ignore[arg-type]
            with pytest.raises(InputError, match=f"boxes are of type ({kind}); expected a list of boxes"):
                recognizer.preprocess(FRAME, boxes)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="3 boxes; the largest batch of this engine is 2: call recognize_faces"):
            recognizer.preprocess(FRAME, [face] * 3)
        array = np.array([face, face, face])
        assert len(recognizer.recognize_faces(FRAME, array)) == 3


@pytest.mark.parametrize("threads", [-3, 0, 1025, "2", 1.5, True])
def test_invalid_threads_are_refused(tmp_path: Path, threads: Any) -> None:
    with pytest.raises(ConfigError, match=f"threads is {threads!r}; expected a whole number from 1 to 1024"):
        Recognizer.open(tiny_bundle(tmp_path / "a.fer"), threads=threads)


@pytest.mark.parametrize("device", [-1, "0", 0.0, None, False])
def test_invalid_devices_are_refused(device: Any) -> None:
    with pytest.raises(ConfigError, match=f"device is {device!r}; expected a whole number >= 0"):
        RunOptions(device=device)
    assert RunOptions(threads=1024, device=7).device == 7


class Double(Runner):
    """Runner that returns or raises a given outcome."""

    def __init__(self, outcome: Any) -> None:
        super().__init__(4)
        self.outcome, self.closed = outcome, 0

    def _infer(self, images: Images) -> Prediction:
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return Prediction(self.outcome, None, self.outcome)

    def _close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("shape", [(1, 2), (1, 8), (1, 0), (3,), (2, 3)])
def test_other_number_of_outputs_than_labels_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...]
) -> None:
    runner = Double(np.zeros(shape, np.float32))
    monkeypatch.setattr(Bundle, "runner", lambda *_: runner)
    with pytest.raises(BundleError, match=r"a\.fer has 3 labels, but its model gives .*; expected \(1, 3\): build"):
        Recognizer.open(tiny_bundle(tmp_path / "a.fer"))
    assert runner.closed == 1


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("labels", [("a", "b"), ("a", "b", "c", "d")])
def test_bundle_with_labels_of_another_model_is_refused(tmp_path: Path, labels: tuple[str, ...], engine: str) -> None:
    path = tiny_bundle(tmp_path / "a.fer", labels=labels, words=())
    with pytest.raises(BundleError, match=f"has {len(labels)} labels, but its model gives probabilities of shape"):
        Recognizer.open(path, engine, threads=1)


def test_runner_is_closed_after_a_failed_warm_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = Double(EngineError("no memory"))
    monkeypatch.setattr(Bundle, "runner", lambda *_: runner)
    with pytest.raises(EngineError, match="no memory"):
        Recognizer.open(tiny_bundle(tmp_path / "a.fer"))
    assert runner.closed == 1


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("native"), "native"),
        (KeyError("native"), "'native'"),
        (MemoryError("native"), r"there is not enough memory \(MemoryError: native\); close other programs"),
    ],
)
def test_engine_exceptions_become_engine_errors(error: Exception, reason: str) -> None:
    images = np.zeros((2, 112, 112, 3), np.uint8)
    with pytest.raises(EngineError, match=rf"the engine failed on a batch of 2: {reason}") as caught:
        Double(error).infer(images)
    assert caught.value.__cause__ is error
    for passed in (InputError("own error"), KeyboardInterrupt()):
        with pytest.raises(type(passed)):
            Double(passed).infer(images)


def test_missing_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no bundle at"):
        Recognizer.open(tmp_path / "none.fer")


def test_shipped_bundle_recognises_a_smile() -> None:
    if importlib.util.find_spec("skimage") is None:
        pytest.skip("needs scikit-image's photograph")
    import skimage.data

    with Recognizer.open() as recognizer:
        expression = recognizer.recognize(skimage.data.astronaut(), (165, 70, 120, 120))
    assert expression.label == "happiness"
    assert expression.score > 0.9


def test_shipped_bundle_names_its_checkpoint() -> None:
    manifest = Bundle.open(shipped_bundle()).manifest
    assert manifest.checkpoint["metrics"]["validation_accuracy"] >= 80
    assert [entry.engine for entry in manifest.engines] == ["openvino", "onnxruntime"]


def test_frame_is_not_copied(tmp_path: Path) -> None:
    with Recognizer.open(tiny_bundle(tmp_path / "a.fer"), threads=1) as recognizer:
        box = (20.0, 30.0, 112.0, 112.0)
        recognizer.recognize(FRAME, box)
        tracemalloc.start()
        try:
            recognizer.recognize(FRAME, box)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 112 * 112 * 3 // 2


def test_predictions_are_not_overwritten(tmp_path: Path) -> None:
    images = np.random.default_rng(1).integers(0, 256, (3, 112, 112, 3), dtype=np.uint8)
    images[1] //= 4
    for engine in ("openvino", "onnxruntime"):
        with Bundle.open(tiny_bundle(tmp_path / "a.fer")).runner(engine) as runner:
            together = runner.infer(images)
            one_by_one = [runner.infer(images[index : index + 1]) for index in range(3)]
        for index, alone in enumerate(one_by_one):
            for first, second in zip(alone, together, strict=True):
                assert first is not None and second is not None
                assert np.allclose(first[0], second[index], atol=1e-4)
        assert not np.allclose(one_by_one[0].probabilities, one_by_one[1].probabilities)


def test_openvino_converter_is_imported_on_demand(tmp_path: Path) -> None:
    code = (
        "import sys; from fer_edge import Recognizer; Recognizer.open(sys.argv[1]).close();"
        "assert 'openvino.tools.ovc' not in sys.modules and 'openvino_telemetry' not in sys.modules;"
        "import openvino; print(openvino.convert_model.__module__, hasattr(openvino, 'nothing'))"
    )
    path = tiny_bundle(tmp_path / "a.fer")
    result = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)
    assert result.stdout.startswith("openvino.tools.ovc") and result.stdout.endswith("False\n"), result.stderr


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_batches_up_to_faces_are_prepared(tmp_path: Path, engine: str) -> None:
    path = tiny_bundle(tmp_path / "a.fer", max_batch=4)
    boxes = [(float(10 * index), 5.0, 60.0, 80.0) for index in range(3)]
    ran: list[int] = []
    infer = Runner.infer

    def record(runner: Runner, images: Images, *, checked: bool = True) -> Prediction:
        ran.append(len(images))
        return infer(runner, images, checked=checked)

    with mock.patch.object(Runner, "infer", record):
        recognizer = Recognizer.open(path, engine, threads=1, faces=3)
    assert ran == [1, 2, 3]
    with recognizer, mock.patch.object(OpenVINOEngine, "compile_network", side_effect=AssertionError("compiled")):
        for count in (1, 2, 3):
            assert len(recognizer.recognize_faces(FRAME, boxes[:count])) == count


@pytest.mark.parametrize("faces", [0, -1, 9, True, "2", 1.5, None])
def test_invalid_numbers_of_faces_are_refused(tmp_path: Path, faces: Any) -> None:
    expected = rf"faces is {faces!r}; expected a whole number from 1 to 8, the bundle's largest batch"
    with pytest.raises(ConfigError, match=expected):
        Recognizer.open(tiny_bundle(tmp_path / "a.fer"), faces=faces)


def test_refused_boxes_do_not_affect_the_others(tmp_path: Path) -> None:
    face, outside = (10, 10, 80, 100), (700, 10, 80, 80)
    with Recognizer.open(tiny_bundle(tmp_path / "a.fer", max_batch=2), threads=1) as recognizer:
        expected = recognizer.recognize(FRAME, face)
        with pytest.raises(FacesError) as caught:
            recognizer.recognize_faces(FRAME, [face, outside, face, (0.1, 0.2, 0.3, 0.3), None])
        with pytest.raises(InputError, match=r"box 0 of 1 \(counted from 0\): box \(700, 10, 80, 80\) is outside"):
            recognizer.preprocess(FRAME, [outside])
        with pytest.raises(InputError, match=r"^box \(700, 10, 80, 80\) is outside"):
            recognizer.recognize(FRAME, outside)
    for error in (caught.value, pickle.loads(pickle.dumps(caught.value))):
        assert str(error) == (
            "box 1 of 5 (counted from 0): box (700, 10, 80, 80) is outside of the frame of 320 x 240 pixels; "
            "refused too: 3"
        )
        assert error.results[0] == error.results[2] == expected and error.results[4] is not None
        assert [index for index, result in enumerate(error.results) if result is None] == [1, 3]
        assert sorted(error.errors) == [1, 3] and "fractions of the frame" in str(error.errors[3])


def test_all_boxes_may_be_refused(tmp_path: Path) -> None:
    expected = r"box 0 of 30 .*; refused too: 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, \.\.\.$"
    path = tiny_bundle(tmp_path / "a.fer")
    with Recognizer.open(path, threads=1) as recognizer, pytest.raises(FacesError, match=expected):
        recognizer.recognize_faces(FRAME, [(700, 10, 80, 80)] * 30)


def test_bgr_frames_give_the_same_expressions(tmp_path: Path) -> None:
    bgr = np.ascontiguousarray(FRAME[:, :, ::-1])
    box = (30, 40, 100, 130)
    with Recognizer.open(tiny_bundle(tmp_path / "a.fer"), threads=1) as recognizer:
        assert recognizer.recognize(bgr, box, color="bgr") == recognizer.recognize(FRAME, box)
        assert recognizer.recognize_faces(bgr, [box], color="bgr") == recognizer.recognize_faces(FRAME, [box])
        expected = recognizer.preprocess(FRAME, [box]).copy()
        assert np.array_equal(recognizer.preprocess(bgr, [box], color="bgr"), expected)
        assert recognizer.recognize(bgr, box) != recognizer.recognize(FRAME, box)
        for color in ("BGR", "grey", None, 3):
            message = re.escape(f'color is {color!r}; expected "rgb", or "bgr" for frames of OpenCV')
            with pytest.raises(InputError, match=message):
                recognizer.recognize(FRAME, box, color=color)  # type: ignore[arg-type]


def test_unreliable_expressions_have_a_warning(tmp_path: Path) -> None:
    frame = np.tile(smooth_frame(), (2, 2, 1))
    with Recognizer.open(tiny_bundle(tmp_path / "a.fer", max_batch=2), threads=1) as recognizer:
        good, small, beyond = recognizer.recognize_faces(frame, [(40, 40, 80, 100), (9, 9, 10, 12), (-60, 20, 90, 90)])
        black = recognizer.recognize(np.zeros((200, 200, 3), np.uint8))
        assert recognizer.postprocess(recognizer.runner.infer(recognizer.preprocess(frame, [None])))[0].warning == ""
    assert good.warning == "" and good.quality is not None and good.quality.size == 80
    assert replace(good, score=0.58).certain and replace(good, score=0.58).display_label == good.label
    assert not replace(good, score=0.57).certain and replace(good, score=0.57).display_label == "unsure"
    assert small.warning == "face of 10 x 12 pixels; below 24 the label is often wrong" and not small.certain
    assert beyond.warning == "only 33 % of the face box is inside the frame" and not beyond.certain
    assert black.warning == "no contrast: there may be no face" and not black.certain


def test_repr_is_one_short_line(tmp_path: Path) -> None:
    recognizer = Recognizer.open(tiny_bundle(tmp_path / "a.fer"), threads=1)
    assert repr(recognizer) == "<Recognizer a.fer on openvino, 3 labels, open>"
    recognizer.close()
    assert repr(recognizer) == "<Recognizer a.fer on openvino, 3 labels, closed>"
    expression = Expression("neutral", 0.87654321, {"neutral": 0.87654321, "happiness": 0.12345679}, "small")
    assert repr(expression) == (
        "Expression(label='neutral', score=0.877, scores={'neutral': 0.877, 'happiness': 0.123}, warning='small')"
    )
    assert repr(Expression("neutral", 1.0, {"neutral": 1.0})) == (
        "Expression(label='neutral', score=1.000, scores={'neutral': 1.000})"
    )


def test_boxes_of_every_type_give_equal_expressions(tmp_path: Path) -> None:
    lists: list[list[float]] = [[10, 20, 60, 80], [30.5, 20, 60, 80]]
    with Recognizer.open(tiny_bundle(tmp_path / "a.fer"), threads=1) as recognizer:
        expected: list[Expression] = recognizer.recognize_faces(FRAME, lists)
        for dtype in (np.float32, np.float64):
            assert recognizer.recognize_faces(FRAME, np.array(lists, dtype)) == expected
        mixed = recognizer.recognize_faces(FRAME, [None, (10, 20, 60, 80), np.array([30.5, 20, 60, 80])])
        assert mixed[1:] == expected
        assert recognizer.recognize(FRAME, lists[0]) == recognizer.recognize(FRAME, box_from_corners(10, 20, 70, 100))
