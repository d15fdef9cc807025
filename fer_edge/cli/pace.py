"""Remaining time of an epoch and of a training run."""

from __future__ import annotations

import time
from collections.abc import Callable


class Pace:
    """Remaining times of a run, from the speed of the current epoch and the length of the last validation.

    Args:
        steps: Number of steps of an epoch.
        epochs: Number of epochs of the run; with early stopping, the largest.
        epoch: Index of the current epoch, from 0.
        done: Number of its steps that an earlier process finished.
        clock: Function that returns seconds; `time.monotonic` by default.
    """

    def __init__(
        self, steps: int, epochs: int, epoch: int = 0, done: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._steps, self._epochs, self._clock = steps, epochs, clock
        self._epoch = epoch
        self._start = (done, clock())  # finished steps and time at which measuring began
        self._step_seconds = self._validation_seconds = self._epoch_remaining = 0.0
        self._first_step_done = False
        self._validation_start: float | None = None

    def batch(self, epoch: int, done: int) -> None:
        """Record a finished step. The first one is not timed: it includes compilation and cold caches.

        Args:
            epoch: Index of the epoch.
            done: Number of its finished steps.
        """
        now = self._clock()
        self._epoch = epoch
        start, start_time = self._start
        if done > start:
            self._step_seconds = (now - start_time) / (done - start)
        if not self._first_step_done:
            self._start, self._first_step_done = (done, now), True
        self._validation_start = None
        self._epoch_remaining = self._step_seconds * (self._steps - done) + self._validation_seconds

    def validating(self, done: int, total: int) -> None:
        """Record validated images.

        Args:
            done: Number of validated images.
            total: Number of validation images.
        """
        now = self._clock()
        if self._validation_start is None:
            self._validation_start = now
        if done:
            self._epoch_remaining = (now - self._validation_start) / done * (total - done)

    def epoch(self) -> None:
        """Record the end of an epoch."""
        now = self._clock()
        if self._validation_start is not None:
            self._validation_seconds = now - self._validation_start
        self._start, self._validation_start, self._epoch_remaining = (0, now), None, 0.0

    def remaining(self) -> tuple[int, int]:
        """Return the remaining seconds of the epoch and of the run."""
        later_epochs = self._epochs - self._epoch - 1
        epoch_seconds = self._step_seconds * self._steps + self._validation_seconds
        return round(self._epoch_remaining), round(self._epoch_remaining + later_epochs * epoch_seconds)
