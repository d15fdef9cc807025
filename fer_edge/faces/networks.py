"""Face detection networks: recognised by the outputs of their graph, and decoded to boxes and five points."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from fer_edge.boxes import XYWH
from fer_edge.choices import Detail
from fer_edge.engines.graph import Port
from fer_edge.errors import EngineError

Outputs = Mapping[str, npt.NDArray[Any]]
Size = tuple[int, int]  # width and height in pixels
Floats = npt.NDArray[np.floating[Any]]
MAX_OVERLAP = 0.3  # intersection over union above which two detections are of the same face


class Detections(NamedTuple):
    """Detections in pixels of an input, or of a frame."""

    corners: Floats  # (N, 4): left, top, right, bottom
    scores: Floats  # (N,), 0 to 1
    points: Floats  # (N, 5, 2), in the order of `Face.points`

    def move(self, scale: tuple[float, float], shift: tuple[float, float]) -> Detections:
        """Return the detections with x and y scaled and then shifted."""
        return Detections(
            self.corners * np.tile(scale, 2) + np.tile(shift, 2), self.scores, self.points * scale + np.asarray(shift)
        )


class Network(ABC):
    """A kind of detection network.

    Attributes:
        title: Name in messages.
        sizes: Input sizes by detail, each as width and height of a landscape frame; all are searched.
        threshold: Default of the smallest score, without face mesh.
        threshold_with_mesh: The same if the face mesh confirms each detection.
        framing: Side of the face box divided by the height of the network's box, and shift of its centre right and
            down as parts of that side. Medians on FERPlus.
        bgr: Whether channels are in the order of OpenCV.
    """

    title: ClassVar[str]
    sizes: ClassVar[Mapping[Detail, tuple[Size, ...]]]
    threshold: ClassVar[float]
    threshold_with_mesh: ClassVar[float]
    framing: ClassVar[tuple[float, float, float]]
    bgr: ClassVar[bool] = False
    multiple: ClassVar[int]  # sides of the input are multiples of it

    @abstractmethod
    def decode(self, outputs: Outputs, size: Size, threshold: float) -> Detections:
        """Convert outputs for an input of `size` to detections with at least the score `threshold`."""

    def face_box(self, corners: Floats) -> XYWH:
        """Return the face box for the corners of a detection."""
        left, top, right, bottom = map(float, corners)
        factor, shift_x, shift_y = self.framing
        side = factor * (bottom - top)
        x, y = (left + right) / 2 + shift_x * side, (top + bottom) / 2 + shift_y * side
        return x - side / 2, y - side / 2, side, side


class BlazeFace(Network):
    """MediaPipe's BlazeFace, full range, converted by `scripts/fetch_faces.py`; it has one anchor per 4 x 4 pixels."""

    title = "BlazeFace"
    sizes: ClassVar[Mapping[Detail, tuple[Size, ...]]] = {
        "fast": ((128, 128),),
        "normal": ((256, 192), (128, 128)),
        "fine": ((384, 320), (192, 192), (64, 64)),
    }
    threshold = 0.5
    # Of 80 FERPlus faces turned by 30 degrees, 80 % have a score of 0.5; 10 % have less, and the mesh confirms them.
    threshold_with_mesh = 0.35
    framing = 1.10, 0.0, -0.046
    multiple = 64
    stride = 4
    mouth_width = 0.83  # distance of the corners of the mouth divided by that of the eyes: that of the alignment target

    def decode(self, outputs: Outputs, size: Size, threshold: float) -> Detections:
        scores = sigmoid(outputs["scores"].reshape(-1))
        hits = np.flatnonzero(scores >= threshold)
        values = outputs["boxes"].reshape(len(scores), 8, 2)[hits].astype(np.float64)
        rows, columns = np.divmod(hits, size[0] // self.stride)
        anchors = (np.stack([columns, rows], axis=1) + 0.5) * self.stride
        centers, sides = values[:, 0] + anchors, values[:, 1]
        corners = np.concatenate([centers - sides / 2, centers + sides / 2], axis=1)
        left, right, nose, mouth = (values[:, index] + anchors for index in range(2, 6))
        half = (right - left) * (self.mouth_width / 2)
        return Detections(corners, scores[hits], np.stack([left, right, nose, mouth - half, mouth + half], axis=1))


class YuNet(Network):
    """YuNet of OpenCV's model zoo, from 2023 on: outputs cls, obj, bbox and kps for strides of 8, 16 and 32."""

    title = "YuNet"
    sizes: ClassVar[Mapping[Detail, tuple[Size, ...]]] = {
        "fast": ((320, 256),),
        "normal": ((640, 480),),
        "fine": ((1280, 960),),
    }
    threshold = threshold_with_mesh = 0.7
    framing = 0.95, 0.0, 0.0
    bgr = True
    multiple = 32
    strides = (8, 16, 32)

    def decode(self, outputs: Outputs, size: Size, threshold: float) -> Detections:
        parts = [self._decode_stride(outputs, size, threshold, stride) for stride in self.strides]
        return join(parts)

    def _decode_stride(self, outputs: Outputs, size: Size, threshold: float, stride: int) -> Detections:
        classes, objects = (outputs[f"{kind}_{stride}"].reshape(-1) for kind in ("cls", "obj"))
        scores = np.sqrt(np.clip(classes, 0, 1) * np.clip(objects, 0, 1))
        hits = np.flatnonzero(scores >= threshold)
        rows, columns = np.divmod(hits, size[0] // stride)
        cells = np.stack([columns, rows], axis=1).astype(np.float64)
        boxes = outputs[f"bbox_{stride}"].reshape(-1, 4)[hits]
        centers, sides = (cells + boxes[:, :2]) * stride, np.exp(boxes[:, 2:]) * stride
        points = (cells[:, None] + outputs[f"kps_{stride}"].reshape(-1, 5, 2)[hits]) * stride
        return Detections(np.concatenate([centers - sides / 2, centers + sides / 2], axis=1), scores[hits], points)


class CenterFace(Network):
    """CenterFace: heatmap, scale, offset and landmarks, one cell per 4 pixels."""

    title = "CenterFace"
    sizes = YuNet.sizes
    threshold = threshold_with_mesh = 0.35
    framing = 1.07, -0.01, -0.01
    multiple = 32
    stride = 4

    def decode(self, outputs: Outputs, size: Size, threshold: float) -> Detections:
        heatmap, scale, offset, landmarks = outputs.values()  # their names are numbers
        rows, columns = np.nonzero(heatmap[0, 0] >= threshold)
        cells = np.stack([columns, rows], axis=1)
        sides = np.exp(scale[0, ::-1, rows, columns].astype(np.float64)) * self.stride
        centers = (cells + offset[0, ::-1, rows, columns] + 0.5) * self.stride
        first = np.maximum(centers - sides / 2, 0)
        values = landmarks[0, :, rows, columns].reshape(-1, 5, 2)[:, :, ::-1]
        points = values * sides[:, None] + first[:, None]
        return Detections(np.concatenate([first, first + sides], axis=1), heatmap[0, 0, rows, columns], points)


def recognize_network(port: Port, outputs: tuple[str, ...]) -> Network:
    """Return the kind of a detection network.

    Args:
        port: Its input.
        outputs: Names of its outputs.

    Raises:
        EngineError: Another graph.
    """
    if set(outputs) == {"boxes", "scores"} and port.shape[-1] == 3:
        return BlazeFace()
    channels_first = len(port.shape) == 4 and port.shape[1] == 3 and port.dtype == np.float32
    if channels_first and set(outputs) == {f"{k}_{s}" for k in ("cls", "obj", "bbox", "kps") for s in YuNet.strides}:
        return YuNet()
    if channels_first and len(outputs) == 4:
        return CenterFace()
    raise EngineError(
        f"the graph with outputs {', '.join(outputs)} is not a supported face detector; expected YuNet (12 outputs: "
        "cls_8 to kps_32), CenterFace (4 outputs) or BlazeFace as fer-edge converts it (boxes, scores)"
    )


def join(parts: list[Detections]) -> Detections:
    """Return the detections of several inputs together."""
    return Detections(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def suppress(detections: Detections) -> Detections:
    """Merge overlapping detections: the mean of their boxes and points, weighted by score, and the largest score.

    Empty boxes, which a network may give for a strange image, are dropped.
    """
    order = np.argsort(-detections.scores, kind="stable")
    order = order[(detections.corners[order, 2:] > detections.corners[order, :2]).all(axis=1)]
    corners, scores, points = (values[order] for values in detections)
    merged = []
    while len(scores):
        same = overlap(corners[0], corners) > MAX_OVERLAP
        same[0] = True
        weights = scores[same] / scores[same].sum()
        merged.append((weights @ corners[same], scores[0], np.tensordot(weights, points[same], axes=1)))
        corners, scores, points = corners[~same], scores[~same], points[~same]
    if not merged:
        return Detections(corners, scores, points)
    return Detections(*(np.stack(values) for values in zip(*merged, strict=True)))


def overlap(first: Floats, others: Floats) -> Floats:
    """Return intersection over union of a box and each of several boxes, given by their corners."""
    sides = np.minimum(first[2:], others[:, 2:]) - np.maximum(first[:2], others[:, :2])
    shared = np.prod(np.maximum(sides, 0), axis=1)
    areas = np.prod(others[:, 2:] - others[:, :2], axis=1)
    union: Floats = np.prod(first[2:] - first[:2]) + areas - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def sigmoid(values: Floats) -> Floats:
    """Return the logistic function of an array."""
    return 1 / (1 + np.exp(-np.clip(values, -80, 80)))
