"""How figures of a benchmark look on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fer_edge.benchmark.compare import Comparison
from fer_edge.benchmark.noise import Noise
from fer_edge.benchmark.roofline import Roofline
from fer_edge.benchmark.run import BenchReport
from fer_edge.benchmark.scenarios.batches import BatchResult
from fer_edge.benchmark.scenarios.cold_start import ColdStart
from fer_edge.benchmark.scenarios.multi_stream import MultiStream
from fer_edge.benchmark.scenarios.on_device import OnDevice
from fer_edge.benchmark.scenarios.open_loop import OpenLoop
from fer_edge.benchmark.scenarios.scaling import ScalingPoint
from fer_edge.benchmark.scenarios.single_stream import MLPERF_QUERIES, MLPERF_SECONDS, SingleStream
from fer_edge.benchmark.scenarios.sustained import Sustained
from fer_edge.benchmark.statistics import Distribution, Estimate
from fer_edge.bundle import Tuning
from fer_edge.cli.output import console, err_console, print_error, print_note, print_result, print_table

LAYERS_SHOWN = 12


@contextmanager
def scenario_progress() -> Iterator[Callable[[str, float], None]]:
    """Show a bar for each scenario on stderr, or without a terminal a line every 30 s.

    Yields:
        A function to call with the scenario and the share of it that is done.
    """
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    from fer_edge.cli.consoles import heartbeat

    console = err_console()
    if not console.is_terminal:
        current = {"line": "loading the engine"}

        def note(scenario: str, share: float) -> None:
            current["line"] = f"{scenario}: {100 * share:.0f} %"

        with heartbeat(lambda: current["line"]):
            yield note
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        tasks = {}

        def tell(scenario: str, share: float) -> None:
            if scenario not in tasks:
                tasks[scenario] = bar.add_task(scenario, total=1.0)
            bar.update(tasks[scenario], completed=share)

        yield tell


def print_report(report: BenchReport) -> None:
    """Every scenario that was run with what disturbed it, then what the figures depend on."""
    for name, show in SHOWN.items():
        found = getattr(report, name)
        if found is not None and found != []:
            show(found)
            scenario = name.replace("_", "-")
            print_warnings({key: noise for key, noise in report.noise.items() if key == scenario})
    if report.parity is not None:
        print_result(report.parity)
    print_left_out(report.left_out)
    print_failed(report.failed)
    memory = f"memory {_megabytes(report.memory_mb)} now, {_megabytes(report.peak_memory_mb)} at its peak"
    console().print(f"load {report.load_ms:.0f} ms; this process: {memory}")
    threads = f"{report.threads or 'as the engine chooses'}{' (tuned)' if report.tuned else ''}"
    described = {"engine": report.engine, "threads": threads, **report.environment}
    console().print(", ".join(f"{name} {value}" for name, value in described.items()), soft_wrap=True)


def print_left_out(reasons: Mapping[str, str]) -> None:
    """Scenarios that were not measured, on stderr."""
    for scenario, reason in reasons.items():
        print_note(f"{scenario} was left out: {reason}")


def print_failed(reasons: Mapping[str, str]) -> None:
    """Scenarios that broke off, on stderr."""
    for scenario, reason in reasons.items():
        print_error(f"{scenario} failed: {reason}")


def print_warnings(noises: Mapping[str, Noise]) -> None:
    """What makes the figures of scenarios doubtful, on stderr."""
    for scenario, noise in noises.items():
        for warning in noise.warnings:
            print_note(f"warning: the machine was not quiet during {scenario}: {warning}")


def print_comparisons(comparisons: Sequence[Comparison], rounds: int, turn: int) -> None:
    """Contenders beside the first one."""
    title = f"{rounds} rounds of {turn} queries, taking turns"
    rows = [(one.name, *_short(one.latency)) for one in comparisons]
    print_table(title, ("contender", "p50 ms", "p90 ms", "p99 ms"), rows)
    ratios = [(one.name, *_with_bounds(one.p50_ratio), *_with_bounds(one.p90_ratio)) for one in comparisons[1:]]
    columns = ("contender", "p50", "95 %", "p90", "95 %")
    print_table(f"ratio to {comparisons[0].name}; below 1 is faster", columns, ratios)


def _print_single_stream(found: SingleStream) -> None:
    rows: list[tuple[str, ...]] = [
        (name, *_short(latency), f"{latency.max:.3f}") for name, latency in found.stages.items()
    ]
    total = found.latency
    rows.append(("total", *_short(total), f"{total.max:.3f}"))
    columns = ("stage", "p50 ms", "p90 ms", "p99 ms", "max ms")
    print_table(f"single stream, one face: p90 {total.p90.value:.3f} ms", columns, rows)
    rule = "" if found.as_long_as_mlperf else f"; MLPerf asks for {MLPERF_QUERIES} and {MLPERF_SECONDS:.0f} s"
    bounds = ", ".join(
        f"{name} {_with_bounds(each)[1]}" for name, each in (("p50", total.p50), ("p90", total.p90), ("p99", total.p99))
    )
    console().print(f"95 % confidence of the total: {bounds}")
    console().print(f"{total.count} queries in {found.seconds:.1f} s after {found.warm_up} of warm-up{rule}")
    if not found.steady:
        console().print("its speed changed in the middle of the run, so no warm-up was left out")


def _print_batches(results: Sequence[BatchResult]) -> None:
    rows = [(one.batch, *_short(one.latency), f"{one.images_per_second:.0f}") for one in results]
    print_table("batches, the engine alone", ("batch", "p50 ms", "p90 ms", "p99 ms", "images/s"), rows)


def _print_on_device(found: OnDevice) -> None:
    rows = [
        (
            one.batch,
            "yes" if one.graph else "no",
            *(f"{part.p50.value:.3f}" for part in (one.copy_in, one.compute, one.copy_out)),
            *_short(one.total),
        )
        for one in found.batches
    ]
    columns = ("batch", "graph", "copy in", "compute", "copy out", "total p50", "p90", "p99")
    print_table("milliseconds on the GPU, by its own clock", columns, rows)
    if found.gpu is None:
        console().print(f"clocks and power unknown: {found.gpu_reason}", soft_wrap=True)
        return
    gpu = found.gpu
    power = "" if gpu.power_w is None else f", {gpu.power_w.median:.0f} W"
    held = ", ".join(gpu.held_down_by) or "nothing"
    console().print(
        f"{gpu.name}, driver {gpu.driver}: SM clock {gpu.sm_clock_mhz.least:.0f} to {gpu.sm_clock_mhz.most:.0f} MHz, "
        f"{gpu.temperature_c.most:.0f} degrees{power}, {gpu.memory_used_mb.most:.0f} MB in use; "
        f"clocks held down by {held}",
        soft_wrap=True,
    )


def _print_open_loop(results: Sequence[OpenLoop]) -> None:
    rows = [
        (
            f"{one.rate:g}",
            one.frames,
            _interval(_in_percent(one.late_share), 2),
            *_short(one.latency),
            f"{100 * one.busy_share:.0f} %",
            "yes" if one.keeps_up else "NO",
        )
        for one in results
    ]
    columns = ("Hz", "frames", "late %", "p50 ms", "p90 ms", "p99 ms", "busy", "keeps up")
    print_table("frames at a rate; latency from when each was due, late: after the next was due", columns, rows)
    if not all(one.keeps_up for one in results):
        console().print(
            "it does not keep up where frames took longer than the time in which they came, or one was a second late",
            soft_wrap=True,
        )


def _print_multi_stream(results: Sequence[MultiStream]) -> None:
    rows = [
        (one.streams, one.threads or "default", *_short(one.latency), f"{one.images_per_second:.0f}") for one in results
    ]
    columns = ("streams", "threads each", "p50 ms", "p90 ms", "p99 ms", "images/s")
    print_table("several recognizers at once", columns, rows)
    if unsteady := [str(one.streams) for one in results if not one.steady]:
        console().print(
            f"speed changed in the middle of the run, no warm-up left out, at streams: {', '.join(unsteady)}"
        )


def _print_cold_start(found: ColdStart) -> None:
    steps = {
        "first result": found.first_result,
        "- until Python runs": found.python,
        "- imports": found.imports,
        "- load": found.load,
        "- first query": found.first_query,
        "fer-edge predict": found.predict_command,
    }
    rows = [(name, _interval(estimate, 0)) for name, estimate in steps.items()]
    if found.first_start is not None:
        rows.append(("first start, kernels compiled (once)", f"{found.first_start:.0f}"))
    print_table(f"fresh process, medians of {found.runs}", ("from the start of the process", "ms"), rows)
    console().print(
        f"fer_edge's own imports {found.own_imports:.0f} ms; memory: imported {_megabytes(found.memory.imported)}, "
        f"loaded {_megabytes(found.memory.loaded)}, at work {_megabytes(found.memory.at_work)}, "
        f"peak {_megabytes(found.memory.peak)}",
        soft_wrap=True,
    )


def _print_roofline(found: Roofline) -> None:
    rows = [
        (peak.name, peak.kernel, f"{peak.per_second / 1e9:.1f}", "GB/s" if peak.name == "memory" else "GMAC/s")
        for peak in found.peaks
    ]
    print_table("this machine's peaks, by the engine's own kernels", ("peak", "kernel", "measured", "unit"), rows)
    kinds = [
        (one.kind, one.precision, one.layers, f"{one.milliseconds:.3f}", _percent(one.share_of_time),
         "-" if one.share_of_peak is None else _percent(one.share_of_peak))
        for one in found.kinds
    ]  # fmt: skip
    print_table("layers by kind", ("kind", "precision", "layers", "ms", "of the time", "of the peak"), kinds)
    slowest = sorted(found.layers, key=lambda share: -share.layer.microseconds)[:LAYERS_SHOWN]
    layers = [
        (one.layer.name, one.layer.kernel, f"{one.layer.microseconds:.0f}", f"{one.macs_per_second / 1e9:.1f}",
         "-" if one.share_of_peak is None else _percent(one.share_of_peak))
        for one in slowest
    ]  # fmt: skip
    if found.disturbed:
        print_note("warning: layers ran faster than the peaks, which something disturbed: shares of them are too high")
    print_table("slowest layers", ("layer", "kernel", "us", "GMAC/s", "of the peak"), layers)
    precisions = ", ".join(f"{name} {_percent(share)}" for name, share in found.macs_by_precision.items())
    console().print(
        f"all layers {found.milliseconds:.3f} ms; at the peaks their products would take {found.at_peak:.3f} ms: "
        f"{_percent(found.share_of_peak)} of the peak; products in {precisions}",
        soft_wrap=True,
    )


def print_tuning(bundle: Path, tuning: Tuning) -> None:
    """What was written."""
    many = "" if tuning.streams == 1 else f", {tuning.streams} recognizers at once"
    console().print(
        f"{bundle}: on {tuning.machine}, {tuning.engine} runs with threads {tuning.threads}, batches of {tuning.batch}"
        f"{many}: engine p99 {tuning.p99_ms:.2f} ms, {tuning.images_per_second:.0f} images a second of the engine "
        f"(asked for {tuning.target})",
        soft_wrap=True,
    )


def _print_scaling(points: Sequence[ScalingPoint]) -> None:
    from fer_edge.benchmark.tune import described, recommendation

    rows = [
        (one.threads, one.streams, one.batch, *_short(one.latency), f"{one.images_per_second:.0f}") for one in points
    ]
    columns = ("threads", "streams", "batch", "p50 ms", "p90 ms", "p99 ms", "images/s")
    print_table("scaling, the engine alone", columns, rows)
    found = recommendation(points)
    console().print(
        f"one face soonest: {described(found.fastest)} (p90 {found.fastest.latency.p90.value:.2f} ms); "
        f"most faces: {described(found.most)} ({found.most.images_per_second:.0f} images/s)",
        soft_wrap=True,
    )


def _print_sustained(found: Sustained) -> None:
    rows = [
        (f"{one.start:.1f}", one.queries, f"{one.p50:.3f}", f"{one.p90:.3f}", *_machine(one.mhz, one.celsius))
        for one in found.windows
    ]
    print_table(f"sustained for {found.seconds:.0f} s", ("s", "queries", "p50 ms", "p90 ms", "MHz", "°C"), rows)
    word = "it drifts" if found.drifts else "no drift that is certain"
    console().print(
        f"median changes by {_interval(found.drift, 2)} % a minute: {word}; "
        f"slowest part {found.slowest_to_fastest:.2f} of the fastest",
        soft_wrap=True,
    )


def _short(latency: Distribution) -> tuple[str, str, str]:
    return f"{latency.p50.value:.3f}", f"{latency.p90.value:.3f}", f"{latency.p99.value:.3f}"


def _interval(estimate: Estimate, digits: int = 3) -> str:
    """A figure with its interval; a bound that the samples do not give is left open."""
    value, low, high = (
        None if each is None else f"{each:.{digits}f}" for each in (estimate.value, estimate.low, estimate.high)
    )
    if low is None:
        return f"{value}" if high is None else f"{value} (up to {high})"
    return f"{value} ({low} to {high})" if high is not None else f"{value} (from {low})"


def _with_bounds(estimate: Estimate, digits: int = 3) -> tuple[str, str]:
    """A figure, and its interval; a bound that the samples do not give is left open."""
    low, high = (None if each is None else f"{each:.{digits}f}" for each in (estimate.low, estimate.high))
    bounds = f"{low} to {high}" if low and high else f"from {low}" if low else f"up to {high}" if high else "-"
    return f"{estimate.value:.{digits}f}", bounds


def _in_percent(share: Estimate) -> Estimate:
    low, high = (None if bound is None else 100 * bound for bound in (share.low, share.high))
    return Estimate(100 * share.value, low, high)


def _machine(mhz: float | None, celsius: float | None) -> tuple[str, str]:
    return "-" if mhz is None else f"{mhz:.0f}", "-" if celsius is None else f"{celsius:.0f}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _megabytes(size: float | None) -> str:
    return "unknown" if size is None else f"{size:.0f} MB"


# By field of the report.
SHOWN: dict[str, Callable[[Any], None]] = {
    "single_stream": _print_single_stream,
    "batches": _print_batches,
    "on_device": _print_on_device,
    "open_loop": _print_open_loop,
    "multi_stream": _print_multi_stream,
    "cold_start": _print_cold_start,
    "roofline": _print_roofline,
    "scaling": _print_scaling,
    "sustained": _print_sustained,
}
