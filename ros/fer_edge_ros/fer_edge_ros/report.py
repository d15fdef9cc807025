"""Counts of the node, and its status on /diagnostics."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

NAME = "fer_edge_expression: facial expressions"
OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


@dataclass
class Counts:
    """Counts of images and expressions since activation.

    Attributes:
        received: Images of faces, or of the camera.
        replaced: Images that were replaced by a newer one before they were processed.
        skipped: Images that were not processed because of `processing_rate`.
        refused: Messages with invalid sizes, encodings, data or identifiers.
        failed: Images for which the engine failed.
        published: Expressions.
        uncertain: Expressions whose label is not certain.
        incompatible: Subscriptions and publishers with an incompatible QoS.
    """

    received: int = 0
    replaced: int = 0
    skipped: int = 0
    refused: int = 0
    failed: int = 0
    published: int = 0
    uncertain: int = 0
    incompatible: int = 0


@dataclass
class Period:
    """Observations since the last status.

    Attributes:
        start: Time of the last status, of `time.monotonic`.
        latencies: Times from the arrival of an image to its published expression, in seconds.
        counts: Counts at the start.
        messages: Last warning or error by kind of count: "refused", "failed", "incompatible", "uncertain".
    """

    start: float
    counts: Counts
    latencies: list[float] = field(default_factory=list)
    messages: dict[str, str] = field(default_factory=dict)


class Report:
    """Counts of the node, from several threads, and the status that they give."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.counts = Counts()
        self._period = Period(time.monotonic(), replace(self.counts))

    def count(self, name: str, message: str = "") -> None:
        """Increase a count by one.

        Args:
            name: Attribute of `Counts`.
            message: Reason, for the status; empty by default.
        """
        with self._lock:
            setattr(self.counts, name, getattr(self.counts, name) + 1)
            if message:
                self._period.messages[name] = message

    def count_result(self, latency: float, warning: str = "", *, is_certain: bool = True) -> None:
        """Count a published expression.

        Args:
            latency: Time from the arrival of its image in seconds.
            warning: Reason not to trust the label; empty by default.
            is_certain: Whether the label is certain, True by default.
        """
        self.count("published")
        if not is_certain:
            self.count("uncertain", warning)
        with self._lock:
            self._period.latencies.append(latency)

    def status(self, state: str, values: Mapping[str, str], problem: tuple[bytes, str] | None) -> DiagnosticStatus:
        """Return the status since the last call, and begin a new period.

        Args:
            state: State of the lifecycle: "active".
            values: Further values to report, by name.
            problem: Level and message of a problem that the counts do not show; None without one.
        """
        now = time.monotonic()
        with self._lock:
            period, counts = self._period, replace(self.counts)
            self._period = Period(now, counts)
        rate = (counts.published - period.counts.published) / max(now - period.start, 1e-3)
        level, message = _judge(counts, period) or problem or (OK, f"{state}, {rate:.1f} expressions/s")
        latencies = 1000 * np.array(period.latencies)
        percentiles = [f"{value:.1f}" for value in np.percentile(latencies, (50, 99))] if latencies.size else ["", ""]
        measurements = {
            "state": state,
            **values,
            "expressions per second": f"{rate:.1f}",
            "latency p50, ms": percentiles[0],
            "latency p99, ms": percentiles[1],
            **{name: str(value) for name, value in vars(counts).items()},
            "last warning": period.messages.get("uncertain", ""),
        }
        pairs = [KeyValue(key=key, value=value) for key, value in measurements.items()]
        return DiagnosticStatus(level=level, name=NAME, message=message, values=pairs)


def _judge(counts: Counts, period: Period) -> tuple[bytes, str] | None:
    """Return level and message of the worst problem in a period; None without one."""
    for name, level in (("failed", ERROR), ("refused", WARN), ("incompatible", WARN)):
        number = getattr(counts, name) - getattr(period.counts, name)
        if number:
            return level, f"{number} {name}: {period.messages.get(name, '')}"
    return None
