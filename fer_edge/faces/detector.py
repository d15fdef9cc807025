"""Face detector: faces in frames, with landmarks."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import replace
from typing import NoReturn, get_args

import numpy as np
import numpy.typing as npt

from fer_edge._files import as_path
from fer_edge.boxes import Box, find_region, parse_box
from fer_edge.choices import Detail
from fer_edge.crop import check_color, check_frame
from fer_edge.engines.base import RunOptions
from fer_edge.engines.graph import Graph
from fer_edge.engines.lifetime import OPENING, CallLock
from fer_edge.engines.registry import ENGINE_MODULES, get_engine
from fer_edge.errors import ConfigError, CopyError, EngineError, EngineUnavailableError, shown
from fer_edge.faces.face import Face, tilt_of
from fer_edge.faces.geometry import Square
from fer_edge.faces.mesh import FOLLOWING, MIN_PRESENCE, SINGLE, Mesh, MeshNetwork, Tolerance, square_around
from fer_edge.faces.networks import MAX_OVERLAP, overlap, recognize_network, suppress
from fer_edge.faces.search import Search
from fer_edge.shipped import face_network

ANGLES = (0.0, math.radians(30), -math.radians(30))  # of a face whose box alone is known, tried in this order
# Score of the detection above which a face without mesh counts. On scikit-image's pictures without a face, the highest
# score is 0.65, and the highest probability of a face by the mesh is 0.08.
MIN_SCORE_ALONE = 0.7
# Side of a face box in pixels. The recognizer is wrong for half of the smaller faces, and small frames, which are
# enlarged, contain patterns that look like them: 3 of 200 crops without a face.
MIN_BOX = 16
MAX_NETWORK_BYTES = 256 << 20


class FaceDetector:
    """Detector of faces in frames.

    Any thread may call it; calls run one after another. A detector cannot be pickled: open one in each process.

    Attributes:
        engine: Name of the engine: "openvino".
        network: Kind of the detection network: "BlazeFace", "YuNet" or "CenterFace".
        has_landmarks: Whether the face mesh is fitted to each face.

    >>> with FaceDetector.open() as detector, Recognizer.open() as recognizer:
    ...     for face in detector.detect(frame):
    ...         print(face.box, recognizer.recognize(frame, face).label)
    """

    def __init__(
        self, graph: Graph, mesh: MeshNetwork | None, *, engine: str, score: float | None, detail: Detail
    ) -> None:
        self.engine = engine
        self._network = recognize_network(graph.port, graph.outputs)
        self.network = self._network.title
        if score is None:
            score = self._network.threshold if mesh is None else self._network.threshold_with_mesh
        self._score = score
        self._search = Search(graph, self._network, detail)
        self._mesh = mesh
        self.has_landmarks = mesh is not None
        # Two locks: a tracker follows faces with the mesh while another thread searches.
        self._search_lock, self._mesh_lock = CallLock(), CallLock()
        self._closed = False

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str] | None = None,
        engine: str | None = None,
        threads: int | None = 1,
        *,
        score: float | None = None,
        detail: Detail = "normal",
        landmarks: bool = True,
    ) -> FaceDetector:
        """Open the networks, and run them once, so that the first frame takes no longer than the others.

        Args:
            path: Path of an ONNX file with another detection network, YuNet or CenterFace; None: the shipped network.
            engine: "openvino" or "onnxruntime"; None: the first that is installed.
            threads: Number of CPU threads, 1 by default; None: the engine's default.
            score: Smallest score of a detection, 0 to 1; None: 0.35 for the shipped network, or 0.5 without landmarks,
                0.7 for YuNet and 0.35 for CenterFace. A face that the mesh does not confirm needs 0.7.
            detail: Size of the frames that the network searches: "fast" for large faces only, "normal" by default,
                "fine" for small faces too, at three times the time.
            landmarks: Whether to fit the face mesh to each face, True by default. Crops are then aligned best.

        Raises:
            ConfigError: Argument out of range, file that cannot be read, or face networks that are not installed.
            EngineError: File that is not a supported network, or engine that is not installed or failed.
        """
        if detail not in get_args(Detail):
            raise ConfigError(f"detail is {shown(detail)}; expected one of: {', '.join(get_args(Detail))}")
        if score is not None and not (type(score) in (int, float) and 0 < score <= 1):
            raise ConfigError(f"score is {shown(score)}; expected a number above 0, up to 1")
        if engine is not None and engine not in detection_engines():
            raise ConfigError(f"engine is {shown(engine)}; faces are found by one of: {', '.join(detection_engines())}")
        options = RunOptions(threads=threads)
        model = face_network("detector") if path is None else _read_network(path)
        mesh_model = face_network("landmarks") if landmarks else None
        with OPENING:
            name = _first_installed() if engine is None else engine
            open_graph = get_engine(name).open_graph
            mesh = None if mesh_model is None else MeshNetwork(open_graph(mesh_model, options))
            try:
                detector = cls(open_graph(model, options), mesh, engine=name, score=score, detail=detail)
                detector._warm_up()
            except EngineError as error:
                if path is None:
                    raise
                raise _refused_network(path, error) from error
        return detector

    def _warm_up(self) -> None:
        frame = np.zeros((480, 640, 3), np.uint8)
        self._search.run(frame, self._score, "rgb")
        if self._mesh is not None:
            self._mesh.fit(frame, square_around((200, 200, 100, 100), 0.0))

    def detect(self, frame: npt.NDArray[np.uint8], *, color: str = "rgb") -> list[Face]:
        """Find the faces of a frame.

        Args:
            frame: uint8 array of shape (H, W, 3).
            color: Channel order of the frame: "rgb", the default, or "bgr", the order of OpenCV.

        Returns:
            Faces with boxes of at least 16 pixels, the largest first; empty without one.

        Raises:
            EngineError: The detector is closed, or the engine failed.
            InputError: Invalid frame or colour.
        """
        faces = self.search(frame, color=color)
        if self.has_landmarks:
            faces = [self._confirm(frame, face, color) for face in faces]
        return sorted(_distinct(filter(_is_certain, faces)), key=lambda face: -face.box[2])

    def search(self, frame: npt.NDArray[np.uint8], *, color: str = "rgb") -> list[Face]:
        """Find candidates by the detection network alone, without the mesh, which confirms and refines faces.

        Args:
            frame: uint8 array of shape (H, W, 3).
            color: Channel order of the frame: "rgb", the default, or "bgr", the order of OpenCV.

        Returns:
            Candidates without landmarks; with the default threshold of a detector with landmarks, some are not faces.

        Raises:
            EngineError: The detector is closed, or the engine failed.
            InputError: Invalid frame or colour.
        """
        check_frame(frame)
        check_color(color)
        with self._search_lock.exclusive():
            self._check_open()
            corners, scores, points = suppress(self._search.run(frame, self._score, color))
        boxes = map(self._network.face_box, corners)
        return [Face(box, float(score), rows) for box, score, rows in zip(boxes, scores, points, strict=True)]

    def fit(self, frame: npt.NDArray[np.uint8], face: Box | Face, *, color: str = "rgb") -> Face | None:
        """Fit the face mesh to a face whose place is known, from another detector or an earlier frame.

        Args:
            frame: uint8 array of shape (H, W, 3).
            face: Face of an earlier frame, or face box: x, y, width, height in pixels.
            color: Channel order of the frame: "rgb", the default, or "bgr", the order of OpenCV.

        Returns:
            The face, with a score of 1 for a box; None if the mesh does not find a face there. The mesh alone mistakes
            about 4 % of boxes without a face for one: `detect` is stricter.

        Raises:
            EngineError: The detector is closed or was opened without landmarks, or the engine failed.
            InputError: Invalid frame, box or colour.
        """
        check_frame(frame)
        check_color(color)
        score, tolerance = 1.0, SINGLE
        if isinstance(face, Face):
            squares, score, tolerance = [_square_of(face)], face.score, FOLLOWING
        else:
            box = parse_box(face)
            find_region(box, frame.shape[1], frame.shape[0])  # refuses boxes outside of the frame
            squares = [square_around(box, angle) for angle in ANGLES]
        for square in squares:
            mesh = self._fit(frame, square, color, tolerance)
            if mesh.presence >= MIN_PRESENCE:
                return Face(mesh.box, score, mesh.points, mesh.landmarks, mesh.presence)
        return None

    def _fit(self, frame: npt.NDArray[np.uint8], square: Square, color: str, tolerance: Tolerance) -> Mesh:
        with self._mesh_lock.exclusive():
            self._check_open()
            if self._mesh is None:
                raise EngineError("the face detector has no landmarks; open it with landmarks=True")
            return self._mesh.fit(frame, square, color=color, tolerance=tolerance)

    def _confirm(self, frame: npt.NDArray[np.uint8], face: Face, color: str) -> Face:
        mesh = self._fit(frame, _square_of(face), color, SINGLE)
        if mesh.presence < MIN_PRESENCE:
            return replace(face, presence=mesh.presence)
        return Face(mesh.box, face.score, mesh.points, mesh.landmarks, mesh.presence)

    def _check_open(self) -> None:
        if self._closed:
            raise EngineError("the face detector is closed; open it again")

    def close(self) -> None:
        """Release the engine after the call of another thread has returned; may be called several times."""
        self._closed = True
        for lock in (self._search_lock, self._mesh_lock):
            if lock.is_held() or lock.orphaned:  # the call of this thread, or of one that a fork left behind
                return
        with self._search_lock.exclusive(), self._mesh_lock.exclusive():
            self._search.clear()
            self._mesh = None

    def __repr__(self) -> str:
        return f"<FaceDetector {self.network} on {self.engine}, {'closed' if self._closed else 'open'}>"

    def __reduce__(self) -> NoReturn:
        """Refuse pickling and copying.

        Raises:
            CopyError: Always.
        """
        raise CopyError(
            "a face detector holds an engine of this process and cannot be pickled or copied; open it in each process: "
            "FaceDetector.open()"
        )

    def __enter__(self) -> FaceDetector:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _square_of(face: Face) -> Square:
    """Return the mesh's input for a face of an earlier frame, or of the detection network."""
    if face.landmarks is None:
        return square_around(face.box, tilt_of(face.points))
    return Mesh(face.landmarks, 1.0).square


def _is_certain(face: Face) -> bool:
    is_confirmed = face.presence is None or face.landmarks is not None or face.score >= MIN_SCORE_ALONE
    return is_confirmed and face.box[2] >= MIN_BOX


def _distinct(faces: Iterable[Face]) -> list[Face]:
    """Return faces that do not overlap: several detections may lead the mesh to the same face."""
    distinct: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.score):
        if all(overlap(_corners(face), _corners(other)[None])[0] <= MAX_OVERLAP for other in distinct):
            distinct.append(face)
    return distinct


def _corners(face: Face) -> npt.NDArray[np.float64]:
    x, y, width, height = face.box
    return np.array([x, y, x + width, y + height])


def detection_engines() -> list[str]:
    """Return the names of the engines that run the networks, in order of preference."""
    return [name for name in ENGINE_MODULES if get_engine(name).runs_graphs]


def detection_engine(name: str | None) -> str | None:
    """Return the engine for the networks beside a recognizer.

    Args:
        name: Engine of the recognizer; None: any.

    Returns:
        The same engine, or None for the first that is installed if it does not run the networks.
    """
    return name if name in detection_engines() else None


def _first_installed() -> str:
    """Return the first engine that is installed and runs here.

    Raises:
        EngineUnavailableError: None of them.
    """
    reasons = []
    for name in detection_engines():
        try:
            get_engine(name).check_runnable()
        except EngineUnavailableError as error:
            reasons.append(f"{name}: {error}")
        else:
            return name
    raise EngineUnavailableError(f"no engine finds faces here; {'; '.join(reasons)}")


def _refused_network(path: str | os.PathLike[str], error: EngineError) -> EngineError:
    """Return the error for a network of the caller; that of the engine refers to bundles."""
    cause = str(error).partition("; build or fetch the bundle again")[0]
    return EngineError(
        f"{os.fspath(path)}: {cause}; expected an ONNX file of YuNet, CenterFace or BlazeFace: fetch it again, or omit "
        "the path for the shipped network"
    )


def _read_network(path: str | os.PathLike[str]) -> bytes:
    file = as_path(path, "the face detection network", ConfigError)
    try:
        size = file.stat().st_size
        if size > MAX_NETWORK_BYTES:
            raise ConfigError(f"{file} has {size} bytes; face detection networks have at most {MAX_NETWORK_BYTES}")
        return file.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}; expected an ONNX file") from error
