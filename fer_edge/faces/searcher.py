"""Search for candidates of faces, in a thread of its own or in that of the caller."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fer_edge.errors import EngineError
from fer_edge.faces.detector import FaceDetector
from fer_edge.faces.face import Face
from fer_edge.faces.tracks import Track

Frame = npt.NDArray[np.uint8]


class Request(NamedTuple):
    """Frame to search."""

    frame: Frame
    color: str  # channel order of the frame
    time: float  # of the frame, in seconds
    places: Mapping[Track, Face]  # where the tracks were in this frame


class Candidates(NamedTuple):
    """Result of a request."""

    request: Request
    faces: list[Face]


class Searcher(ABC):
    """Receiver of requests."""

    @abstractmethod
    def request(self, request: Request) -> None:
        """Search a frame, now or after `begin`.

        Raises:
            EngineError: The searcher is closed, or the engine failed.
        """

    def begin(self) -> None:  # noqa: B027
        """Begin with the request: called when the frame is processed, so that both do not compete for the processor."""

    @abstractmethod
    def take(self) -> Candidates | None:
        """Return the result of the last finished request, once.

        Raises:
            FerEdgeError: Error of a request.
        """

    @abstractmethod
    def close(self) -> None:
        """Wait for the running request, and end."""


class CallingThread(Searcher):
    """Searcher that searches during the request."""

    def __init__(self, detector: FaceDetector) -> None:
        self._detector = detector
        self._result: Candidates | None = None

    def request(self, request: Request) -> None:
        self._result = Candidates(request, self._detector.search(request.frame, color=request.color))

    def take(self) -> Candidates | None:
        result, self._result = self._result, None
        return result

    def close(self) -> None:
        self._result = None


class OwnThread(Searcher):
    """Searcher with a thread, which copies frames; a request replaces the one that waits."""

    def __init__(self, detector: FaceDetector) -> None:
        self._detector = detector
        self._changes = threading.Condition()
        self._waiting: Request | None = None
        self._result: Candidates | Exception | None = None
        self._is_closed = False
        self._buffers: list[Frame] = []  # frames of finished requests, for reuse
        # A daemon, so that a program that does not close its tracker can exit.
        self._thread = threading.Thread(target=self._run, name="fer-edge-search", daemon=True)
        self._thread.start()

    def request(self, request: Request) -> None:
        with self._changes:
            if not self._thread.is_alive():
                raise EngineError("the thread of the face search has ended, as after a fork; open the tracker again")
            if self._waiting is not None:
                self._buffers.append(self._waiting.frame)
            buffer = self._buffers.pop() if self._buffers else request.frame[:0]
            if buffer.shape != request.frame.shape:
                buffer = np.empty(request.frame.shape, np.uint8)
            np.copyto(buffer, request.frame)
            self._waiting = request._replace(frame=buffer)

    def begin(self) -> None:
        with self._changes:
            if self._waiting is not None:
                self._changes.notify()

    def take(self) -> Candidates | None:
        with self._changes:
            result, self._result = self._result, None
        if isinstance(result, Exception):
            raise result
        return result

    def close(self) -> None:
        with self._changes:
            self._is_closed = True
            self._changes.notify()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changes:
                while self._waiting is None and not self._is_closed:
                    self._changes.wait()
                if self._is_closed or self._waiting is None:
                    return
                request, self._waiting = self._waiting, None
            result = self._search(request)
            with self._changes:
                self._buffers.append(request.frame)
                self._result = result

    def _search(self, request: Request) -> Candidates | Exception:
        try:
            return Candidates(request, self._detector.search(request.frame, color=request.color))
        except Exception as error:  # for the caller of `take`
            return error
