"""What an app holds."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from fer_edge import Bundle, Recognizer
from fer_edge.bundle import Tuning
from fer_edge.engines.base import Images, Prediction, Runner, RunOptions
from fer_edge.engines.openvino import OpenVINOEngine
from fer_edge.errors import BundleError, ConfigError, EngineError, InputError
from fer_edge.machine import machine_name
from fer_edge.recognizer import shipped_bundle
from tests.tiny import LABELS, tiny_bundle

FRAME = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)


def test_faces_of_a_frame_in_batches(tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path / "a.fer", max_batch=2)
    boxes = [(float(10 * i), 5.0, 60.0, 80.0) for i in range(5)]
    with Recognizer.open(path, "onnxruntime", threads=1) as recognizer:
        found = recognizer.recognize_faces(FRAME, boxes)
        single = [recognizer.recognize(FRAME, box) for box in boxes]
        assert recognizer.recognize_faces(FRAME, []) == []
    assert [expression.label for expression in found] == [expression.label for expression in single]
    for expression in found:
        assert list(expression.scores) == list(LABELS)
        assert expression.score == max(expression.scores.values()) == expression.scores[expression.label]
        assert sum(expression.scores.values()) == pytest.approx(1)


def test_wrong_frames_are_named(tmp_path: Path) -> None:
    frame = np.zeros((4, 4, 3), np.float32)
    expected = r"the frame is float32 \(4, 4, 3\); expected a uint8 array"
    with Recognizer.open(tiny_bundle(tmp_path / "a.fer")) as recognizer, pytest.raises(InputError, match=expected):
        recognizer.recognize(frame)  # type: ignore[arg-type]


def test_a_closed_recognizer_says_so(tmp_path: Path) -> None:
    recognizer = Recognizer.open(tiny_bundle(tmp_path / "a.fer"), "onnxruntime", threads=1)
    recognizer.close()
    recognizer.close()
    uses: list[Callable[[Any], Any]] = [
        recognizer.recognize,
        lambda frame: recognizer.recognize_faces(frame, []),
        lambda frame: recognizer.preprocess(frame, [None]),
    ]
    for use in uses:
        with pytest.raises(EngineError, match="the recognizer is closed; open the bundle again"):
            use(FRAME)


@pytest.mark.parametrize("box", [(1, 2, 3), ("1", 2, 3, 4), (1, 2, None, 4), 5, (1, 1, 10**400, 1)])
def test_wrong_boxes_are_told(tmp_path: Path, box: Any) -> None:
    with Recognizer.open(tiny_bundle(tmp_path / "a.fer"), "onnxruntime", threads=1) as recognizer:
        with pytest.raises(InputError, match="is no box; expected four finite numbers"):
            recognizer.recognize(FRAME, box)
        assert recognizer.recognize(FRAME, (10, 10, 50, 50)).label in LABELS


def test_boxes_that_are_no_list_of_boxes_are_told(tmp_path: Path) -> None:
    with Recognizer.open(tiny_bundle(tmp_path / "a.fer", max_batch=2), "onnxruntime", threads=1) as recognizer:
        one: Any = (10, 10, 50, 50)
        with pytest.raises(InputError, match="box 10 is no box; expected four finite numbers"):
            recognizer.recognize_faces(FRAME, one)
        for boxes, kind in ((5, "int"), (iter([one]), "tuple_iterator|list_iterator"), ({0: one}, "dict")):
            with pytest.raises(InputError, match=f"boxes are of type ({kind}); expected a list of boxes"):
                recognizer.recognize_faces(FRAME, boxes)  # type: ignore[arg-type]
            with pytest.raises(InputError, match=f"boxes are of type ({kind}); expected a list of boxes"):
                recognizer.preprocess(FRAME, boxes)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="3 boxes; this engine takes at most 2 at once: call recognize_faces"):
            recognizer.preprocess(FRAME, [one] * 3)
        array = np.array([one, one, one])
        assert len(recognizer.recognize_faces(FRAME, array)) == 3  # type: ignore[arg-type]


@pytest.mark.parametrize("threads", [-3, 0, 1025, "2", 1.5, True])
def test_threads_that_cannot_be_right_are_refused(tmp_path: Path, threads: Any) -> None:
    with pytest.raises(ConfigError, match=f"threads are {threads!r}; expected a whole number from 1 to 1024, or None"):
        Recognizer.open(tiny_bundle(tmp_path / "a.fer"), threads=threads)


@pytest.mark.parametrize("device", [-1, "0", 0.0, None, False])
def test_devices_that_cannot_be_right_are_refused(device: Any) -> None:
    with pytest.raises(ConfigError, match=f"device is {device!r}; expected a whole number from 0, the first GPU"):
        RunOptions(device=device)
    assert RunOptions(threads=1024, device=7).device == 7


class Double(Runner):
    """A runner that gives what it is told, or raises it."""

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
def test_labels_that_do_not_fit_the_model_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...]
) -> None:
    runner = Double(np.zeros(shape, np.float32))
    monkeypatch.setattr(Bundle, "runner", lambda *_: runner)
    with pytest.raises(BundleError, match=r"a\.fer has 3 labels, but its model gives .*; expected \(1, 3\): build"):
        Recognizer.open(tiny_bundle(tmp_path / "a.fer"))
    assert runner.closed == 1


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("labels", [("a", "b"), ("a", "b", "c", "d")])
def test_a_bundle_with_labels_of_another_model_is_refused(tmp_path: Path, labels: tuple[str, ...], engine: str) -> None:
    path = tiny_bundle(tmp_path / "a.fer", labels=labels, words=())
    with pytest.raises(BundleError, match=f"has {len(labels)} labels, but its model gives probabilities of shape"):
        Recognizer.open(path, engine, threads=1)


def test_a_runner_that_fails_at_first_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_exceptions_of_engines_are_engine_errors(error: Exception, reason: str) -> None:
    images = np.zeros((2, 112, 112, 3), np.uint8)
    with pytest.raises(EngineError, match=rf"the engine failed on a batch of 2: {reason}") as caught:
        Double(error).infer(images)
    assert caught.value.__cause__ is error
    for passed in (InputError("ours"), KeyboardInterrupt()):
        with pytest.raises(type(passed)):
            Double(passed).infer(images)


def test_a_missing_bundle_is_named(tmp_path: Path) -> None:
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


def test_importing_the_package_pulls_in_no_heavy_library() -> None:
    code = (
        "import sys, fer_edge; "
        "print(sorted({'torch', 'onnx', 'openvino', 'onnxruntime', 'typer', 'rich'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_frame_leaves_no_copy_of_its_pixels(tmp_path: Path) -> None:
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


def test_predictions_are_kept_when_the_next_frame_comes(tmp_path: Path) -> None:
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


def test_openvino_is_imported_without_its_converter_until_that_is_wanted(tmp_path: Path) -> None:
    code = (
        "import sys; from fer_edge import Recognizer; Recognizer.open(sys.argv[1]).close();"
        "assert 'openvino.tools.ovc' not in sys.modules and 'openvino_telemetry' not in sys.modules;"
        "import openvino; print(openvino.convert_model.__module__, hasattr(openvino, 'nothing'))"
    )
    path = tiny_bundle(tmp_path / "a.fer")
    found = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)
    assert found.stdout.startswith("openvino.tools.ovc") and found.stdout.endswith("False\n"), found.stderr


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_batches_of_several_faces_are_ready_before_the_first_frame(tmp_path: Path, engine: str) -> None:
    path = tiny_bundle(tmp_path / "a.fer", max_batch=4)
    boxes = [(float(10 * index), 5.0, 60.0, 80.0) for index in range(3)]
    ran: list[int] = []
    infer = Runner.infer

    def told(runner: Runner, images: Images) -> Prediction:
        ran.append(len(images))
        return infer(runner, images)

    with mock.patch.object(Runner, "infer", told):
        recognizer = Recognizer.open(path, engine, threads=1, faces=3)
    assert ran == [1, 2, 3]
    with recognizer, mock.patch.object(OpenVINOEngine, "compile_network", side_effect=AssertionError("compiled")):
        for count in (1, 2, 3):
            assert len(recognizer.recognize_faces(FRAME, boxes[:count])) == count


def test_no_more_is_made_ready_than_was_tuned(tmp_path: Path) -> None:
    tuning = Tuning("openvino", machine_name(), 1, 1, 1, "p99=8", 1.0, 1.0)
    path = tiny_bundle(tmp_path / "a.fer", tunings=(tuning,))
    with (
        mock.patch.object(Bundle, "warm_runner", autospec=True, side_effect=Bundle.warm_runner) as warm,
        Recognizer.open(path, faces=3) as recognizer,
    ):
        assert recognizer.tuning == tuning
        assert warm.call_args.kwargs == {"largest": 1}


@pytest.mark.parametrize("faces", [0, -1, 9, True, "2", 1.5, None])
def test_numbers_of_faces_that_cannot_be_right_are_refused(tmp_path: Path, faces: Any) -> None:
    expected = rf"faces are {faces!r}; expected a whole number from 1 to 8, the bundle's largest batch"
    with pytest.raises(ConfigError, match=expected):
        Recognizer.open(tiny_bundle(tmp_path / "a.fer"), faces=faces)
