"""Video source: a thread that reads frames, and hands the newest one or each one to its consumer."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from fer_edge.engines.base import Images
from fer_edge.errors import ConfigError, VideoError, shown
from fer_edge.images import MAX_PIXELS
from fer_edge.video.address import Address, parse_address
from fer_edge.video.clock import Clock
from fer_edge.video.reel import Capture, FolderReel, Reel

FIRST_WAIT, LONGEST_WAIT = 0.5, 10.0  # seconds before a source that broke off is opened again; doubled each time
JOIN_SECONDS = 15.0  # longer than opening and reading may take


@dataclass(frozen=True, eq=False)
class VideoFrame:
    """Frame of a source.

    Attributes:
        image: uint8 RGB (H, W, 3), upright.
        time: Seconds since the first frame, from the timestamps of the source; it increases from frame to frame.
        arrival: Time on the monotonic clock, in seconds, at which the frame arrived, or was taken from a recording.
        index: Number of the frame, counted from 0, dropped frames included.
    """

    image: Images
    time: float
    arrival: float
    index: int


@dataclass(frozen=True)
class SourceState:
    """Connection and counts of a source.

    Attributes:
        status: "connected", "reconnecting" or "ended".
        message: Reason for a reconnection or an early end; empty otherwise.
        live: Whether frames arrive as they are taken.
        frames: Frames read.
        dropped: Frames replaced by newer ones before the consumer took them.
        damaged: Frames skipped since they could not be decoded.
        reconnections: Successful reconnections.
    """

    status: str = "connected"
    message: str = ""
    live: bool = False
    frames: int = 0
    dropped: int = 0
    damaged: int = 0
    reconnections: int = 0


class Source:
    """Frames of a camera, file, stream, folder or pipe.

    Of a live source (a camera, stream or pipe), `read` returns the newest frame, and older ones are dropped. Recordings
    (files and folders) deliver every frame. Cameras and streams that break off are opened again. The first `read`
    starts a thread. Close a source, or use it as a context manager, so that the thread ends.

    Attributes:
        title: Name for messages, without the password of a URL.
        is_live: Whether frames arrive as they are taken.
        length: Number of frames of a recording, about; None if it is unknown.

    >>> with open_source(0) as source:
    ...     for frame in source:
    ...         print(frame.time, frame.image.shape)
    """

    def __init__(
        self, address: Address, open_reel: Callable[[threading.Event], Reel], *, pace: bool = False, loop: bool = False
    ) -> None:
        self._open_reel = open_reel
        self._stop = threading.Event()
        reel = open_reel(self._stop)
        self.title = address.title
        self.is_live, self.length = reel.is_live, reel.length
        self._reconnects = reel.is_live and address.kind in ("camera", "stream")
        self._pace, self._loop = pace and not reel.is_live, loop and not reel.is_live
        self._clock = Clock(live=reel.is_live, endless=self._reconnects)
        self._state = SourceState(live=reel.is_live)
        self._slot: VideoFrame | None = None
        self._changed = threading.Condition()
        self._error: Exception | None = None
        self._paced_from: float | None = None
        self._reel: Reel | None = reel  # until the thread starts
        self._thread = threading.Thread(target=self._run, args=(reel,), name="video source", daemon=True)

    @property
    def state(self) -> SourceState:
        """Connection and counts; a source has not ended before its last frame was read."""
        with self._changed:
            is_waiting = self._slot is not None and self._state.status == "ended"
            return replace(self._state, status="connected") if is_waiting else self._state

    def read(self, timeout: float | None = None) -> VideoFrame | None:
        """Wait for the next frame; of a live source, the newest one that was not returned yet.

        Args:
            timeout: Longest wait in seconds; None: without limit.

        Returns:
            The frame; None at the end of the source, or after the timeout. `state` has the difference.

        Raises:
            VideoError: Source that cannot be read any more.
        """
        with self._changed:
            if self._reel is not None and not self._stop.is_set():
                self._reel = None
                self._thread.start()
            self._changed.wait_for(lambda: self._slot is not None or self._state.status == "ended", timeout)
            frame, self._slot = self._slot, None
            if frame is None and self._error is not None:
                raise self._error
            self._changed.notify_all()  # of a recording, the thread waits for the free slot
        if frame is not None and not self.is_live:
            return replace(frame, arrival=time.monotonic())  # a frame of a recording is never late
        return frame

    def __iter__(self) -> Iterator[VideoFrame]:
        while (frame := self.read()) is not None:
            yield frame

    def close(self) -> None:
        """End the thread, and release file or device; may be called several times."""
        self._stop.set()
        with self._changed:
            reel, self._reel = self._reel, None
            self._changed.notify_all()
        if reel is not None:
            reel.close()
            self._state = replace(self._state, status="ended")
        if self._thread.ident is not None:
            self._thread.join(JOIN_SECONDS)
        if self._thread.is_alive():
            logging.getLogger("fer_edge").warning("%s does not respond; its thread is still waiting", self.title)
        with self._changed:
            self._slot = None

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, reel: Reel | None) -> None:
        """Read reel after reel until the source ends or is closed."""
        error: Exception | None = None
        try:
            while reel is not None:
                reason = self._read_all(reel)
                reel = None if self._stop.is_set() else self._next_reel(reason)
        except Exception as failure:
            error = failure
        with self._changed:
            self._error = error
            self._state = replace(self._state, status="ended", message="" if error is None else str(error))
            self._changed.notify_all()

    def _next_reel(self, reason: str) -> Reel | None:
        """Open the source again: after a break, or to repeat it; return None at its end."""
        self._clock.restart()
        if self._loop and self.state.frames:
            return self._open_reel(self._stop)
        if not self._reconnects:
            return None
        wait = FIRST_WAIT
        while not self._stop.is_set():
            self._update(status="reconnecting", message=reason)
            if self._stop.wait(wait):
                break
            wait = min(2 * wait, LONGEST_WAIT)
            try:
                reel = self._open_reel(self._stop)
            except VideoError as error:
                reason = str(error)
                continue
            return reel
        return None

    def _read_all(self, reel: Reel) -> str:
        """Read a reel to its end, and return the reason for the end of a live one."""
        damaged = self.state.damaged
        try:
            while not self._stop.is_set():
                decoded = reel.read()
                if reel.damaged:
                    self._update(damaged=damaged + reel.damaged)
                if decoded is None:
                    return f"{self.title} ended"
                self._deliver(*decoded, reel.period)
        except VideoError as error:
            if not self._reconnects:
                raise
            return str(error)
        finally:
            reel.close()
        return ""

    def _deliver(self, image: Images, stamp: float | None, period: float) -> None:
        """Put a frame into the slot: at once of a live source, else when it is free and the frame is due."""
        arrival = time.monotonic()
        moment = self._clock.time(stamp, arrival, period)
        if self._pace:
            self._wait_until_due(moment, arrival)
        with self._changed:
            if not self.is_live:
                self._changed.wait_for(lambda: self._slot is None or self._stop.is_set())
            state = self._state
            self._slot, dropped = (
                VideoFrame(image, moment, arrival, state.frames),
                self._slot is not None,
            )
            self._state = replace(
                state,
                status="connected",
                message="",
                frames=state.frames + 1,
                dropped=state.dropped + dropped,
                reconnections=state.reconnections + (state.status == "reconnecting"),
            )
            self._changed.notify_all()

    def _wait_until_due(self, moment: float, arrival: float) -> None:
        """Wait until a frame of a recording is due at normal speed."""
        if self._paced_from is None:
            self._paced_from = arrival - moment
        late = arrival - (self._paced_from + moment)
        if late > 0:
            self._paced_from += late  # a consumer that is slower than the recording slows it down
        self._stop.wait(max(-late, 0))

    def _update(self, **changes: object) -> None:
        with self._changed:
            self._state = replace(self._state, **changes)  # type: ignore[arg-type]
            self._changed.notify_all()


def open_source(
    source: str | int | os.PathLike[str],
    *,
    size: tuple[int, int] | None = None,
    fps: float | None = None,
    max_pixels: int = MAX_PIXELS,
    pace: bool = False,
    loop: bool = False,
) -> Source:
    """Open a video source.

    Cameras, files, streams and pipes need the extra `video` (PyAV); a folder of images does not.

    Args:
        source: Index of a camera (0), its device (/dev/video0) or a part of its name; path of a video, folder of images
            or named pipe; URL of an RTSP or HTTP stream; "-" for standard input. A pipe is a live source.
        size: Width and height in pixels that a camera is set to; None: its own.
        fps: Frames per second that a camera is set to, or that a folder of images has; None: its own, or 25.
        max_pixels: Largest number of pixels of a frame, 89478485 by default.
        pace: Whether a recording is delivered at normal speed, instead of as fast as it is read. False by default.
        loop: Whether a recording is repeated without end. False by default.

    Raises:
        ConfigError: Source that is not a camera, path or URL, or another argument out of range.
        EngineUnavailableError: PyAV is not installed.
        VideoError: Source that is missing, unreadable or without video.
    """
    if type(max_pixels) is not int or max_pixels < 1:
        raise ConfigError(f"max_pixels is {shown(max_pixels)}; expected a whole number from 1")
    if fps is not None and not 0 < fps <= 1000:
        raise ConfigError(f"fps is {shown(fps)}; expected frames per second above 0, up to 1000")
    if size is not None and not (len(size) == 2 and min(size) >= 1):
        raise ConfigError(f"size is {shown(size)}; expected width and height in pixels")
    address = parse_address(source)
    _check_effect(address, size=size is not None, fps=fps is not None, loop=loop)
    capture = Capture(max_pixels, size, fps)

    def open_reel(stop: threading.Event) -> Reel:
        if address.kind == "folder":
            from pathlib import Path

            return FolderReel(Path(address.location), capture)
        from fer_edge.video.container import ContainerReel

        return ContainerReel(address, capture, stop)

    return Source(address, open_reel, pace=pace, loop=loop)


def _check_effect(address: Address, **is_set: bool) -> None:
    """Refuse arguments that have no effect on a kind of source.

    Raises:
        ConfigError: Argument without effect.
    """
    kinds = {"size": ("camera",), "fps": ("camera", "folder"), "loop": ("file", "folder", "stream")}
    for name, kind in kinds.items():
        if is_set[name] and address.kind not in kind:
            raise ConfigError(
                f"{name} has no effect on {address.title}, a {address.kind}; it applies to: {', '.join(kind)}"
            )
