"""Open loop: frames arrive at a fixed rate, whether or not the last one has finished.

Latency counts from a frame's due time, so one slow frame also delays the frames behind it. A closed loop would send
fewer frames while the machine is slow and would never measure that delay (coordinated omission).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from fer_edge.benchmark.drawing import Figure, Plot, new_figure
from fer_edge.benchmark.formatting import PERCENTILE_COLUMNS, in_percent, percent, percentile_cells, with_interval
from fer_edge.benchmark.scenario import Scenario, Session, Stamps
from fer_edge.benchmark.statistics import Distribution, Estimate, distribution_from_samples, share_estimate
from fer_edge.benchmark.workload import Clock, Query, clock, no_garbage_collection, recognition
from fer_edge.html.theme import INK, LINE, SERIES
from fer_edge.results import Quantity, Table

MAX_BACKLOG = 1.0  # seconds; a machine that is this late does not keep up, and the run ends
SPIN = 1_000_000  # nanoseconds before the due time that are spent spinning, because sleep may oversleep
KEEPS_UP = "`keeps up` is false if frames take longer than the frame interval, or if any frame is 1 s late"


@dataclass(frozen=True)
class OpenLoop:
    """Result of one frame rate."""

    rate: Annotated[float, Quantity(key="{:g} Hz")]  # frames per second
    frames: int  # number of frames that were due
    late: Annotated[int, Quantity("late frames")]  # finished after the next one was due, or never started
    late_share: Annotated[Estimate, Quantity("late", "share")]
    busy_share: Annotated[float, Quantity("busy", "share")]  # share of the time spent processing frames
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
    """
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


class OpenLoopScenario(Scenario[list[OpenLoop]]):
    """Frames at a fixed rate."""

    title = "Open loop"
    about = (
        "Frames arrive at a fixed rate, whether or not the last one has finished. Latency counts from the due time; a "
        "frame is late if it finishes after the next one was due."
    )
    order = 40
    settings = frozenset({"rates", "seconds"})
    several = True

    def run(self, session: Session) -> list[OpenLoop]:
        query, plan = recognition(session.recognizer, session.plan.workload), session.plan
        return [
            run_open_loop(query, rate, plan.seconds, progress=session.part(index, len(plan.rates)))
            for index, rate in enumerate(plan.rates)
        ]

    def tables(self, result: list[OpenLoop]) -> list[Table]:
        rows = tuple(
            (
                f"{loop.rate:g}",
                loop.frames,
                with_interval(in_percent(loop.late_share), 2),
                *percentile_cells(loop.latency),
                percent(loop.busy_share),
                "yes" if loop.keeps_up else "NO",
            )
            for loop in result
        )
        columns = ("Hz", "frames", "late %", *PERCENTILE_COLUMNS, "busy", "keeps up")
        return [Table("open loop; latency from due time to result, late: after the next frame was due", columns, rows)]

    def notes(self, result: list[OpenLoop]) -> list[str]:
        return [] if all(loop.keeps_up for loop in result) else [KEEPS_UP]

    def plots(self, result: list[OpenLoop], stamps: Stamps | None) -> list[Plot]:
        text = "Percentiles of latency at each frame rate, and the limit of late frames."
        return [Plot(lambda: draw_open_loop(result), text)]

    def tiles(self, result: list[OpenLoop]) -> list[tuple[str, str]]:
        fastest = max(result, key=lambda loop: loop.rate)
        return [(f"late at {fastest.rate:g} Hz", f"{100 * fastest.late_share.value:.2f} %")]


def draw_open_loop(results: Sequence[OpenLoop]) -> Figure:
    """Draw percentiles of latency at each frame rate, and the limit of late frames."""
    figure, axes = new_figure(0.9 + 0.62 * len(results))
    names = ("p50", "p90", "p99")
    for row, result in enumerate(results):
        values = [getattr(result.latency, name).value for name in names]
        axes.plot(values, [row] * 3, color=LINE, linewidth=3, zorder=1, solid_capstyle="round")
        for color, marker, name, value in zip(SERIES, "osD", names, values, strict=False):
            axes.scatter(value, row, s=36, color=color, marker=marker, zorder=2, label=name if row == 0 else None)
        deadline = 1000 / result.rate
        axes.plot([deadline] * 2, [row - 0.35, row + 0.35], color=INK, linewidth=1.6)
        axes.text(deadline, row + 0.38, f"late after {deadline:.1f}", ha="center", va="top", fontsize=8)
    axes.set(xlabel="milliseconds since the due time of the frame", ylim=(len(results) - 0.4, -0.6), xlim=(0, None))
    axes.set_yticks(range(len(results)), [f"{result.rate:g} Hz" for result in results])
    axes.grid(axis="x", linewidth=0.6)
    figure.legend(loc="outside upper right", ncols=3, fontsize=9)
    return figure


SCENARIO = OpenLoopScenario()
