"""Open loop: frames arrive at a fixed rate, whether or not the last one has finished.

Latency counts from a frame's due time, so one slow frame also delays the frames behind it. A closed loop would send
fewer frames while the machine is slow and would never measure that delay (coordinated omission).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fer_edge.benchmark.arguments import check_positive
from fer_edge.benchmark.formatting import PERCENTILE_COLUMNS, in_percent, percent, percentile_cells, with_interval
from fer_edge.benchmark.statistics import Distribution, Estimate, distribution_from_samples, share_estimate
from fer_edge.benchmark.workload import Clock, Query, clock, no_garbage_collection
from fer_edge.results import Table

RATES = (30.0, 60.0, 90.0)
MAX_BACKLOG = 1.0  # seconds; a machine that is this late does not keep up, and the run ends
SPIN = 1_000_000  # nanoseconds before the due time that are spent spinning, because sleep may oversleep
KEEPS_UP = "`keeps up` is false if frames take longer than the frame interval, or if any frame is 1 s late"


@dataclass(frozen=True)
class OpenLoop:
    """Result of one frame rate."""

    rate: float  # frames per second
    frames: int  # number of frames that were due
    late: int  # frames that finished after the next one was due, or were never started
    late_share: Estimate
    busy_share: float  # share of the time spent processing frames
    keeps_up: bool  # no frame was 1 s late, and all frames together took no longer than the time they arrived in
    latency: Distribution  # of the started frames, from due time to result


def run_open_loop(
    query: Query,
    rate: float,
    seconds: float,
    *,
    now: Clock = clock,
    sleep: Callable[[float], None] = time.sleep,
    progress: Callable[[float], None] = lambda share: None,
) -> OpenLoop:
    """Process frames at a rate, first come, first served, without dropping any.

    Args:
        query: Query that processes one frame.
        rate: Frames per second.
        seconds: Duration of the run.
        now: Clock that `query` uses.
        sleep: Function that waits for a number of seconds.
        progress: Callback that receives the finished share, 0 to 1.

    Raises:
        ConfigError: Rate or duration that is not a positive number within the range of the clock.
    """
    check_positive("the rate", rate)
    check_positive("seconds", seconds)
    period = 1e9 / rate
    frames = max(1, round(seconds * rate))
    latencies, busy = [], 0
    query()  # the first frame must not include caches and clocks that went idle after loading
    with no_garbage_collection():
        start = now() + int(period)
        for frame in range(frames):
            due = start + round(frame * period)
            _wait_until(due, now, sleep)
            stamps = query()
            latencies.append(stamps[-1] - due)
            busy += stamps[-1] - stamps[0]
            if latencies[-1] > MAX_BACKLOG * 1e9:
                break
            if frame % max(1, int(rate)) == 0:
                progress(frame / frames)
    late = sum(latency > period for latency in latencies) + frames - len(latencies)
    return OpenLoop(
        rate=rate,
        frames=frames,
        late=late,
        late_share=share_estimate(late, frames),
        busy_share=busy / max(len(latencies) * period, stamps[-1] - start),
        # The backlog of a short run stays small, so the total processing time counts too.
        keeps_up=latencies[-1] <= MAX_BACKLOG * 1e9 and busy <= frames * period,
        latency=distribution_from_samples(np.array(latencies)),
    )


def _wait_until(due: int, now: Clock, sleep: Callable[[float], None]) -> None:
    """Sleep until 1 ms before `due`, then spin; return at once if it has passed."""
    while (remaining := due - now()) > 0:
        if remaining > SPIN:
            sleep((remaining - SPIN) / 1e9)


def tables(results: Sequence[OpenLoop]) -> list[Table]:
    """Return late frames and latency by frame rate."""
    rows = tuple(
        (
            f"{result.rate:g}",
            result.frames,
            with_interval(in_percent(result.late_share), 2),
            *percentile_cells(result.latency),
            percent(result.busy_share),
            "yes" if result.keeps_up else "NO",
        )
        for result in results
    )
    columns = ("Hz", "frames", "late %", *PERCENTILE_COLUMNS, "busy", "keeps up")
    return [Table("open loop; latency from due time to result, late: after the next frame was due", columns, rows)]


def notes(results: Sequence[OpenLoop]) -> list[str]:
    """Explain `keeps up` where a rate has none."""
    return [] if all(result.keeps_up for result in results) else [KEEPS_UP]
