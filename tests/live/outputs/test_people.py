"""Choice of the people whose expressions are sent."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_edge.errors import ConfigError
from fer_edge.live.outputs.people import Choice
from tests.live.outputs.updates import person


def numbers(choice: Choice, *people: tuple[int, float]) -> dict[int, int]:
    """Return the number of each chosen person by place, for people with a number and a width."""
    chosen = choice.choose([person(number, "neutral", width=width) for number, width in people])
    return {place: face.track_id for place, face in chosen.items()}


def test_largest_face_stays_until_another_is_clearly_larger() -> None:
    choice = Choice("largest")
    assert numbers(choice, (1, 100), (2, 90)) == {0: 1}
    assert numbers(choice, (2, 110), (1, 100)) == {0: 1}
    assert numbers(choice, (2, 130), (1, 100)) == {0: 2}
    assert numbers(choice, (1, 100)) == {0: 1}
    assert numbers(choice) == {}


def test_one_person_is_chosen_by_number() -> None:
    assert numbers(Choice("2"), (1, 100), (2, 90)) == {0: 2}
    assert numbers(Choice("2"), (1, 100)) == {}


def test_all_people_have_places_that_are_used_again() -> None:
    choice = Choice("all")
    assert numbers(choice, (7, 50), (4, 90)) == {1: 4, 2: 7}
    assert numbers(choice, (7, 50)) == {2: 7}
    assert numbers(choice, (7, 50), (9, 60)) == {1: 9, 2: 7}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sets(st.integers(1, 9), max_size=5), max_size=8))
def test_places_are_stable_and_low(steps: list[set[int]]) -> None:
    choice = Choice("all")
    before: dict[int, int] = {}
    for present in steps:
        places = {number: place for place, number in numbers(choice, *((number, 50) for number in present)).items()}
        assert set(places) == present and len(set(places.values())) == len(present)
        assert all(places[number] == place for number, place in before.items() if number in present)
        assert max(places.values(), default=0) <= 9
        before = places


@pytest.mark.parametrize("text", ["", "0", "-1", "²", "1.5", "Largest"])
def test_other_choice_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"person is .*; expected largest, all or the number of a person, from 1"):
        Choice(text)
