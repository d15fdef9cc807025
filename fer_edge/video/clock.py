"""Times of frames, which increase also where the timestamps of a source do not."""

from __future__ import annotations

STEP = 0.001  # seconds between frames of a live source whose timestamps go backwards
MAX_DRIFT = 5.0  # seconds between the timestamps of a live source and their arrival before the clock is set again


class Clock:
    """Clock of a source: seconds since its first frame, from timestamps, across reconnections and repetitions.

    Args:
        live: Whether frames arrive as they are taken, so that a time without timestamp is the time of arrival.
        endless: Whether the source may run for days, so that timestamps far from the arrival are set again.
    """

    def __init__(self, *, live: bool, endless: bool) -> None:
        self._live, self._endless = live, endless
        self._offset: float | None = None  # from timestamps to times; None: the next frame sets it
        self._start: float | None = None  # arrival of the first frame
        self._last: float | None = None

    def restart(self) -> None:
        """Begin with timestamps of another origin, after a reconnection or at a repetition."""
        self._offset = None

    def time(self, stamp: float | None, arrival: float, period: float) -> float:
        """Return the time of the next frame, in seconds.

        Args:
            stamp: Timestamp in the source, in seconds; None without one.
            arrival: Time of arrival on the monotonic clock, in seconds.
            period: Usual time between two frames, in seconds.
        """
        if self._start is None:
            self._start = arrival
        since_start = arrival - self._start
        follow = 0.0 if self._last is None else self._last + (STEP if self._live else period)
        if stamp is None:
            value = since_start if self._live else follow
        else:
            if self._offset is None or (self._endless and abs(stamp + self._offset - since_start) > MAX_DRIFT):
                self._offset = max(since_start, follow) - stamp if self._live else follow - stamp
            value = stamp + self._offset
        if self._last is not None and value <= self._last:
            value = follow
        self._last = value
        return value
