"""Fallback to another engine of the bundle, and invalid outputs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from fer_edge import Bundle, Recognizer
from fer_edge.bundle import EngineEntry, write_bundle
from fer_edge.engines.base import Images, Prediction, Runner, RunOptions
from fer_edge.engines.openvino.engine import OpenVINOEngine
from fer_edge.engines.outputs import check_prediction
from fer_edge.errors import BundleError, BundleMismatchError, EngineError, EngineUnavailableError, NonFiniteError
from fer_edge.evaluation.open_model import open_model
from tests.tiny import LABELS, tiny_bundle, tiny_manifest, tiny_onnx

FRAME = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
OPENVINO = EngineEntry("openvino", ("cpu",), "1", None, None)
ONNXRUNTIME = EngineEntry("onnxruntime", ("cpu",), "1", None, None)
GPU = EngineEntry("tensorrt-rtx", ("sm89",), "1.7", "engines/rtx.engine", "plan9-mips")
FUTURE = EngineEntry("abacus", ("cpu",), "1", None, None)


def bundle_with(path: Path, *engines: EngineEntry) -> Path:
    members = {"model.onnx": tiny_onnx(), **({"engines/rtx.engine": b"engine"} if GPU in engines else {})}
    write_bundle(path, tiny_manifest(engines=engines), members)
    return path


def raise_unavailable(*_: object) -> Any:
    raise EngineUnavailableError("OpenVINO cannot be imported; run: pip install openvino")


def test_first_runnable_engine_is_used_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = bundle_with(tmp_path / "a.fer", GPU, FUTURE, OPENVINO, ONNXRUNTIME)
    with caplog.at_level(logging.WARNING, "fer_edge"), Recognizer.open(path, threads=1) as recognizer:
        assert recognizer.engine == "openvino"
        assert recognizer.recognize(FRAME).label in LABELS
    [record] = caplog.records
    assert record.name == "fer_edge" and "\n" not in record.getMessage()
    assert "other engines" not in record.getMessage()
    assert record.getMessage().startswith(
        f"{path} runs on openvino; not on tensorrt-rtx: the tensorrt-rtx engine was built for plan9-mips; this machine"
    )
    assert "; abacus: unknown to this version of fer-edge; update fer-edge" in record.getMessage()


def test_nothing_is_logged_if_the_first_engine_runs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Recognizer.open(bundle_with(tmp_path / "a.fer", ONNXRUNTIME, GPU), threads=1) as recognizer:
        assert recognizer.engine == "onnxruntime"
    assert not caplog.records


def test_all_ways_to_open_a_bundle_select_the_same_engine(tmp_path: Path) -> None:
    path = bundle_with(tmp_path / "a.fer", GPU, ONNXRUNTIME)
    bundle = Bundle.open(path)
    assert bundle.entry().engine == "tensorrt-rtx"
    assert bundle.runnable_entry().engine == "onnxruntime"
    assert bundle.runnable_entry("tensorrt-rtx").engine == "tensorrt-rtx"
    for runner in (bundle.runner(), bundle.warm_runner()):
        with runner:
            assert runner.title == "ONNX Runtime"
    opened = open_model(path)
    assert opened.engine == "onnxruntime"
    opened.runner.close()


def test_requested_engine_is_not_replaced(tmp_path: Path) -> None:
    path = bundle_with(tmp_path / "a.fer", GPU, OPENVINO, ONNXRUNTIME)
    with pytest.raises(BundleMismatchError, match="was built for plan9-mips") as raised:
        Recognizer.open(path, "tensorrt-rtx")
    assert str(raised.value).count("the bundle's other engines: openvino, onnxruntime") == 1


def test_engine_that_fails_on_loading_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Any:
        raise EngineError("out of memory")

    monkeypatch.setattr(OpenVINOEngine, "load", fail)
    with pytest.raises(EngineError, match="out of memory"):
        Recognizer.open(bundle_with(tmp_path / "a.fer", OPENVINO, ONNXRUNTIME))


def test_error_lists_the_reason_of_each_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OpenVINOEngine, "load", raise_unavailable)
    monkeypatch.setattr(OpenVINOEngine, "check_runnable", raise_unavailable)
    path = bundle_with(tmp_path / "a.fer", GPU, OPENVINO)
    expected = (
        r"a\.fer has no engine that runs here; tensorrt-rtx: the tensorrt-rtx engine was built for plan9-mips; .*; "
        r"openvino: OpenVINO cannot be imported; run: pip install openvino$"
    )
    for attempt in (Recognizer.open, lambda path: Bundle.open(path).runnable_entry()):
        with pytest.raises(EngineUnavailableError, match=expected):
            attempt(path)


def test_error_of_the_only_engine_is_raised(tmp_path: Path) -> None:
    with pytest.raises(BundleMismatchError, match=r"a\.fer: the tensorrt-rtx engine was built for plan9-mips"):
        Recognizer.open(bundle_with(tmp_path / "a.fer", GPU))


def test_misspelt_engine_gets_a_suggestion(tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path / "a.fer")
    for name, hint in (("Openvino", "openvino"), ("onnx-runtime", "onnxruntime")):
        with pytest.raises(BundleError, match=rf"has no engine '{name}'; it has: openvino, .*; did you mean {hint}\?"):
            Recognizer.open(path, name)
    with pytest.raises(BundleError, match=r"has no engine 5; it has: openvino, onnxruntime$"):
        Recognizer.open(path, 5)  # type: ignore[arg-type]
    with pytest.raises(BundleError, match=r"has no engine tensorrt; .*Add one with: fer-edge .*add-engine .*a\.fer"):
        Recognizer.open(path, "tensorrt")


def with_nodes(*nodes: onnx.NodeProto, **constants: np.ndarray[Any, Any]) -> bytes:
    """Return the tiny model with nodes that compute `label_logits` from its original output, `label_logits_0`."""
    model = onnx.load_from_string(tiny_onnx())
    graph = model.graph
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == "label_logits":
                    names[index] = "label_logits_0"
    graph.node.extend(nodes)
    graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in constants.items())
    return model.SerializeToString()


def one_row() -> bytes:
    """Return a model that outputs the first image's logits only."""
    node = onnx.helper.make_node("Gather", ["label_logits_0", "first"], ["label_logits"], axis=0, name="gather")
    return with_nodes(node, first=np.array([0], np.int64))


def zero_divided_by(divisor: float) -> bytes:
    """Return a model whose logits are zero divided by a value: NaN for 0."""
    nodes = [
        onnx.helper.make_node("Mul", ["label_logits_0", "none"], ["zeros"], name="zeros"),
        onnx.helper.make_node("Div", ["zeros", "divisor"], ["label_logits"], name="quotient"),
    ]
    return with_nodes(*nodes, none=np.zeros(1, np.float32), divisor=np.array([divisor], np.float32))


def write_and_open(path: Path, model: bytes) -> Bundle:
    write_bundle(path, tiny_manifest(), {"model.onnx": model})
    return Bundle.open(path)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_wrong_number_of_output_rows_is_refused(tmp_path: Path, engine: str) -> None:
    images = np.zeros((4, 112, 112, 3), np.uint8)
    with write_and_open(tmp_path / "a.fer", one_row()).warm_runner(engine, RunOptions(threads=1)) as runner:
        assert len(runner.infer(images[:1]).label_logits) == 1
        with pytest.raises(
            EngineError, match=r"returned 1 rows of label_logits for 4 images: .*build the bundle again"
        ):
            runner.infer(images)
        assert len(runner.infer(images, checked=False).label_logits) == 1


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_model_with_nan_outputs_is_not_opened(tmp_path: Path, engine: str) -> None:
    path = write_and_open(tmp_path / "a.fer", zero_divided_by(0)).path
    expected = r"a\.fer: the model's outputs are NaN or infinite for image 1 of the batch of 1 \(label_logits\)"
    with pytest.raises(NonFiniteError, match=expected):
        Recognizer.open(path, engine, threads=1)
    with write_and_open(tmp_path / "b.fer", zero_divided_by(1)).warm_runner(engine) as runner:
        assert not runner.infer(np.zeros((1, 112, 112, 3), np.uint8)).label_logits.any()


class ReplacedValue(Runner):
    """Runner that replaces one value of one output."""

    def __init__(self, output: int, value: float) -> None:
        super().__init__(4)
        self.output, self.value = output, value

    def _infer(self, images: Images) -> Prediction:
        outputs = [np.full((len(images), 3), 1 / 3, np.float32) for _ in range(3)]
        outputs[self.output][2, 1] = self.value
        return Prediction(*outputs)


@pytest.mark.parametrize("output", [0, 1, 2])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_error_names_the_image_with_nonfinite_outputs(output: int, value: float) -> None:
    runner = ReplacedValue(output, value)
    images = np.zeros((4, 112, 112, 3), np.uint8)
    name = Prediction._fields[output]
    expected = rf"the model's outputs are NaN or infinite for image 3 of the batch of 4 \({name}\)"
    with pytest.raises(NonFiniteError, match=expected):
        runner.infer(images)
    with pytest.raises(NonFiniteError, match=expected):
        Recognizer(runner, LABELS).recognize_faces(FRAME, [None] * 4)
    assert not np.isfinite(runner.infer(images, checked=False)[output]).all()  # type: ignore[arg-type]


def test_missing_text_logits_are_not_checked() -> None:
    row = np.full((1, 3), 1 / 3, np.float32)
    check_prediction(Prediction(row, None, row), 1)
