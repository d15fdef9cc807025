"""Smoothing of one person's probabilities over time, and hysteresis of the label."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fer_edge.errors import ConfigError, shown
from fer_edge.quality import MIN_SCORE

Scores = npt.NDArray[np.float64]  # probability of each label
# With this lead and the default filter, four still faces keep their labels for a minute: benchmarks/smoothing.py.
HYSTERESIS = 0.2
NOISE_FACTOR = 15.0  # relative increase of this lead per unit of the noise's standard deviation
NOISE_CUTOFF = 0.3  # cut-off frequency of the noise's variance in Hz
MARGIN = 0.05  # change of the bound for certain labels, so that certainty does not flicker


@dataclass(frozen=True)
class OneEuro:
    """Settings of the One Euro filter (Casiez et al., CHI 2012): smooth while nothing changes, fast on a change.

    Attributes:
        cutoff: Cut-off frequency of unchanging probabilities in Hz, 1 by default; lower values smooth more.
        beta: Increase of the cut-off frequency with the speed of the fastest probability, in Hz per 1/s, 1 by default.
        speed_cutoff: Cut-off frequency of these speeds in Hz, 1 by default.
    """

    cutoff: float = 1.0
    beta: float = 1.0
    speed_cutoff: float = 1.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            is_number = type(value) in (int, float) and math.isfinite(value)
            if not is_number or value < 0 or (value == 0 and name != "beta"):
                least = "of at least 0" if name == "beta" else "above 0"
                raise ConfigError(f"{name} of OneEuro is {shown(value)}; expected a number {least}")


class Smoother:
    """Filter of one person's probabilities.

    All labels have the same weight of the new frame, that of the fastest probability, so that the sum stays 1. Weights
    are exponential in the time between frames, so that the result does not depend on the frame rate.

    Args:
        settings: Settings of the filter; None: no smoothing.
        hysteresis: Lead of another label's probability that changes the label, 0 to 1. It grows with the noise of the
            probabilities. The variance of noise is minus the covariance of two successive changes (Roll, Journal of
            Finance 1984); a new expression changes the probabilities once, which leaves this covariance at 0.

    Attributes:
        label: Index of the label; -1 before the first frame.
        since: Time in seconds at which the label began.
        min_score: Score below which the label is not certain: lower while it is certain, and higher while it is not.
    """

    def __init__(self, settings: OneEuro | None, hysteresis: float) -> None:
        self._settings = settings
        self._hysteresis = hysteresis
        self._time = 0.0
        self._is_certain = False
        self._last: Scores = np.zeros(0)
        self._smooth, self._speeds, self._change, self._noise = self._last, self._last, self._last, self._last
        self.reset()

    def reset(self) -> None:
        """Start again with the next frame, as after a gap."""
        self.label, self.since, self.min_score = -1, 0.0, MIN_SCORE

    def update(self, scores: Scores, time: float) -> Scores:
        """Return the smoothed probabilities.

        Args:
            scores: Probabilities of a frame, (classes,).
            time: Time of the frame in seconds, later than that of the last one.
        """
        if self.label < 0:
            self._smooth, self._speeds = scores, np.zeros_like(scores)
            self._change, self._noise = np.zeros_like(scores), np.zeros_like(scores)
        else:
            self._filter(scores, scores - self._last, time - self._time)
        self._last, self._time = scores, time
        self._choose_label(time)
        return self._smooth

    def _filter(self, scores: Scores, change: Scores, seconds: float) -> None:
        self._noise += _weight(NOISE_CUTOFF, seconds) * (-change * self._change - self._noise)
        self._change = change
        if self._settings is None:
            self._smooth = scores
            return
        settings = self._settings
        self._speeds += _weight(settings.speed_cutoff, seconds) * (change / seconds - self._speeds)
        cutoff = settings.cutoff + settings.beta * float(np.abs(self._speeds).max())
        self._smooth = self._smooth + _weight(cutoff, seconds) * (scores - self._smooth)

    def _choose_label(self, time: float) -> None:
        best, scores = int(self._smooth.argmax()), self._smooth
        if self.label < 0 or (best != self.label and scores[best] >= scores[self.label] + self._lead()):
            self.label, self.since, self.min_score = best, time, MIN_SCORE
        else:
            self.min_score = MIN_SCORE + (-MARGIN if self._is_certain else MARGIN)
        self._is_certain = bool(scores[self.label] >= self.min_score)

    def _lead(self) -> float:
        """Return the lead of another label that changes the label."""
        return self._hysteresis * (1 + NOISE_FACTOR * math.sqrt(max(float(self._noise.max()), 0.0)))


def _weight(cutoff: float, seconds: float) -> float:
    """Return the weight of a value that was constant for some seconds, in a low-pass filter of first order."""
    return -math.expm1(-math.tau * cutoff * seconds)
