"""Other load on the machine during a measurement: CPU time of other processes, steal time, preemptions, throttling."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from fer_edge.hardware.cpu import cores, throttle_count
from fer_edge.hardware.limits import read_text
from fer_edge.results import Quantity

# Limits for a warning, chosen by hand: at 5 % of other load the 99th percentile moves, the median hardly does.
OTHERS_SHARE = 0.05
STOLEN_SHARE = 0.01
PREEMPTIONS = 20.0
# On an idle machine, two threads on two cores are preempted 10 to 40 times per second and one thread 1 to 5 times, each
# for less than 1 % of the time. Preemptions are therefore attributed to other processes only above this CPU share.
PREEMPTING_SHARE = 0.01
LOAD_FADES = 180.0  # seconds after which this process's past work is less than 1/20 of the load average
PROC = Path("/proc")


@dataclass(frozen=True)
class Noise:
    """Other load during a measurement. None: not reported by the system."""

    load_before: float | None  # load average of the minute before; None too if it includes an earlier measurement
    others_share: Annotated[float | None, Quantity("other processes", "share")]  # of CPU time
    stolen_share: Annotated[float | None, Quantity("hypervisor", "share")]  # of CPU time
    preemptions: Annotated[float | None, Quantity(unit="1/s")]  # involuntary context switches of this process
    throttled: int | None  # number of thermal throttling events

    @property
    def warnings(self) -> tuple[str, ...]:
        """Reasons to distrust the measurement; empty on a quiet machine."""
        warnings = []
        if self.load_before is not None and self.load_before > cores():
            warnings.append(f"the load average of the minute before was {self.load_before:.1f} on {cores()} cores")
        if self.others_share is not None and self.others_share > OTHERS_SHARE:
            warnings.append(f"other processes used {100 * self.others_share:.0f} % of the CPU time")
        if self.stolen_share is not None and self.stolen_share > STOLEN_SHARE:
            warnings.append(f"the hypervisor took {100 * self.stolen_share:.1f} % of the CPU time")
        if self._preempted_by_others:
            warnings.append(f"this process was preempted {self.preemptions:.0f} times per second by other processes")
        if self.throttled:
            warnings.append(f"CPU cores were thermally throttled {self.throttled} times")
        return tuple(warnings)

    @property
    def _preempted_by_others(self) -> bool:
        frequent = self.preemptions is not None and self.preemptions > PREEMPTIONS
        return frequent and self.others_share is not None and self.others_share > PREEMPTING_SHARE


@dataclass(frozen=True)
class _Counters:
    """Counters of the system at one moment."""

    seconds: float
    busy: float | None  # CPU seconds of all processes
    stolen: float | None
    own: float  # CPU seconds of this process and its descendants
    preemptions: int | None
    throttled: int | None


class NoiseMonitor:
    """Context manager that measures other load during its block; `noise` is set at the end.

    The load average before the block is left out if this process ran another monitor within the last three minutes: it
    would include that measurement.

    Args:
        crowded: True if the measured code runs more threads than there are cores; their mutual preemptions are not
            counted as noise. False by default.

    >>> with NoiseMonitor() as monitor:
    ...     measure()
    >>> monitor.noise.warnings
    """

    noise: Noise
    _ended: ClassVar[float] = -LOAD_FADES  # end of the last monitor of this process, on the monotonic clock

    def __init__(self, *, crowded: bool = False) -> None:
        self._crowded = crowded

    def __enter__(self) -> NoiseMonitor:
        rested = time.monotonic() - NoiseMonitor._ended >= LOAD_FADES
        self._load = os.getloadavg()[0] if rested and hasattr(os, "getloadavg") else None
        self._before = _read_counters()
        return self

    def __exit__(self, *_: object) -> None:
        after = _read_counters()
        self.noise = _compare(self._load, self._before, after, crowded=self._crowded)
        NoiseMonitor._ended = after.seconds


def _compare(load: float | None, before: _Counters, after: _Counters, *, crowded: bool) -> Noise:
    """Return the noise between two readings of the counters."""
    seconds = max(after.seconds - before.seconds, 1e-9)
    total = seconds * cores()
    others = stolen = preemptions = throttled = None
    if before.busy is not None and after.busy is not None:
        # The system counts in steps of 10 ms, so the difference of a short run can be negative.
        others = max(0.0, after.busy - before.busy - (after.own - before.own)) / total
    if before.stolen is not None and after.stolen is not None:
        stolen = (after.stolen - before.stolen) / total
    if before.preemptions is not None and after.preemptions is not None and not crowded:
        preemptions = (after.preemptions - before.preemptions) / seconds
    if before.throttled is not None and after.throttled is not None:
        throttled = after.throttled - before.throttled
    return Noise(load, others, stolen, preemptions, throttled)


def _read_counters() -> _Counters:
    """Read all counters."""
    busy, stolen = _cpu_seconds()
    times = os.times()
    own = times.user + times.system + times.children_user + times.children_system + _children_seconds(PROC / "self")
    return _Counters(time.monotonic(), busy, stolen, own, _preemptions(), throttle_count())


def _children_seconds(process: Path) -> float:
    """Return the CPU seconds of a process's running descendants, such as benchmark workers."""
    seconds = 0.0
    for tasks in process.glob("task/*/children"):
        for child in (PROC / number for number in read_text(tasks).split()):
            # Fields after the program name in brackets: user and system time, then those of reaped children.
            fields = read_text(child / "stat").rpartition(")")[2].split()
            if fields:
                seconds += sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")
                seconds += _children_seconds(child)
    return seconds


def _cpu_seconds() -> tuple[float | None, float | None]:
    """Return busy and stolen seconds of the CPU cores that this process may use."""
    lines = read_text(PROC / "stat").splitlines()
    names = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    rows = [[int(value) for value in line.split()[1:]] for line in lines if line.split()[0] in names]
    if not rows:
        return None, None
    ticks = os.sysconf("SC_CLK_TCK")
    # Columns: user, nice, system, idle, iowait, irq, softirq, steal; guest time is included in user.
    busy = sum(sum(row[:3]) + sum(row[5:7]) for row in rows) / ticks
    return busy, sum(row[7] for row in rows) / ticks


def _preemptions() -> int | None:
    """Return the number of involuntary context switches of this process."""
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
