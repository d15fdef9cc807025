"""Figures of the server in the text format of Prometheus."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator

PREFIX = "fer_edge"
MEDIA_TYPE = "text/plain; version=0.0.4"
COUNTERS = {
    "requests": "Answers over HTTP, by path and status.",
    "faces": "Faces recognised, by path.",
    "frames": "Frames of cameras, by result: recognised, dropped for a newer one, or damaged.",
    "timeouts": "Connections ended because the client was too slow.",
    "reloads": "Bundles loaded again, by result: done, or refused with the former model in use.",
}
LATENCY = "recognition_seconds"
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)  # upper bounds in seconds


class Metrics:
    """Counters, one histogram and gauges; only for use in the thread of the server.

    Args:
        gauges: Function that returns a value at present, by name and description.
        model_hash: Function that returns the SHA-256 of the model in use.
    """

    def __init__(self, gauges: dict[tuple[str, str], Callable[[], float]], model_hash: Callable[[], str]) -> None:
        self._gauges, self._model_hash = gauges, model_hash
        self._counts: dict[str, Counter[str]] = {name: Counter() for name in COUNTERS}
        self._buckets: dict[str, list[int]] = {}
        self._seconds: dict[str, float] = {}

    def count(self, name: str, number: int = 1, **labels: object) -> None:
        """Add to a counter.

        Args:
            name: Name in `COUNTERS`.
            number: Number to add, 1 by default.
            labels: Values of labels, from a small set: clients must not make new ones.
        """
        self._counts[name][",".join(f'{label}="{value}"' for label, value in labels.items())] += number

    def observe(self, path: str, seconds: float) -> None:
        """Add the time from an image's arrival to its result to the histogram.

        Args:
            path: Path of the request.
            seconds: Time in seconds.
        """
        self._buckets.setdefault(path, [0] * (len(BUCKETS) + 1))[bisect_left(BUCKETS, seconds)] += 1
        self._seconds[path] = self._seconds.get(path, 0.0) + seconds

    def text(self) -> str:
        """Return all figures."""
        return "\n".join([*self._lines(), ""])

    def _lines(self) -> Iterator[str]:
        for name, text in COUNTERS.items():
            yield from _heading(f"{name}_total", text, "counter")
            for labels, value in sorted(self._counts[name].items()):
                yield f"{PREFIX}_{name}_total{{{labels}}} {value}" if labels else f"{PREFIX}_{name}_total {value}"
        yield from _heading(LATENCY, "Time from the arrival of an image to its result, by path.", "histogram")
        for path, buckets in sorted(self._buckets.items()):
            total = 0
            for bound, number in zip((*BUCKETS, "+Inf"), buckets, strict=True):
                total += number
                yield f'{PREFIX}_{LATENCY}_bucket{{path="{path}",le="{bound}"}} {total}'
            yield f'{PREFIX}_{LATENCY}_sum{{path="{path}"}} {self._seconds[path]:.6f}'
            yield f'{PREFIX}_{LATENCY}_count{{path="{path}"}} {total}'
        for (name, text), value_now in self._gauges.items():
            yield from _heading(name, text, "gauge")
            yield f"{PREFIX}_{name} {value_now():g}"
        yield from _heading("model_info", "Model in use: the SHA-256 of its model.onnx.", "gauge")
        yield f'{PREFIX}_model_info{{model="{self._model_hash()}"}} 1'


def _heading(name: str, text: str, kind: str) -> tuple[str, str]:
    return f"# HELP {PREFIX}_{name} {text}", f"# TYPE {PREFIX}_{name} {kind}"
