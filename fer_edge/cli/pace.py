"""Time that an epoch and a run still take."""

from __future__ import annotations

import time
from collections.abc import Callable


class Pace:
    """Remaining times of a run, from the speed of the epoch under way and the last validation.

    Args:
        steps: Of an epoch.
        epochs: Of the run; with early stopping, its most.
        epoch: Under way, counted from 0.
        done: Steps of it that an earlier process did.
        clock: Seconds.
    """

    def __init__(
        self, steps: int, epochs: int, epoch: int = 0, done: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._steps, self._epochs, self._clock = steps, epochs, clock
        self._epoch, self._first = epoch, (done, clock())
        self._step_seconds = self._validation_seconds = self._rest = 0.0
        self._warm = False
        self._validating_since: float | None = None

    def batch(self, epoch: int, done: int) -> None:
        """Note a finished step. The time before the first one is left out: it holds compilation and caches."""
        now = self._clock()
        self._epoch = epoch
        begun, since = self._first
        if done > begun:
            self._step_seconds = (now - since) / (done - begun)
        if not self._warm:
            self._first, self._warm = (done, now), True
        self._validating_since = None
        self._rest = self._step_seconds * (self._steps - done) + self._validation_seconds

    def validating(self, done: int, total: int) -> None:
        """Note validated images."""
        now = self._clock()
        if self._validating_since is None:
            self._validating_since = now
        if done:
            self._rest = (now - self._validating_since) / done * (total - done)

    def epoch(self) -> None:
        """Note the end of an epoch."""
        now = self._clock()
        if self._validating_since is not None:
            self._validation_seconds = now - self._validating_since
        self._first, self._validating_since, self._rest = (0, now), None, 0.0

    def left(self) -> tuple[int, int]:
        """Seconds that the epoch and the run still take."""
        further = self._epochs - self._epoch - 1
        run = self._rest + further * (self._step_seconds * self._steps + self._validation_seconds)
        return round(self._rest), round(run)
