"""Choice of the people whose expressions an output sends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fer_edge.errors import ConfigError, shown

if TYPE_CHECKING:
    from fer_edge.faces.tracker import TrackedFace

LARGEST, ALL = "largest", "all"
LEAD = 1.25  # width of another face, in widths of the present one, at which it becomes the largest


class Choice:
    """Choice of people: the largest face, the face of one person, or all.

    Each chosen person has a place: 0 for a single one; of all people, the lowest number from 1 that is free.

    Args:
        person: "largest", "all", or the number of a person.

    Raises:
        ConfigError: Text that is none of them.
    """

    def __init__(self, person: str) -> None:
        if person not in (LARGEST, ALL) and not (person.isascii() and person.isdigit() and int(person) > 0):
            raise ConfigError(f"person is {shown(person)}; expected {LARGEST}, {ALL} or the number of a person, from 1")
        self._person = person
        self._largest = 0  # number of the person that was the largest; 0: none
        self._places: dict[int, int] = {}  # place by number of the person

    def choose(self, people: Sequence[TrackedFace]) -> dict[int, TrackedFace]:
        """Return the chosen people by place.

        Args:
            people: Tracked faces.
        """
        if self._person == ALL:
            return self._place(people)
        if self._person != LARGEST:
            chosen = next((person for person in people if person.track_id == int(self._person)), None)
        else:
            chosen = self._choose_largest(people)
            self._largest = 0 if chosen is None else chosen.track_id
        return {} if chosen is None else {0: chosen}

    def _choose_largest(self, people: Sequence[TrackedFace]) -> TrackedFace | None:
        """Return the largest face; the one that was the largest stays until another is clearly larger."""
        largest = max(people, key=lambda person: person.face.box[2], default=None)
        for person in people:
            if largest is not None and person.track_id == self._largest:
                return largest if largest.face.box[2] >= LEAD * person.face.box[2] else person
        return largest

    def _place(self, people: Sequence[TrackedFace]) -> dict[int, TrackedFace]:
        present = {person.track_id for person in people}
        self._places = {number: place for number, place in self._places.items() if number in present}
        chosen = {}
        for person in sorted(people, key=lambda person: person.track_id):
            if person.track_id not in self._places:
                taken = set(self._places.values())
                self._places[person.track_id] = next(place for place in range(1, len(people) + 1) if place not in taken)
            chosen[self._places[person.track_id]] = person
        return chosen
