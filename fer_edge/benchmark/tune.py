"""Which settings to use: chosen among measured ones, measured again for longer, and written into the bundle.

All of it is about the engine alone: cutting the face out of the frame, and what is made of the result, is not in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Literal

from fer_edge.benchmark.noise import Noise
from fer_edge.benchmark.scenarios.scaling import ScalingPoint, measure_point
from fer_edge.benchmark.workload import Workload
from fer_edge.bundle import Bundle, Tuning, write_bundle
from fer_edge.engines.registry import machine_of
from fer_edge.errors import ConfigError, EngineError
from fer_edge.recognizer import Recognizer

CONFIRMED = 3  # candidates that are measured again, before it is said that none holds
# Of the processors' time, taken by other processes and the hypervisor while settings were measured. With a tenth of two
# processors gone, a setting with as many threads as processors waits in every fifth run: others look better than it.
BUSY_SHARE = 0.1
CLOSE = 0.95  # of the best rate: fewer streams, threads and faces at once are worth more than the rest


@dataclass(frozen=True)
class Target:
    """What settings are for."""

    kind: Literal["p99", "throughput"]
    value: float  # milliseconds of a batch that the engine may take, or images a second that it is to give

    def __str__(self) -> str:
        return f"{self.kind}={self.value:g}"

    def holds(self, point: ScalingPoint) -> bool:
        """Whether a point reaches it."""
        if self.kind == "p99":
            return point.latency.p99.value <= self.value
        return point.images_per_second >= self.value

    def confirmed_by(self, point: ScalingPoint) -> bool:
        """Whether a point certainly reaches it: at one speed all the time, and a p99 with the bound above it too."""
        high = point.latency.p99.high
        within = self.kind != "p99" or (high is not None and high <= self.value)
        return self.holds(point) and within and point.steady

    def ranked(self, points: Sequence[ScalingPoint]) -> list[ScalingPoint]:
        """Points that reach it, the best first: most images a second within p99, or shortest p99 with the rate."""
        found = [point for point in points if self.holds(point)]
        if self.kind == "throughput":
            return sorted(found, key=lambda point: point.latency.p99.value)
        most = max((point.images_per_second for point in found), default=0.0)
        close = [point for point in found if point.images_per_second >= CLOSE * most]
        rest = sorted((point for point in found if point not in close), key=lambda point: -point.images_per_second)
        return [*sorted(close, key=_effort), *rest]


def target_from_text(text: str) -> Target:
    """`p99=8` (milliseconds) or `throughput=300` (images a second).

    Raises:
        ConfigError: It is neither.
    """
    kind, _, number = text.partition("=")
    try:
        value = float(number)
    except ValueError:
        value = 0.0
    if kind == "p99" and 0 < value < 1e9:
        return Target("p99", value)
    if kind == "throughput" and 0 < value < 1e9:
        return Target("throughput", value)
    raise ConfigError(f"the target is {text!r}; expected p99=MILLISECONDS or throughput=IMAGES_A_SECOND, as in p99=8")


@dataclass(frozen=True)
class Recommendation:
    """Settings for two kinds of apps."""

    fastest: ScalingPoint  # one face as soon as possible
    most: ScalingPoint  # as many faces as possible


def recommendation(points: Sequence[ScalingPoint]) -> Recommendation:
    """The shortest p90 of a single face, and the most images a second; of close ones the least effort."""
    single = [point for point in points if point.batch == 1 and point.streams == 1]
    shortest = min(point.latency.p90.value for point in single)
    fast = [point for point in single if point.latency.p90.value <= shortest / CLOSE]
    most = max(point.images_per_second for point in points)
    many = [point for point in points if point.images_per_second >= CLOSE * most]
    return Recommendation(min(fast, key=_effort), min(many, key=_effort))


def confirmed(
    points: Sequence[ScalingPoint],
    target: Target,
    opened: Callable[[int], Recognizer],
    workload: Workload,
    seconds: float,
) -> ScalingPoint:
    """The best point that certainly reaches the target when it runs for longer.

    Raises:
        EngineError: None does; says how near the best came.
    """
    tried = []
    for candidate in target.ranked(points)[:CONFIRMED]:
        with ExitStack() as stack:
            recognizers = [stack.enter_context(opened(candidate.threads)) for _ in range(candidate.streams)]
            tried.append(measure_point(recognizers, workload, candidate.threads, candidate.batch, seconds))
        if target.confirmed_by(tried[-1]):
            return tried[-1]
    nearest = _nearest(tried or points, target)
    p99 = nearest.latency.p99
    bound = "" if p99.high is None else f" (up to {p99.high:.2f})"
    raise EngineError(
        f"no setting certainly reaches {target} here; the nearest, {described(nearest)}, has an engine p99 of "
        f"{p99.value:.2f} ms{bound} and {nearest.images_per_second:.0f} images a second of the engine; the bundle is "
        f"as it was: {_remedy(nearest, target)}"
    )


def check_quiet(*noises: Noise) -> None:
    """Refuse a tuning that was measured while the machine was busy; what the system does not tell is passed over.

    Args:
        noises: What else the machine did while settings were measured, and measured again.

    Raises:
        EngineError: It was busy; says how much, and how much may be.
    """
    shares = [(noise.others_share or 0.0) + (noise.stolen_share or 0.0) for noise in noises]
    largest = max(shares, default=0.0)
    if largest > BUSY_SHARE:
        raise EngineError(
            f"other processes took {100 * largest:.0f} % of the processors' time while settings were measured, where a "
            f"tuning allows {100 * BUSY_SHARE:.0f} %; the bundle is as it was: run it again on a quiet machine, or add "
            "--force if the machine is always as busy as now"
        )


def write_tuning(bundle: Bundle, engine: str | None, point: ScalingPoint, target: Target, device: int = 0) -> Tuning:
    """Write settings into a bundle, in place of those that it had for the same engine and machine.

    Args:
        bundle: Where they go.
        engine: What was measured; the bundle's first engine if not given.
        point: The settings, and what they gave.
        target: What they are for.
        device: The GPU that was measured, for engines that run on one.

    Raises:
        BundleError: The bundle was not built for that engine.
        EngineUnavailableError: There is no such GPU.
        FerEdgeError: The file cannot be written; then nothing was changed.
    """
    tuning = Tuning(
        engine=bundle.entry(engine).engine,
        machine=machine_of(bundle.entry(engine).engine, device),
        threads=point.threads,
        streams=point.streams,
        batch=point.batch,
        target=str(target),
        p99_ms=round(point.latency.p99.value, 3),
        images_per_second=round(point.images_per_second, 1),
    )
    others = [
        other for other in bundle.manifest.tunings if (other.engine, other.machine) != (tuning.engine, tuning.machine)
    ]
    manifest = replace(bundle.manifest, tunings=(*others, tuning))
    write_bundle(bundle.path, manifest, {name: bundle.read(name) for name in bundle.manifest.files})
    return tuning


def described(point: ScalingPoint) -> str:
    """Settings in words."""
    return f"threads {point.threads}, streams {point.streams}, batch {point.batch}"


def _effort(point: ScalingPoint) -> tuple[int, int, int]:
    return point.streams * point.threads, point.streams, point.batch


def _remedy(nearest: ScalingPoint, target: Target) -> str:
    """What to do, by what kept the nearest setting from being taken."""
    holds = target.holds(nearest)
    if holds and not nearest.steady:
        return "its speed changed in the middle of the run: run it again when the machine is quiet"
    if holds and target.kind == "p99" and nearest.latency.p99.high is None:
        return "too few queries for an upper bound: use a larger --seconds"
    return "ask for less, or measure for longer with --seconds"


def _nearest(points: Sequence[ScalingPoint], target: Target) -> ScalingPoint:
    if target.kind == "p99":
        return min(points, key=lambda point: point.latency.p99.high or point.latency.p99.value)
    return max(points, key=lambda point: point.images_per_second)
