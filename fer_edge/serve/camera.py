"""Camera of a client: frames that arrive over a WebSocket, of which the newest is recognised."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from fer_edge.errors import ImageError
from fer_edge.serve.workers import Worker, error_document

GOING_AWAY, WRONG_DATA, TOO_SLOW, INTERNAL_ERROR = 1001, 1003, 1008, 1011  # codes at the end of a WebSocket


class CameraFrame(NamedTuple):
    """Frame that waits.

    Attributes:
        number: Number of the frame, from 0.
        arrival: Time of its arrival in seconds, of the clock `time.monotonic`.
        image: Image file.
    """

    number: int
    arrival: float
    image: bytes


class Camera:
    """One WebSocket: frames in, documents out.

    A frame that arrives while another one is recognised waits; a newer one replaces it. Since a camera has at most one
    frame in the queue of its worker, cameras and requests take turns.

    Args:
        websocket: WebSocket of Starlette, which is accepted.
        worker: Worker that recognises the frames.
        timeout: Largest time in seconds from frame to frame.
        count: Function that counts a frame: "recognised", "dropped" or "damaged".
        observe: Function that is called with the number of faces of a frame, and its time from arrival to result.
    """

    def __init__(
        self,
        websocket: Any,
        worker: Worker,
        timeout: float,
        count: Callable[[str], None],
        observe: Callable[[int, float], None],
    ) -> None:
        self._websocket, self._worker, self._timeout = websocket, worker, timeout
        self._count, self._observe = count, observe
        self._newest: CameraFrame | None = None
        self._changed = asyncio.Event()
        self._end: tuple[int, str] | None = None  # code and reason of the server
        self._start = 0.0  # arrival of the first frame
        self._time = -1.0  # of the last frame

    async def run(self) -> None:
        """Send documents until the client leaves, or `stop` is called.

        Raises:
            FerEdgeError: Engine that failed.
            WebSocketDisconnect: Client that has left.
        """
        reading = asyncio.create_task(self._read())
        tracker = self._worker.open_tracker()
        self._worker.cameras += 1
        try:
            while (frame := await self._next()) is not None:
                document = await self._recognize(tracker, frame)
                await self._websocket.send_text(document.decode())
            if self._end is not None:
                await self._websocket.close(*self._end)
        finally:
            reading.cancel()
            self._worker.cameras -= 1
            await self._worker.run(tracker.close)

    def stop(self, code: int = GOING_AWAY, reason: str = "the server stops") -> None:
        """End the connection after the frame that is being recognised.

        Args:
            code: Code for the client.
            reason: Reason for the client, at most 123 bytes.
        """
        self._end = self._end or (code, reason)
        self._changed.set()

    async def _next(self) -> CameraFrame | None:
        """Wait for a frame, and return it; None at the end."""
        while self._newest is None and self._end is None:
            await self._changed.wait()
            self._changed.clear()
        frame, self._newest = self._newest, None
        return frame if self._end is None else None

    async def _recognize(self, tracker: Any, frame: CameraFrame) -> bytes:
        """Return the document of a frame; of a damaged one, that with its error."""
        # Later than the last one, as a tracker expects, even if the clock is coarse.
        self._time = max(frame.arrival - self._start, self._time + 1e-5)
        try:
            document, faces = await self._worker.run(self._worker.track, tracker, frame.image, frame.number, self._time)
        except ImageError as error:
            self._count("damaged")
            return error_document(frame.number, self._time, str(error))
        self._count("recognised")
        self._observe(faces, time.monotonic() - frame.arrival)
        return document

    async def _read(self) -> None:
        """Store the newest frame, until the client leaves."""
        number = 0
        try:
            while self._end is None:
                message = await asyncio.wait_for(self._websocket.receive(), self._timeout)
                if message["type"] == "websocket.disconnect":
                    return
                if message.get("bytes") is None:
                    self.stop(WRONG_DATA, "the message is text; expected a JPEG, PNG or WebP file")
                    return
                if self._newest is not None:
                    self._count("dropped")
                now = time.monotonic()
                self._start = self._start or now
                self._newest = CameraFrame(number, now, message["bytes"])
                number += 1
                self._changed.set()
        except asyncio.TimeoutError:  # TimeoutError from Python 3.11 on
            self.stop(TOO_SLOW, f"no frame arrived for {self._timeout:g} s")
        finally:
            self.stop(GOING_AWAY, "")
