from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fer_edge import FaceDetector
from fer_edge.engines.graph import Port
from fer_edge.errors import EngineError
from fer_edge.faces.networks import (
    BlazeFace,
    CenterFace,
    Detections,
    YuNet,
    join,
    overlap,
    recognize_network,
    suppress,
)

BYTES, FLOATS = np.dtype(np.uint8), np.dtype(np.float32)
YUNET_OUTPUTS = tuple(f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in (8, 16, 32))


def test_networks_are_recognised_by_their_outputs() -> None:
    nhwc, nchw = Port("images", (None, None, None, 3), BYTES), Port("input", (1, 3, None, None), FLOATS)
    assert isinstance(recognize_network(nhwc, ("boxes", "scores")), BlazeFace)
    assert isinstance(recognize_network(nchw, YUNET_OUTPUTS), YuNet)
    assert isinstance(recognize_network(nchw, ("537", "538", "539", "540")), CenterFace)
    for port, outputs in ((nchw, ("boxes", "scores")), (nhwc, YUNET_OUTPUTS), (nchw, ("a", "b", "c"))):
        with pytest.raises(EngineError, match=r"is not a supported face detector; expected YuNet \(12 outputs"):
            recognize_network(port, outputs)


def test_blazeface_is_decoded() -> None:
    scores = np.full((1, 16 * 32, 1), -100.0, np.float32)  # for an input of 128 x 64 pixels
    boxes = np.zeros((1, 16 * 32, 16), np.float32)
    cell = 3 * 32 + 5  # row 3, column 5: anchor (22, 14)
    scores[0, cell] = 2.0
    boxes[0, cell, :10] = [1, 2, 20, 30, -4, -3, 6, -3, 1, 0]  # centre, sides, left eye, right eye, nose
    boxes[0, cell, 10:12] = [1, 8]  # middle of the mouth
    detections = BlazeFace().decode({"boxes": boxes, "scores": scores}, (128, 64), 0.5)
    assert detections.corners.tolist() == [[13, 1, 33, 31]]
    assert detections.scores == pytest.approx([0.8808], abs=1e-4)
    assert detections.points[0, :3].tolist() == [[18, 11], [28, 11], [23, 14]]
    assert detections.points[0, 3:].tolist() == [pytest.approx((23 - 4.15, 22)), pytest.approx((23 + 4.15, 22))]
    assert len(BlazeFace().decode({"boxes": boxes, "scores": scores}, (128, 64), 0.9).scores) == 0


def yunet_outputs(width: int, height: int) -> dict[str, npt.NDArray[Any]]:
    """Return the outputs for a face at row 2, column 3 of stride 16."""
    outputs = {}
    for stride in (8, 16, 32):
        cells = (width // stride) * (height // stride)
        for kind, channels in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            outputs[f"{kind}_{stride}"] = np.zeros((1, cells, channels), np.float32)
    cell = 2 * (width // 16) + 3
    outputs["cls_16"][0, cell], outputs["obj_16"][0, cell] = 0.9, 1.6  # more than 1 is clipped
    outputs["bbox_16"][0, cell] = [0.5, 0.25, np.log(4), np.log(5)]
    outputs["kps_16"][0, cell] = [-0.5, -0.5, 1.5, -0.5, 0.5, 0.5, -0.25, 1.5, 1.25, 1.5]
    return outputs


def test_yunet_is_decoded() -> None:
    detections = YuNet().decode(yunet_outputs(160, 96), (160, 96), 0.7)
    assert detections.corners == pytest.approx(np.array([[24, -4, 88, 76]]), abs=1e-4)
    assert detections.scores == pytest.approx([0.9**0.5])
    assert detections.points[0].tolist() == [[40, 24], [72, 24], [56, 40], [44, 56], [68, 56]]
    assert YuNet().face_box(detections.corners[0]) == pytest.approx((18, -2, 76, 76), abs=1e-4)


def test_centerface_is_decoded() -> None:
    heatmap, scale, offset, landmarks = (np.zeros((1, channels, 8, 8), np.float32) for channels in (1, 2, 2, 10))
    heatmap[0, 0, 5, 4] = 0.8
    scale[0, :, 5, 4] = np.log(4), np.log(3)  # height, width in cells
    offset[0, :, 5, 4] = 0.25, 0.5  # y, x
    landmarks[0, :, 5, 4] = [0.25, 0.25, 0.25, 0.75, 0.5, 0.5, 0.75, 0.25, 0.75, 0.75]  # y, x
    outputs = {"1": heatmap, "2": scale, "3": offset, "4": landmarks}
    detections = CenterFace().decode(outputs, (32, 32), 0.35)
    assert detections.corners == pytest.approx(np.array([[14, 15, 26, 31]]), abs=1e-4)
    assert detections.points[0] == pytest.approx(np.array([(17, 19), (23, 19), (20, 23), (17, 27), (23, 27)]), abs=1e-4)


def detections_of(*rows: tuple[float, float, float, float, float]) -> Detections:
    values = np.array(rows, np.float64).reshape(-1, 5)
    points = np.repeat(values[:, None, :2], 5, axis=1)
    return Detections(values[:, :4], values[:, 4], points)


def test_overlapping_detections_are_merged_by_score() -> None:
    merged = suppress(detections_of((0, 0, 10, 10, 0.3), (100, 0, 110, 10, 0.5), (2, 0, 12, 10, 0.9)))
    assert merged.scores.tolist() == [0.9, 0.5]
    assert merged.corners.tolist() == [pytest.approx((1.5, 0, 11.5, 10)), [100, 0, 110, 10]]
    assert merged.points[0, 0] == pytest.approx((1.5, 0))


def test_empty_boxes_are_dropped() -> None:
    rows = [(0, 0, 10, 10, 0.3), (5, 5, 5, 9, 0.9), (8, 0, 2, 10, 0.8), (0, float("nan"), 10, 10, 0.7)]
    assert suppress(detections_of(*rows)).scores.tolist() == [0.3]


def test_no_detections_stay_none() -> None:
    nothing = join([detections_of(), detections_of()])
    assert nothing.points.shape == (0, 5, 2)
    assert suppress(nothing).corners.shape == (0, 4)


def test_overlap_of_boxes() -> None:
    first = np.array([0.0, 0, 10, 10])
    others = np.array([(0.0, 0, 10, 10), (5, 0, 15, 10), (10, 0, 20, 10), (3, 3, 3, 3)])
    assert overlap(first, others) == pytest.approx([1, 1 / 3, 0, 0])
    assert overlap(np.zeros(4), np.zeros((1, 4))) == pytest.approx([0])


def write_yunet(path: Path, shape: tuple[int | str, ...]) -> None:
    """Write a graph with YuNet's input and outputs, which are those of `yunet_outputs` for every image."""
    nodes, outputs, constants = [], [], []
    for name, values in yunet_outputs(640, 480).items():
        constants.append(numpy_helper.from_array(values, f"{name}_values"))
        nodes.append(helper.make_node("Add", [f"{name}_values", "zero"], [name]))
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, list(values.shape)))
    constants.append(numpy_helper.from_array(np.zeros(1, np.float32), "none"))
    nodes.insert(0, helper.make_node("ReduceMean", ["input"], ["mean"], keepdims=0))
    nodes.insert(1, helper.make_node("Mul", ["mean", "none"], ["zero"]))
    port = helper.make_tensor_value_info("input", TensorProto.FLOAT, list(shape))
    graph = helper.make_graph(nodes, "yunet", [port], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, path)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("shape", [(1, 3, 480, 640), (1, 3, "height", "width")])
def test_own_network_is_used_by_path(engine: str, shape: tuple[int | str, ...], tmp_path: Path) -> None:
    write_yunet(tmp_path / "yunet.onnx", shape)
    with FaceDetector.open(tmp_path / "yunet.onnx", engine, landmarks=False) as detector:
        assert detector.network == "YuNet"
        (face,) = detector.detect(np.zeros((960, 1280, 3), np.uint8))
        assert face.points[0].tolist() == [80, 48]  # (40, 24) in an input of 640 x 480
        assert face.box == pytest.approx((36, -4, 152, 152), abs=1e-3)
