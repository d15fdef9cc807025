"""Threads that decode images and recognise faces, each with networks of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from io import BytesIO
from typing import Any, TypeVar

import msgspec

from fer_edge.boxes import XYWH
from fer_edge.bundle import Bundle
from fer_edge.choices import Detail
from fer_edge.document import Data, make_document, person_data
from fer_edge.engines.base import Images
from fer_edge.errors import EngineError, ImageError
from fer_edge.faces.detector import FaceDetector, detection_engine
from fer_edge.faces.tracker import ExpressionTracker
from fer_edge.images import read_image
from fer_edge.images.faults import detect_format
from fer_edge.loaded import LoadedModel
from fer_edge.recognizer import Recognizer

# Formats of clients that are not trusted. Decoders of others are larger, and libtiff writes to stderr by itself.
FORMATS = ("JPEG", "PNG", "WEBP")
HEAD = 4096  # bytes that contain the format
SOURCE = "request"  # in documents: an image that is sent has no name
T = TypeVar("T")


class Worker:
    """Thread with a recognizer and a face detector, which requests and cameras share.

    A tracker with networks of its own would need 110 MB; one on shared networks needs 20 kB.

    Args:
        bundle: Open bundle.
        engine: Name of the engine; None: the first that runs.
        threads: Number of CPU threads of each network; None: the engine's default.
        max_pixels: Largest number of pixels of an image.
    """

    def __init__(self, bundle: Bundle, engine: str | None, threads: int | None, max_pixels: int) -> None:
        self.waiting = 0  # number of calls that wait or run
        self.cameras = 0  # number of cameras whose trackers use the networks
        self._max_pixels, self._threads = max_pixels, threads
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="serve worker")
        self._detectors: dict[Detail, FaceDetector] = {}
        self._opening = asyncio.Lock()
        with ExitStack() as self._resources:
            self._recognizer = self._resources.enter_context(Recognizer.open(bundle, engine, threads))
            self._engine = detection_engine(self._recognizer.engine)
            self._open_detector("normal")
            self._resources = self._resources.pop_all()

    @property
    def model_hash(self) -> str:
        """SHA-256 of the model."""
        return self._recognizer.model_hash

    def load_model(self, bundle: Bundle) -> LoadedModel:
        """Load a model for `swap`, in the calling thread; errors as for `Recognizer.reload`."""
        return self._recognizer.prepare(bundle)

    def swap(self, model: LoadedModel) -> None:
        """Replace the model between two images; arguments and errors as for `Recognizer.swap`."""
        try:
            swap = self._executor.submit(self._recognizer.swap, model)
        except RuntimeError as error:  # after `close`
            raise EngineError("the server stops; the bundle is not loaded") from error
        swap.result()

    def _open_detector(self, detail: Detail) -> None:
        detector = FaceDetector.open(engine=self._engine, threads=self._threads, detail=detail)
        self._detectors[detail] = self._resources.enter_context(detector)

    async def prepare(self, detail: Detail) -> None:
        """Open the detector of a detail before its first use, beside the thread, so that other work continues."""
        if detail not in self._detectors:
            async with self._opening:
                if detail not in self._detectors:  # another request may have opened it meanwhile
                    await asyncio.to_thread(self._open_detector, detail)

    async def run(self, function: Callable[..., T], *arguments: object) -> T:
        """Call a function in the thread, after the calls that wait already."""
        self.waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, function, *arguments)
        finally:
            self.waiting -= 1

    def recognize(self, image: bytes | bytearray, boxes: Sequence[XYWH] | None, detail: Detail) -> tuple[bytes, int]:
        """Return the document of an image as JSON, and the number of faces; only for use in the thread.

        Args:
            image: Image file.
            boxes: Boxes of the faces; empty: the image is a face crop; None: faces are searched.
            detail: Size of the faces that are searched.

        Raises:
            ImageError: Image that cannot be decoded.
            InputError: Box that is outside of the image or in another form.
        """
        frame = self._decode(image)
        places: Sequence[Any] = self._detectors[detail].detect(frame) if boxes is None else boxes or [None]
        # One by one: an engine compiles a graph for batches, which takes longer than twenty faces.
        people = [person_data(self._recognizer.recognize(frame, place), place) for place in places]
        return _encode(make_document(SOURCE, people, size=(frame.shape[1], frame.shape[0]))), len(people)

    def _decode(self, image: bytes | bytearray) -> Images:
        kind = detect_format(BytesIO(image[:HEAD]))
        if kind and kind not in FORMATS:
            raise ImageError(f"the image is {kind}; expected {', '.join(FORMATS)}: convert it")
        return read_image(image, max_pixels=self._max_pixels)

    def open_tracker(self) -> ExpressionTracker:
        """Open a tracker on the networks of this worker."""
        return ExpressionTracker.open(detector=self._detectors["normal"], recognizer=self._recognizer, background=False)

    def track(self, tracker: ExpressionTracker, image: bytes, number: int, time: float) -> tuple[bytes, int]:
        """Return the document of a camera's frame as JSON, and the number of faces; only for use in the thread.

        Args:
            tracker: Tracker of the camera.
            image: Image file.
            number: Number of the frame.
            time: Time since the first frame in seconds.

        Raises:
            ImageError: Frame that cannot be decoded.
        """
        frame = self._decode(image)
        people = [person.to_dict() for person in tracker.update(frame, time)]
        size = frame.shape[1], frame.shape[0]
        return _encode(make_document(SOURCE, people, frame=number, time=time, size=size)), len(people)

    def close(self) -> None:
        """End the thread after the calls that wait, and release the networks."""
        self._executor.shutdown()
        self._resources.close()


def error_document(number: int, time: float, error: str) -> bytes:
    """Return the document of a frame that cannot be decoded, as JSON.

    Args:
        number: Number of the frame.
        time: Time since the first frame in seconds.
        error: Reason.
    """
    document: Data = make_document(SOURCE, [], frame=number, time=time)
    return _encode(document | {"error": error})


def _encode(document: Data) -> bytes:
    return msgspec.json.encode(document)
