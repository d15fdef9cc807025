"""What a scenario can be asked for: NaN, infinity and zero come out of a division as easily as out of a typing slip."""

from __future__ import annotations

from fer_edge.errors import ConfigError

LEAST, MOST = 1e-9, 1e9  # a nanosecond, the clock's unit; its 64 bits hold nine times 1e9 seconds


def check_positive(name: str, value: float) -> None:
    """Seconds, or frames a second, that a clock of nanoseconds can count.

    Raises:
        ConfigError: The value is not within 1e-9 and 1e9, or no number.
    """
    if not LEAST <= value <= MOST:
        raise ConfigError(f"{name} is {value:g}; expected a number above 0 and up to {MOST:,.0f}")
