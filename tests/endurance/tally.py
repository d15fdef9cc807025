"""Counts of one part of a long run."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from fer_edge.errors import FerEdgeError

SHOWN = 300  # characters of a failure


class Tally:
    """Counts of one part, of all of its threads.

    Attributes:
        frames: Frames, images or requests.
        refused: Calls that ended with an error of fer-edge.
        faults: Faults that were injected by the part itself.
        rounds: Rounds.
        failures: Violated properties, and how often.
        process: Process whose memory counts; 0 for the part's own.
        usage: Memory in MB, open files and threads of this process after the last round; None before.
    """

    def __init__(self) -> None:
        self.frames = self.refused = self.faults = self.rounds = self.process = 0
        self.failures: Counter[str] = Counter()
        self.usage: tuple[float, int, int] | None = None
        self._lock = threading.Lock()

    def add(self, **counts: int) -> None:
        """Add to counts; safe in several threads."""
        with self._lock:
            for name, count in counts.items():
                setattr(self, name, getattr(self, name) + count)

    def fail(self, reason: str) -> None:
        """Record a failure."""
        with self._lock:
            self.failures[reason[:SHOWN]] += 1

    @contextmanager
    def record_errors(self, subject: str) -> Iterator[None]:
        """Count a frame and its exception: errors of fer-edge are refusals, all others are failures."""
        self.add(frames=1)
        try:
            yield
        except FerEdgeError:
            self.add(refused=1)
        except Exception as error:
            self.fail(f"{subject} raised {type(error).__name__}: {error}")
