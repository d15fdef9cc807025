"""Live session: the loop from the frames of a source to tracked expressions and outputs."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fer_edge.errors import VideoError
from fer_edge.live.output import Output, Update
from fer_edge.video import Source, SourceState, VideoFrame, open_source

if TYPE_CHECKING:
    from fer_edge.bundle import Bundle
    from fer_edge.faces.tracker import ExpressionTracker, TrackedFace

WAIT_SECONDS = 0.2  # longest wait for a frame before the state of the source is looked at
RATE_SECONDS = 2.0  # over which the rate of results is measured
LATENCIES = 10_000  # latest ones that percentiles are computed from


@dataclass(frozen=True)
class LiveSummary:
    """Counts of a live session.

    Attributes:
        frames: Frames with a result.
        dropped: Frames of a live source that were older than the newest when the loop was ready.
        damaged: Frames skipped since they could not be decoded.
        reconnections: Number of times that the source was opened again.
        latency_p50_ms: Median time from the arrival of a frame to its result in ms, of the last 10,000 frames; None
            without frames.
        latency_p99_ms: 99th percentile of the same.
    """

    frames: int
    dropped: int
    damaged: int
    reconnections: int
    latency_p50_ms: float | None
    latency_p99_ms: float | None

    def __str__(self) -> str:
        counts = [f"{self.frames} frame{'s'[: self.frames != 1]}"]
        counts += [f"{self.dropped} dropped"] if self.dropped else []
        counts += [f"{self.damaged} damaged"] if self.damaged else []
        counts += [f"{self.reconnections} reconnection{'s'[: self.reconnections != 1]}"] if self.reconnections else []
        if self.latency_p50_ms is not None:
            counts += [f"latency {self.latency_p50_ms:.1f} ms at the median, {self.latency_p99_ms:.1f} ms at p99"]
        return ", ".join(counts)


class LiveSession:
    """Loop from a source to its outputs.

    The session closes source, tracker and outputs.

    Args:
        source: Open source.
        tracker: Open tracker.
        outputs: Receivers of the results.

    >>> with LiveSession.open("clip.mp4", outputs=[PageServer()]) as session:
    ...     print(session.run())
    """

    def __init__(self, source: Source, tracker: ExpressionTracker, outputs: Sequence[Output] = ()) -> None:
        self.source = source
        self._tracker = tracker
        self._outputs = list(outputs)
        self._stop = threading.Event()
        self._time = 0.0
        self._frames = 0
        self._latencies: deque[float] = deque(maxlen=LATENCIES)
        self._moments: deque[float] = deque()  # of the results of the last seconds
        self._resources = ExitStack()
        self._resources.callback(tracker.close)
        self._resources.callback(source.close)  # first: it would deliver frames to nobody
        try:
            for output in self._outputs:
                self._resources.callback(output.close)
                output.open(source.title)
        except BaseException:
            self._resources.close()
            raise

    @classmethod
    def open(
        cls,
        source: str | int | os.PathLike[str],
        bundle: str | os.PathLike[str] | Bundle = "edge",
        *,
        outputs: Sequence[Output] = (),
        engine: str | None = None,
        threads: int = 1,
        faces: int = 4,
        **options: Any,
    ) -> LiveSession:
        """Open source, tracker and outputs.

        Args:
            source: Camera, path, URL or "-", as for `open_source`.
            bundle: Path of a bundle, or an open one; "edge", the default: the shipped bundle.
            outputs: Receivers of the results.
            engine: Engine of the bundle; None: the first that runs on this machine.
            threads: Number of CPU threads, 1 by default.
            faces: Largest number of faces recognised in one frame, 4 by default.
            options: Further arguments of `open_source`.

        Raises:
            FerEdgeError: Source, bundle or engine that cannot be opened.
        """
        from fer_edge.faces.tracker import ExpressionTracker

        with ExitStack() as stack:
            frames = stack.enter_context(open_source(source, **options))
            # A recording gives the same results each time if frames wait for the detector.
            tracker = ExpressionTracker.open(
                bundle, engine=engine, threads=threads, faces=faces, background=frames.is_live
            )
            stack.callback(tracker.close)
            session = cls(frames, tracker, outputs)
            stack.pop_all()
        return session

    def run(self, seconds: float | None = None, stop_signal: Callable[[], int] = lambda: 0) -> LiveSummary:
        """Recognise frames until the source ends, `stop` is called, or the time is over.

        Args:
            seconds: Length in seconds; None: without limit.
            stop_signal: Function that returns the number of a signal that ends the loop after the current frame, or 0.

        Raises:
            VideoError: Source that cannot be read any more.
        """
        end = None if seconds is None else time.monotonic() + seconds
        reported = self.source.state
        while not (self._stop.is_set() or stop_signal()) and (end is None or time.monotonic() < end):
            try:
                frame = self.source.read(WAIT_SECONDS)
            except VideoError:
                self._send(None, (), self.source.state)
                raise
            state = self.source.state
            if frame is not None:
                self._send(frame, self._tracker.update(frame.image, frame.time), state)
            elif (state.status, state.message) != (reported.status, reported.message):
                self._send(None, (), state)
            reported = state
            if frame is None and state.status == "ended":
                break
        return self.summary()

    def _send(self, frame: VideoFrame | None, people: Sequence[TrackedFace], state: SourceState) -> None:
        now = time.monotonic()
        latency = None
        if frame is not None:
            latency = now - frame.arrival
            self._latencies.append(latency)
            self._time = frame.time
            self._frames += 1
            self._moments.append(now)
        while self._moments and now - self._moments[0] > RATE_SECONDS:
            self._moments.popleft()
        update = Update(people, self._time, frame, latency, self._rate(), state, self.source.title)
        for output in self._outputs:
            output.send(update)

    def _rate(self) -> float:
        if len(self._moments) < 2:
            return 0.0
        return (len(self._moments) - 1) / max(self._moments[-1] - self._moments[0], 1e-6)

    def summary(self) -> LiveSummary:
        """Return the counts so far."""
        state = self.source.state
        p50, p99 = (
            (float(value) for value in 1000 * np.percentile(self._latencies, (50, 99)))
            if self._latencies
            else (None,) * 2
        )
        return LiveSummary(self._frames, state.dropped, state.damaged, state.reconnections, p50, p99)

    def reload(self) -> None:
        """Load the bundle again, whose file was replaced, between two frames; may be called from another thread.

        Raises:
            FerEdgeError: Bundle that cannot be used or has other labels; the former model stays in use.
        """
        self._tracker.reload()

    def stop(self) -> None:
        """End `run` after the current frame; may be called from any thread or a signal handler."""
        self._stop.set()

    def close(self) -> None:
        """Close outputs, source and tracker, and join their threads; may be called several times."""
        self._resources.close()

    def __enter__(self) -> LiveSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
