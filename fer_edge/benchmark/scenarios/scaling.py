"""Scaling: every combination of threads, streams and batch size, to find the best settings for this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Annotated

from fer_edge.benchmark.drawing import Figure, Plot, logarithmic, new_figure
from fer_edge.benchmark.formatting import RATE_COLUMNS, rate_cells
from fer_edge.benchmark.scenario import Scenario, Session, Stamps
from fer_edge.benchmark.scenarios.batches import SIZES, inference
from fer_edge.benchmark.scenarios.multi_stream import run_streams
from fer_edge.benchmark.statistics import Distribution
from fer_edge.benchmark.workload import Workload
from fer_edge.engines.registry import get_engine
from fer_edge.hardware.cpu import cores
from fer_edge.html.theme import SERIES
from fer_edge.recognizer import Recognizer
from fer_edge.results import Quantity, Table

MIN_SECONDS = 0.1  # duration of one combination
FACTOR = 4  # length of the run, as a multiple of that of one measurement
CLOSE = 0.95  # settings above this share of the best rate count as equal; the one with the lowest cost is preferred

LINES = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class ScalingPoint:
    """Result of one combination."""

    threads: Annotated[int, Quantity(key="threads {}")]  # of one inference
    streams: Annotated[int, Quantity(key="streams {}")]  # number of concurrent runners
    batch: Annotated[int, Quantity(key="batch {}")]
    images_per_second: Annotated[float, Quantity("rate", "images/s")]  # of all streams together
    latency: Distribution  # of a batch
    steady: bool = True  # False: the speed of a stream changed in the middle of the run

    def __str__(self) -> str:
        return f"threads {self.threads}, streams {self.streams}, batch {self.batch}"

    @property
    def cost(self) -> tuple[int, int, int]:
        """Sort key: CPU threads in total, then streams, then batch size."""
        return self.streams * self.threads, self.streams, self.batch


@dataclass(frozen=True)
class Recommendation:
    """Settings for two kinds of apps."""

    fastest: ScalingPoint  # shortest time of a single face
    most: ScalingPoint  # most faces per second


def run_scaling(
    open_recognizer: Callable[[int], Recognizer],
    workload: Workload,
    seconds: float,
    threads: Sequence[int],
    streams: Sequence[int],
    *,
    batches: Sequence[int] = SIZES,
    progress: Callable[[float], None] = lambda share: None,
) -> list[ScalingPoint]:
    """Measure the engine alone with every combination of settings.

    Args:
        open_recognizer: Function that opens a recognizer with a number of threads.
        workload: Frame and face box.
        seconds: Duration of all combinations together, without loading; each runs at least 0.1 s.
        threads: Numbers of threads of one inference.
        streams: Numbers of concurrent runners.
        batches: Batch sizes; those above the engine's largest are skipped.
        progress: Callback that receives the finished share, 0 to 1.
    """
    each = max(MIN_SECONDS, seconds / (len(threads) * len(streams) * len(batches)))
    points: list[ScalingPoint] = []
    for done, (thread_count, stream_count) in enumerate((t, s) for t in threads for s in streams):
        progress(done / (len(threads) * len(streams)))
        with ExitStack() as stack:
            recognizers = [stack.enter_context(open_recognizer(thread_count)) for _ in range(stream_count)]
            for batch in (batch for batch in batches if batch <= recognizers[0].runner.max_batch):
                queries = [inference(recognizer.runner, workload, batch) for recognizer in recognizers]
                run = run_streams(queries, each, batch=batch, threads=thread_count)
                point = ScalingPoint(thread_count, stream_count, batch, run.images_per_second, run.latency, run.steady)
                points.append(point)
    return points


def recommend(points: Sequence[ScalingPoint]) -> Recommendation:
    """Return the settings with the shortest p90 of a single face and with the most images per second.

    Of settings within 5 % of the best, the one with the lowest cost is returned.
    """
    single = [point for point in points if point.batch == 1 and point.streams == 1]
    shortest = min(point.latency.p90.value for point in single)
    fast = [point for point in single if point.latency.p90.value <= shortest / CLOSE]
    most = max(point.images_per_second for point in points)
    large = [point for point in points if point.images_per_second >= CLOSE * most]
    return Recommendation(min(fast, key=lambda point: point.cost), min(large, key=lambda point: point.cost))


def thread_counts(engine: str) -> tuple[int, ...]:
    """Return the thread counts to measure: powers of two and all cores; only 1 if the engine runs on a GPU."""
    if get_engine(engine).local_target() != "cpu":
        return (1,)
    return tuple(sorted({cores(), *(1 << power for power in range(cores().bit_length()))}))


class ScalingScenario(Scenario[list[ScalingPoint]]):
    """Every combination of threads, streams and batch size."""

    title = "Scaling"
    about = (
        "Engine only. Of settings within 5 % of the best, the one with the fewest threads, streams and faces is named."
    )
    order = 80
    crowded = True
    settings = frozenset({"seconds"})
    several = True

    def run(self, session: Session) -> list[ScalingPoint]:
        plan, threads = session.plan, thread_counts(session.engine)
        seconds = FACTOR * plan.seconds
        return run_scaling(session.open, plan.workload, seconds, threads, plan.streams, progress=session.progress)

    def tables(self, result: list[ScalingPoint]) -> list[Table]:
        rows = tuple(
            (point.threads, point.streams, point.batch, *rate_cells(point.latency, point.images_per_second))
            for point in result
        )
        return [Table("scaling, engine only", ("threads", "streams", "batch", *RATE_COLUMNS), rows)]

    def notes(self, result: list[ScalingPoint]) -> list[str]:
        best = recommend(result)
        return [
            f"shortest time of one face: {best.fastest} (p90 {best.fastest.latency.p90.value:.2f} ms); "
            f"most faces: {best.most} ({best.most.images_per_second:.0f} images/s)"
        ]

    def plots(self, result: list[ScalingPoint], stamps: Stamps | None) -> list[Plot]:
        text = "Images per second over p99 for each combination of threads, streams and batch size."
        return [Plot(lambda: draw_scaling(result), text)]


def draw_scaling(points: Sequence[ScalingPoint]) -> Figure:
    """Draw images per second over the 99th percentile; a line joins the batch sizes of one setting."""
    figure, axes = new_figure(3.6)
    settings = list(dict.fromkeys((point.threads, point.streams) for point in points))
    for index, (threads, streams) in enumerate(settings):
        members = [point for point in points if (point.threads, point.streams) == (threads, streams)]
        style = LINES[index // len(SERIES) % len(LINES)]
        axes.plot(
            [point.latency.p99.value for point in members], [point.images_per_second for point in members],
            style, marker="o", ms=3.5, linewidth=1.2, color=SERIES[index % len(SERIES)],
            label=f"threads {threads}, streams {streams}",
        )  # fmt: skip
    logarithmic(axes, "x")
    axes.set(
        xlabel="p99 of a batch in milliseconds, engine only", ylabel="images per second, engine only", ylim=(0, None)
    )
    axes.grid(linewidth=0.6)
    figure.legend(loc="outside lower center", ncols=2, fontsize=9)
    return figure


SCENARIO = ScalingScenario()
