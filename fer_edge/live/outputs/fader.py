"""Values of one avatar over time: an expression is held for a moment, and floats fade."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from fer_edge.live.outputs.mapping import AvatarMapping, Value

if TYPE_CHECKING:
    from fer_edge.expression import Expression


class Fader:
    """Values of one avatar, which follow the expression of a person.

    An expression that is not certain, or a face that is lost, leaves the last certain expression for `hold` seconds;
    then the values return to neutral. Floats change by at most 1 in `fade` seconds.

    Args:
        mapping: Values of the avatar.
    """

    def __init__(self, mapping: AvatarMapping) -> None:
        self._mapping = mapping
        self._neutral = mapping.neutral_values()
        self._goal = self._neutral
        self._held_until = -math.inf
        self._time = math.inf  # of the last update
        self.values: Mapping[str, Value] = self._neutral

    def update(self, expression: Expression | None, now: float) -> Mapping[str, Value]:
        """Return the values at a time.

        Args:
            expression: Expression of the person; None without a face.
            now: Time in seconds, not before that of the last update.
        """
        if expression is not None and expression.certain:
            self._goal = self._mapping.values(expression.label, expression.scores)
            self._held_until = now + self._mapping.hold
        elif now >= self._held_until:
            self._goal = self._neutral
        fade = self._mapping.fade
        step = max(now - self._time, 0.0) / fade if fade else math.inf
        self._time = now
        fading = {
            target.name: _approach(self.values[target.name], self._goal[target.name], step)
            for target in self._mapping.floats
        }
        self.values = {**self._goal, **fading}
        return self.values


def _approach(value: float, goal: float, step: float) -> float:
    return goal if abs(goal - value) <= step else value + math.copysign(step, goal - value)
