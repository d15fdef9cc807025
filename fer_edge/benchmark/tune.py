"""Tuning: choose settings from measured ones, confirm them in a longer run, and store them in the bundle.

All measurements are of the engine alone, without cropping the face and without postprocessing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Literal

from fer_edge.benchmark.noise import Noise, NoiseMonitor
from fer_edge.benchmark.scenarios.scaling import CLOSE, ScalingPoint, measure_point
from fer_edge.benchmark.session import BenchTarget
from fer_edge.benchmark.workload import Workload
from fer_edge.bundle import Bundle, Tuning, write_bundle
from fer_edge.engines.registry import machine_of
from fer_edge.errors import ConfigError, EngineError
from fer_edge.recognizer import Recognizer

MAX_CANDIDATES = 3  # settings that are measured again before tuning fails
# Largest share of CPU time of other processes and the hypervisor. With 10 % of two cores taken, a setting with as many
# threads as cores waits in every fifth run, and other settings look better than it.
BUSY_SHARE = 0.1


@dataclass(frozen=True)
class Goal:
    """Goal of a tuning."""

    kind: Literal["p99", "throughput"]
    value: float  # largest p99 of a batch in milliseconds, or smallest number of images per second

    def __str__(self) -> str:
        return f"{self.kind}={self.value:g}"

    def met_by(self, point: ScalingPoint) -> bool:
        """Return whether a point meets the goal."""
        if self.kind == "p99":
            return point.latency.p99.value <= self.value
        return point.images_per_second >= self.value

    def confirmed_by(self, point: ScalingPoint) -> bool:
        """Return whether a point meets the goal with confidence: stable speed, and the p99's upper bound within it."""
        high = point.latency.p99.high
        within = self.kind != "p99" or (high is not None and high <= self.value)
        return self.met_by(point) and within and point.steady

    def rank(self, points: Sequence[ScalingPoint]) -> list[ScalingPoint]:
        """Return the points that meet the goal, best first.

        For a p99, the best point has the most images per second; of points within 5 % of it, the lowest cost. For a
        throughput, the best point has the shortest p99.
        """
        candidates = [point for point in points if self.met_by(point)]
        if self.kind == "throughput":
            return sorted(candidates, key=lambda point: point.latency.p99.value)
        most = max((point.images_per_second for point in candidates), default=0.0)
        close = [point for point in candidates if point.images_per_second >= CLOSE * most]
        others = [point for point in candidates if point not in close]
        return [
            *sorted(close, key=lambda point: point.cost),
            *sorted(others, key=lambda point: -point.images_per_second),
        ]


def goal_from_text(text: str) -> Goal:
    """Parse `p99=8` (milliseconds) or `throughput=300` (images per second).

    Raises:
        ConfigError: Other text.
    """
    kind, _, number = text.partition("=")
    try:
        value = float(number)
    except ValueError:
        value = 0.0
    if kind == "p99" and 0 < value < 1e9:
        return Goal("p99", value)
    if kind == "throughput" and 0 < value < 1e9:
        return Goal("throughput", value)
    raise ConfigError(f"the goal is {text!r}; expected p99=MS or throughput=IMAGES_PER_SECOND, for example p99=8")


def tune(
    target: BenchTarget,
    goal: Goal,
    points: Sequence[ScalingPoint],
    noise: Noise,
    workload: Workload,
    seconds: float,
    *,
    force: bool = False,
) -> Tuning:
    """Confirm the best settings and write them into the bundle.

    Args:
        target: Bundle, engine and options.
        goal: Goal of the tuning.
        points: Result of the scaling scenario.
        noise: Other load during that scenario.
        workload: Frame and face box.
        seconds: Length of the confirming measurement of one setting.
        force: True accepts measurements of a busy machine.

    Raises:
        EngineError: No setting meets the goal with confidence, or the machine was busy.
        FerEdgeError: Bundle that cannot be written.
    """
    with NoiseMonitor(crowded=True) as monitor:
        point = confirm(points, goal, target.open, workload, seconds)
    if not force:
        check_quiet(noise, monitor.noise)
    return write_tuning(Bundle.open(target.bundle), target.engine, point, goal, target.device)


def confirm(
    points: Sequence[ScalingPoint],
    goal: Goal,
    open_recognizer: Callable[[int], Recognizer],
    workload: Workload,
    seconds: float,
) -> ScalingPoint:
    """Return the best point that meets the goal with confidence in a longer run.

    Args:
        points: Result of the scaling scenario.
        goal: Goal of the tuning.
        open_recognizer: Function that opens a recognizer with a number of threads.
        workload: Frame and face box.
        seconds: Length of the run of one point.

    Raises:
        EngineError: No point does; the message has the nearest one.
    """
    confirmed = []
    for candidate in goal.rank(points)[:MAX_CANDIDATES]:
        with ExitStack() as stack:
            recognizers = [stack.enter_context(open_recognizer(candidate.threads)) for _ in range(candidate.streams)]
            confirmed.append(measure_point(recognizers, workload, candidate.threads, candidate.batch, seconds))
        if goal.confirmed_by(confirmed[-1]):
            return confirmed[-1]
    nearest = _nearest(confirmed or points, goal)
    p99 = nearest.latency.p99
    bound = "" if p99.high is None else f" (up to {p99.high:.2f})"
    raise EngineError(
        f"no setting reliably meets {goal} on this machine; the nearest, {nearest}, has an engine p99 of "
        f"{p99.value:.2f} ms{bound} and {nearest.images_per_second:.0f} images/s; the bundle is unchanged: "
        f"{_remedy(nearest, goal)}"
    )


def check_quiet(*noises: Noise) -> None:
    """Refuse a tuning that was measured on a busy machine; load that the system does not report is ignored.

    Args:
        noises: Other load during each measurement.

    Raises:
        EngineError: Busy machine; the message has the share of CPU time and the limit.
    """
    shares = [(noise.others_share or 0.0) + (noise.stolen_share or 0.0) for noise in noises]
    largest = max(shares, default=0.0)
    if largest > BUSY_SHARE:
        raise EngineError(
            f"other processes used {100 * largest:.0f} % of the CPU time during the measurement, and a tuning allows "
            f"{100 * BUSY_SHARE:.0f} %; the bundle is unchanged: repeat it on a quiet machine, or add --force if the "
            "machine is always this busy"
        )


def write_tuning(bundle: Bundle, engine: str | None, point: ScalingPoint, goal: Goal, device: int = 0) -> Tuning:
    """Write settings into a bundle; they replace earlier ones of the same engine and machine.

    Args:
        bundle: Bundle to change.
        engine: Measured engine; default: the bundle's first.
        point: Settings and their result.
        goal: Goal of the tuning.
        device: CUDA index of the measured GPU, for engines that run on one.

    Raises:
        BundleError: Bundle without this engine.
        EngineUnavailableError: No GPU with this index.
        FerEdgeError: Bundle that cannot be written; it is unchanged.
    """
    name = bundle.entry(engine).engine
    tuning = Tuning(
        engine=name,
        machine=machine_of(name, device),
        threads=point.threads,
        streams=point.streams,
        batch=point.batch,
        target=str(goal),
        p99_ms=round(point.latency.p99.value, 3),
        images_per_second=round(point.images_per_second, 1),
    )
    others = [
        other for other in bundle.manifest.tunings if (other.engine, other.machine) != (tuning.engine, tuning.machine)
    ]
    manifest = replace(bundle.manifest, tunings=(*others, tuning))
    write_bundle(bundle.path, manifest, {name: bundle.read(name) for name in bundle.manifest.files})
    return tuning


def _remedy(nearest: ScalingPoint, goal: Goal) -> str:
    """Return the next step, according to what the nearest point lacks."""
    met = goal.met_by(nearest)
    if met and not nearest.steady:
        return "the speed changed in the middle of the run; repeat it when the machine is quiet"
    if met and goal.kind == "p99" and nearest.latency.p99.high is None:
        return "there were too few queries for an upper bound; use a larger --seconds"
    return "choose a weaker goal, or measure longer with --seconds"


def _nearest(points: Sequence[ScalingPoint], goal: Goal) -> ScalingPoint:
    """Return the point that is nearest to the goal."""
    if goal.kind == "p99":
        return min(points, key=lambda point: point.latency.p99.high or point.latency.p99.value)
    return max(points, key=lambda point: point.images_per_second)
