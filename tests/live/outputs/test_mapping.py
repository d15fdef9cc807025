"""Mappings: files, values for probabilities, and their change over time."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_edge import Expression
from fer_edge.errors import ConfigError
from fer_edge.labels import LABEL_SETS
from fer_edge.live.outputs.fader import Fader
from fer_edge.live.outputs.mapping import AvatarMapping, BoolTarget, FloatTarget, IntTarget, read_mapping
from fer_edge.shipped import shipped_names
from tests.live.outputs.updates import LABELS, expression

SCORES = st.lists(st.floats(0, 1), min_size=len(LABELS), max_size=len(LABELS)).map(
    lambda values: dict(zip(LABELS, (value / (sum(values) or 1) for value in values), strict=True))
)
WEIGHTS = st.dictionaries(st.sampled_from(LABELS), st.floats(-1, 1), min_size=1)
FLOATS = st.builds(
    lambda weights, limits: FloatTarget("x", weights, limits[0], limits[1]),
    WEIGHTS,
    st.tuples(st.floats(0, 0.9), st.floats(0.91, 1)),
)
SECONDS = st.floats(0, 2)
EXPRESSIONS = st.one_of(
    st.none(), st.builds(expression, st.sampled_from(LABELS), st.floats(0.2, 1), st.sampled_from(["", "too small"]))
)
BOTH = AvatarMapping(
    hold=0.5,
    fade=0.4,
    floats=(FloatTarget("Joy", {"happiness": 1.0}), FloatTarget("Mood", {"happiness": 1.0, "sadness": -1.0})),
    ints=(IntTarget("Number", {"happiness": 1, "sadness": 3}),),
    bools=(BoolTarget("Smile", ("happiness",)),),
)


@pytest.mark.parametrize("labels", LABEL_SETS)
@pytest.mark.parametrize("name", shipped_names("mapping"))
def test_shipped_mapping_fits_every_label_set(name: str, labels: str) -> None:
    mapping = read_mapping(name, LABEL_SETS[labels].labels)
    used = {label for target in mapping.targets() for label in target.labels}
    assert used >= {"happiness", "sadness", "anger", "surprise"} and used <= set(LABEL_SETS[labels].labels)
    assert set(mapping.neutral_values()) == {target.name for target in mapping.targets()}


def test_labels_have_the_names_of_the_model(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('[[floats]]\nname = "Joy"\nweights = {happy = 1, contempt = 1}\n')
    mapping = read_mapping(str(path), ["Neutral", "Happiness"])
    assert mapping.floats[0].weights == {"Happiness": 1}
    assert read_mapping("vrchat", ["Neutral", "Happiness"]).neutral_values()["FER/Neutral"] == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hold = ", "is not valid TOML: "),
        ("hold = 0.5", r"there are no targets; expected a table \[\[floats\]\], \[\[ints\]\] or \[\[bools\]\]"),
        ("holds = 1", "holds is not known; did you mean hold?"),
        ("hold = -1", "hold is -1; expected a finite number from 0 to 60"),
        ("fade = 'slow'", "fade is 'slow'; expected a finite number from 0 to 60"),
        ('[[floats]]\nname = "A"', r"floats\[0\].weights is missing; expected a table of names and values"),
        (
            '[[floats]]\nname = "A"\nweights = {fear = 2}',
            r"floats\[0\].weights.fear is 2; expected a finite number from",
        ),
        ('[[floats]]\nname = "A"\nwieghts = {fear = 1}', r"floats\[0\].wieghts is not known; did you mean floats"),
        ('[[floats]]\nname = "A"\nweights = {feer = 1}', "no label feer; did you mean fear"),
        ('[[floats]]\nname = "A"\nweights = {}', "A depends on no label; expected one or more"),
        ('[[floats]]\nname = ""\nweights = {fear = 1}', "the name ''; expected 1 to 200 printable characters"),
        ('[[floats]]\nname = "A\\n"\nweights = {fear = 1}', r"the name 'A\\n'; expected 1 to 200 printable"),
        (
            '[[floats]]\nname = "A"\nweights = {fear = 1}\nthreshold = 0.5\nfull = 0.5',
            "threshold of A is 0.5; expected less than full, 0.5",
        ),
        ('[[ints]]\nname = "A"\nnumbers = {fear = 256}', r"numbers.fear is 256; expected a whole number from 0 to 255"),
        (
            '[[ints]]\nname = "A"\nnumbers = {fear = 1}\n[[bools]]\nname = "A"\nlabels = ["fear"]',
            "A is the name of several targets; expected different names",
        ),
    ],
)
def test_wrong_mapping_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        read_mapping(str(path), LABELS)
    assert str(error.value).startswith(f"the mapping {path}") and "\n" not in str(error.value)


def test_mapping_for_other_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match="vrchat: it has none of the labels of the model; expected some of: calm, tense"
    ):
        read_mapping("vrchat", ["calm", "tense"])
    with pytest.raises(ConfigError, match=r"none\.toml cannot be read: No such file or directory"):
        read_mapping(str(tmp_path / "none.toml"), LABELS)


@settings(max_examples=30, deadline=None)
@given(FLOATS, SCORES)
def test_value_is_in_its_range(target: FloatTarget, scores: dict[str, float]) -> None:
    least = -1 if min(target.weights.values()) < 0 else 0
    assert least <= target.value(scores) <= 1


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(LABELS), st.floats(0, 1), st.floats(0, 1))
def test_value_increases_with_the_probability(label: str, first: float, second: float) -> None:
    target = FloatTarget("x", {label: 1.0}, threshold=0.3, full=0.8)
    low, high = sorted((first, second))
    assert target.value({label: low}) <= target.value({label: high})
    assert (target.value({label: low}) == 0) >= (low <= 0.3) and (target.value({label: high}) == 1) >= (high >= 0.8)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(SECONDS, EXPRESSIONS)))
def test_floats_are_continuous_and_in_range(steps: list[tuple[float, Expression | None]]) -> None:
    fader, now = Fader(BOTH), 0.0
    fader.update(None, now)
    for seconds, present in steps:
        before = dict(fader.values)
        now += seconds
        after = fader.update(present, now)
        for target in BOTH.floats:
            assert abs(after[target.name] - before[target.name]) <= seconds / BOTH.fade + 1e-6
            assert -1 <= after[target.name] <= 1
        assert after["Number"] in (0, 1, 3) and after["Smile"] is (after["Number"] == 1)


@settings(max_examples=30, deadline=None)
@given(EXPRESSIONS, st.lists(st.floats(0.001, 0.2), min_size=1, max_size=20))
def test_values_do_not_depend_on_the_rate(present: Expression | None, steps: list[float]) -> None:
    often, once = Fader(BOTH), Fader(BOTH)
    for fader in (often, once):
        fader.update(expression("sadness"), 0)
        fader.update(present, 0)
    for index in range(len(steps)):
        often.update(present, sum(steps[: index + 1]))
    once.update(present, sum(steps))
    # The end of the hold falls between two updates, so that only certain expressions are compared exactly.
    if present is not None and present.certain:
        assert once.values == pytest.approx(dict(often.values))


def test_expression_is_held_and_then_fades_to_neutral() -> None:
    fader = Fader(BOTH)
    fader.update(None, 0)
    smile = expression("happiness")
    assert fader.update(smile, 0.2) == {"Joy": 0.5, "Mood": 0.5, "Number": 1, "Smile": True}
    assert fader.update(smile, 1)["Joy"] == 0.9
    unsure = expression("sadness", 0.3)
    assert not unsure.certain
    assert fader.update(unsure, 1.4) == fader.update(None, 1.49) == pytest.approx(fader.update(smile, 1.49))
    assert fader.update(None, 1.98)["Number"] == 1
    gone = fader.update(None, 2.0)
    assert (gone["Number"], gone["Smile"]) == (0, False) and 0 < gone["Joy"] < 0.9
    assert fader.update(None, 2.4) == {"Joy": 0, "Mood": 0, "Number": 0, "Smile": False}


def test_fade_of_zero_changes_at_once() -> None:
    fader = Fader(AvatarMapping(hold=0, fade=0, floats=BOTH.floats))
    fader.update(None, 0)
    assert fader.update(expression("sadness"), 0.001)["Mood"] == pytest.approx(-0.9 + 0.1 / 7)
    assert fader.update(None, 0.002) == {"Joy": 0, "Mood": 0}
