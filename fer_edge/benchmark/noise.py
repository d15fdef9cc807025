"""Was the machine busy with something else? A benchmark that does not ask reports its neighbours' work."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import ClassVar

from fer_edge.benchmark.environment import CPUS
from fer_edge.machine import cores

# Above these a figure is marked. Judged by hand: at 5 % of other work the 99th percentile moves, the median hardly.
OTHERS_SHARE = 0.05
STOLEN_SHARE = 0.01
PREEMPTIONS = 20.0
# Two threads on two cores leave a processor 10 to 40 times a second while others take nothing, and wait less than a
# hundredth of the time to have it back; one thread, 1 to 5 times. Only where others took so much is it their doing.
PREEMPTING_SHARE = 0.01
LOAD_FADES = 180.0  # seconds after which less than a twentieth of the load average is what this process did before
PROC = Path("/proc")


@dataclass(frozen=True)
class Noise:
    """What else the processors did while something was measured; None: the system does not tell."""

    load_before: float | None  # processes that wanted to run, a mean over the minute before, if none of them was ours
    others_share: float | None  # of the processors' time, spent on other processes
    stolen_share: float | None  # of the processors' time, taken by the hypervisor
    preemptions: float | None  # times a second that this process had to leave a processor, for whomever
    throttled: int | None  # times that a processor slowed down for its temperature

    @property
    def warnings(self) -> tuple[str, ...]:
        """What makes the figures doubtful, in words; empty on a quiet machine."""
        found = []
        if self.load_before is not None and self.load_before > cores():
            found.append(f"{self.load_before:.1f} processes wanted to run in the minute before, on {cores()} cores")
        if self.others_share is not None and self.others_share > OTHERS_SHARE:
            found.append(f"other processes took {100 * self.others_share:.0f} % of the processors' time")
        if self.stolen_share is not None and self.stolen_share > STOLEN_SHARE:
            found.append(f"the hypervisor took {100 * self.stolen_share:.1f} % of the processors' time")
        if self._others_preempt:
            found.append(
                f"with others at work, this process had to leave a processor {self.preemptions:.0f} times a second"
            )
        if self.throttled:
            found.append(f"processors were throttled for their temperature {self.throttled} times")
        return tuple(found)

    @property
    def _others_preempt(self) -> bool:
        often = self.preemptions is not None and self.preemptions > PREEMPTIONS
        return often and self.others_share is not None and self.others_share > PREEMPTING_SHARE


@dataclass(frozen=True)
class _Counters:
    seconds: float
    busy: float | None  # seconds of all processors
    stolen: float | None
    own: float  # seconds of this process and of all it has started
    preemptions: int | None
    throttled: int | None


class NoiseMonitor:
    """Watches the machine while its block runs; `noise` is there afterwards.

    The load of the minute before is told only if this process watched nothing in the last minutes: otherwise it is that
    of its own work.

    Args:
        crowded: What is watched has more threads than processors: they preempt each other, which is no noise.

    >>> with NoiseMonitor() as watch:
    ...     measure()
    >>> watch.noise.warnings
    """

    noise: Noise
    _ended: ClassVar[float] = -LOAD_FADES  # when the last one of this process did, on the monotonic clock

    def __init__(self, *, crowded: bool = False) -> None:
        self._crowded = crowded

    def __enter__(self) -> NoiseMonitor:
        rested = time.monotonic() - NoiseMonitor._ended >= LOAD_FADES
        self._load = os.getloadavg()[0] if rested and hasattr(os, "getloadavg") else None
        self._before = _read_counters()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        after = _read_counters()
        self.noise = _compare(self._load, self._before, after, crowded=self._crowded)
        NoiseMonitor._ended = after.seconds


def _compare(load: float | None, before: _Counters, after: _Counters, *, crowded: bool) -> Noise:
    seconds = max(after.seconds - before.seconds, 1e-9)
    total = seconds * cores()
    others = stolen = preemptions = throttled = None
    if before.busy is not None and after.busy is not None:
        # The system counts in hundredths of a second: of short runs the difference can be negative.
        others = max(0.0, after.busy - before.busy - (after.own - before.own)) / total
    if before.stolen is not None and after.stolen is not None:
        stolen = (after.stolen - before.stolen) / total
    if before.preemptions is not None and after.preemptions is not None and not crowded:
        preemptions = (after.preemptions - before.preemptions) / seconds
    if before.throttled is not None and after.throttled is not None:
        throttled = after.throttled - before.throttled
    return Noise(load, others, stolen, preemptions, throttled)


def _read_counters() -> _Counters:
    busy, stolen = _processor_seconds()
    times = os.times()
    own = times.user + times.system + times.children_user + times.children_system + _children_seconds(PROC / "self")
    return _Counters(time.monotonic(), busy, stolen, own, _preemptions(), throttle_count())


def _children_seconds(process: Path) -> float:
    """Seconds of a process's children that still run, such as contenders, and of theirs."""
    seconds = 0.0
    for tasks in process.glob("task/*/children"):
        for child in (PROC / number for number in _text(tasks).split()):
            # After the program's name, in brackets: user and system time, and that of the children it has waited for.
            fields = _text(child / "stat").rpartition(")")[2].split()
            if fields:
                seconds += sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")
                seconds += _children_seconds(child)
    return seconds


def _processor_seconds() -> tuple[float | None, float | None]:
    """Seconds that this process's processors were busy, and stolen."""
    try:
        lines = (PROC / "stat").read_text().splitlines()
    except OSError:
        return None, None
    names = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    rows = [[int(value) for value in line.split()[1:]] for line in lines if line.split()[0] in names]
    if not rows:
        return None, None
    ticks = os.sysconf("SC_CLK_TCK")
    # user, nice, system, idle, iowait, irq, softirq, steal; guests are in user
    busy = sum(sum(row[:3]) + sum(row[5:7]) for row in rows) / ticks
    return busy, sum(row[7] for row in rows) / ticks


def _preemptions() -> int | None:
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def throttle_count() -> int | None:
    """How often a processor has been slowed down for its temperature since the system started."""
    return _sum([*CPUS.glob("cpu[0-9]*/thermal_throttle/core_throttle_count")])


def frequency_mhz() -> float | None:
    """Mean clock of the processors, as far as the system tells."""
    paths = [*CPUS.glob("cpu[0-9]*/cpufreq/scaling_cur_freq")]
    total = _sum(paths)
    return None if total is None else total / len(paths) / 1000


def temperature() -> float | None:
    """The warmest sensor, in degrees Celsius."""
    found = [value for path in Path("/sys/class/thermal").glob("thermal_zone*/temp") if (value := _number(path))]
    return max(found) / 1000 if found else None


def _sum(paths: list[Path]) -> int | None:
    values = [_number(path) for path in paths]
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _text(path: Path) -> str:
    """Empty where a file or its process has gone."""
    try:
        return path.read_text()
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
