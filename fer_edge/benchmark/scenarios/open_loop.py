"""Open loop: frames come when the camera sends them, whether the last one is done or not.

Latency counts from the moment a frame was due, so a slow frame also delays those behind it in the account. A closed
loop would ask for fewer frames while the machine is slow and never see them late (coordinated omission).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fer_edge.benchmark.scenarios.checks import check_positive
from fer_edge.benchmark.statistics import Distribution, Estimate, distribution_from_samples, share_estimate
from fer_edge.benchmark.workload import Clock, Query, clock, no_garbage_collection

RATES = (30.0, 60.0, 90.0)
LARGEST_BACKLOG = 1.0  # seconds: so far behind, the machine does not keep up, and waiting for it tells nothing more
SPIN = 1_000_000  # nanoseconds before a frame is due; sleep is not trusted with them


@dataclass(frozen=True)
class OpenLoop:
    """One frame rate."""

    rate: float  # frames a second
    frames: int  # that were due
    late: int  # not done when the next frame was due, or never begun
    late_share: Estimate
    busy_share: float  # of the time, spent on frames
    keeps_up: bool  # none was done a second late, and all took no longer than the time in which they came
    latency: Distribution  # from when a frame was due to its result, of those begun


def run_open_loop(
    query: Query,
    rate: float,
    seconds: float,
    *,
    now: Clock = clock,
    sleep: Callable[[float], None] = time.sleep,
    progress: Callable[[float], None] = lambda share: None,
) -> OpenLoop:
    """Serve frames at a rate, first come, first served; none is dropped.

    Args:
        query: Serves one frame.
        rate: Frames a second.
        seconds: How long frames come.
        now: The clock that `query` uses.
        sleep: Waits for so many seconds.
        progress: Told the share that is done.

    Raises:
        ConfigError: The rate or the seconds are not above 0, or too many to count.
    """
    check_positive("the rate", rate)
    check_positive("the number of seconds", seconds)
    period = 1e9 / rate
    frames = max(1, round(seconds * rate))
    latencies, busy = [], 0
    query()  # what was loaded has rested: the first frame must not pay for it
    with no_garbage_collection():
        start = now() + int(period)
        for frame in range(frames):
            due = start + round(frame * period)
            _wait_until(due, now, sleep)
            stamps = query()
            latencies.append(stamps[-1] - due)
            busy += stamps[-1] - stamps[0]
            if latencies[-1] > LARGEST_BACKLOG * 1e9:
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
        # Of a short run the backlog is small, so being busy for longer than the frames came counts too.
        keeps_up=latencies[-1] <= LARGEST_BACKLOG * 1e9 and busy <= frames * period,
        latency=distribution_from_samples(np.array(latencies)),
    )


def _wait_until(due: int, now: Clock, sleep: Callable[[float], None]) -> None:
    """Sleep, and spin for the last millisecond; return at once if it is late already."""
    while (left := due - now()) > 0:
        if left > SPIN:
            sleep((left - SPIN) / 1e9)
