"""Frames: from the frame of a camera to the smoothed expressions of all faces, by a tracker, at 30 Hz."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt

from fer_edge.benchmark.drawn_face import draw_frames
from fer_edge.benchmark.formatting import PERCENTILE_COLUMNS, in_percent, percent, percentile_cells, with_interval
from fer_edge.benchmark.scenario import Scenario, Session
from fer_edge.benchmark.scenarios.open_loop import MAX_BACKLOG
from fer_edge.benchmark.statistics import Distribution, Estimate, distribution_from_samples, share_estimate, trend
from fer_edge.benchmark.workload import clock, no_garbage_collection
from fer_edge.engines.base import Runner
from fer_edge.environment import memory_mb
from fer_edge.errors import ConfigError, DataError
from fer_edge.faces.detector import FaceDetector
from fer_edge.faces.tracker import ExpressionTracker
from fer_edge.recognizer import Recognizer
from fer_edge.results import Quantity, Table
from fer_edge.shipped import face_network

COUNTS = (1, 2, 3, 5)  # faces in a frame
RATE = 30.0  # frames per second
WARM_UP = 60  # frames
PART_SHARE = 0.1  # time for each part alone, as a share of that of the run
MIN_PARTS = 10  # measurements of each part

Frames = Sequence[npt.NDArray[np.uint8]]


@dataclass(frozen=True)
class FramesRun:
    """Result of one number of faces."""

    faces: Annotated[int, Quantity(key="{} faces")]
    width: int  # of the frame, in pixels
    height: int
    frames: int  # number of frames that were due
    late: Annotated[int, Quantity("late frames")]  # finished after the next one was due, or never started
    late_share: Annotated[Estimate, Quantity("late", "share")]
    fresh_share: Annotated[float, Quantity("recognised faces", "share")]  # of the faces in all frames
    cpu_share: Annotated[float, Quantity("CPU time", "share of one core")]  # of all threads of the process
    memory_slope: Annotated[Estimate, Quantity("memory", "MB per minute")]
    latency: Distribution  # from due time to result
    parts: dict[str, Distribution]  # each alone: search for faces, then of all faces mesh, crops and model


def run_frames(
    tracker: ExpressionTracker, frames: Frames, faces: int, seconds: float, progress: Callable[[float], None]
) -> FramesRun:
    """Process frames at 30 Hz, none of which is dropped. A machine that is 1 s late does not keep up: the run ends.

    Args:
        tracker: Open tracker.
        frames: Frames, which are repeated.
        faces: Number of faces in each frame.
        seconds: Duration of the run.
        progress: Callback that receives the finished share, 0 to 1.
    """
    count = max(2, round(seconds * RATE))
    latencies: list[int] = []
    memory, fresh = [], 0
    for index in range(WARM_UP):
        tracker.update(frames[index % len(frames)])
        time.sleep(1 / RATE)
    with no_garbage_collection():
        start, busy = clock(), time.process_time()
        for index in range(count):
            due = start + round(index * 1e9 / RATE)
            while (remaining := due - clock()) > 0:
                time.sleep(remaining / 1e9)  # spinning would count as CPU time
            fresh += sum(person.fresh for person in tracker.update(frames[index % len(frames)]))
            latencies.append(clock() - due)
            if latencies[-1] > MAX_BACKLOG * 1e9:
                break
            if index % round(RATE) == 0:
                memory.append(memory_mb())
                progress(index / count)
        share = (time.process_time() - busy) / ((clock() - start) / 1e9)
    late = sum(latency > 1e9 / RATE for latency in latencies) + count - len(latencies)
    minutes = np.arange(len(memory)) / 60
    return FramesRun(
        faces=faces,
        width=frames[0].shape[1],
        height=frames[0].shape[0],
        frames=count,
        late=late,
        late_share=share_estimate(late, count),
        fresh_share=fresh / (faces * len(latencies)),
        cpu_share=share,
        memory_slope=trend(minutes, np.array(memory, np.float64)) if len(memory) > 1 else Estimate(0.0),
        latency=distribution_from_samples(np.array(latencies)),
        parts={},
    )


def time_parts(
    detector: FaceDetector, recognizer: Recognizer, frame: npt.NDArray[np.uint8], seconds: float
) -> dict[str, Distribution]:
    """Measure each part alone, on the faces of one frame.

    Args:
        detector: Open detector.
        recognizer: Open recognizer.
        frame: The frame.
        seconds: Minimum duration of each measurement.
    """
    faces = detector.detect(frame)[: recognizer.runner.max_batch]
    crops = recognizer.preprocess(frame, faces).copy()
    parts: dict[str, Callable[[], Any]] = {
        "search": lambda: detector.search(frame),
        "mesh": lambda: [detector.fit(frame, face) for face in faces],
        "crops": lambda: recognizer.preprocess(frame, faces),
        "model": lambda: recognizer.runner.infer(crops),
    }
    return {name: distribution_from_samples(np.array(_durations(part, seconds))) for name, part in parts.items()}


def _durations(part: Callable[[], Any], seconds: float) -> list[int]:
    durations: list[int] = []
    with no_garbage_collection():
        while len(durations) < MIN_PARTS or sum(durations) < seconds * 1e9:
            started = clock()
            part()
            durations.append(clock() - started)
    return durations


class FramesScenario(Scenario[list[FramesRun]]):
    """From frame to expressions."""

    title = "Frames"
    about = (
        "A tracker finds, follows and recognises all faces of 640 x 480 frames with drawn faces, or of the image, at "
        "30 Hz. Latency counts from the due time; a frame is late if it finishes after the next one was due."
    )
    order = 45
    settings = frozenset({"seconds"})
    several = True

    def unsupported_reason(self, engine: str, runner: Runner, device: int) -> str:
        try:
            face_network("detector")
        except ConfigError as error:
            return str(error)
        return ""

    def run(self, session: Session) -> list[FramesRun]:
        with FaceDetector.open(threads=session.options.threads or 1) as detector:
            scenes = self._scenes(session, detector)
            return [
                self._run(session, detector, frames, faces, index, len(scenes))
                for index, (faces, frames) in enumerate(scenes.items())
            ]

    def _scenes(self, session: Session, detector: FaceDetector) -> dict[int, Frames]:
        """Return frames by number of faces: drawn, or the image.

        Raises:
            DataError: Image without a face.
        """
        workload = session.plan.workload
        if workload.source == "synthetic":
            return {count: draw_frames(count) for count in COUNTS}
        faces = detector.detect(workload.frame)
        if not faces:
            raise DataError(f"no face in {workload.source}; name a photograph with one, or omit it: faces are drawn")
        return {len(faces): [workload.frame]}

    def _run(
        self, session: Session, detector: FaceDetector, frames: Frames, faces: int, index: int, count: int
    ) -> FramesRun:
        seconds, batch = session.plan.seconds, min(faces, session.bundle.manifest.max_batch)
        options = replace(session.options, threads=session.options.threads or 1)
        with (
            Recognizer.open(session.bundle, session.engine, options=options, faces=batch) as recognizer,
            ExpressionTracker.open(detector=detector, recognizer=recognizer, faces=faces) as tracker,
        ):
            result = run_frames(tracker, frames, faces, seconds, session.part(index, count))
            return replace(result, parts=time_parts(detector, recognizer, frames[0], PART_SHARE * seconds))

    def tables(self, result: list[FramesRun]) -> list[Table]:
        rows = tuple(
            (
                run.faces,
                run.frames,
                with_interval(in_percent(run.late_share), 2),
                *percentile_cells(run.latency),
                percent(run.cpu_share),
                f"{run.memory_slope.value:+.2f}",
            )
            for run in result
        )
        columns = ("faces", "frames", "late %", *PERCENTILE_COLUMNS, "CPU", "MB/min")
        parts = tuple(
            (run.faces, *(f"{run.parts[name].p50.value:.2f}" for name in run.parts), percent(run.fresh_share))
            for run in result
        )
        return [
            Table(f"frames at {RATE:g} Hz: latency from due time to result, CPU time of one core", columns, rows),
            Table("parts alone, p50 in ms", ("faces", *result[0].parts, "recognised"), parts),
        ]

    def tiles(self, result: list[FramesRun]) -> list[tuple[str, str]]:
        first = result[0]
        return [(f"p99 of a frame, faces: {first.faces}", f"{first.latency.p99.value:.2f} ms")]


SCENARIO = FramesScenario()
