"""The result document: what its schema allows, and examples of the reference page."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator, ValidationError

from fer_edge.document import make_document, person_data
from fer_edge.expression import Expression
from fer_edge.faces.face import Face
from fer_edge.faces.tracker import TrackedFace
from fer_edge.quality import FaceQuality
from tests.result_document import EXAMPLES, PAGE, SCHEMA, assert_alike, check_document


def float32(value: float) -> Any:
    """Return a number of NumPy, which has no JSON."""
    return np.float32(value)


def tracked() -> TrackedFace:
    """Return a face with values of many digits, some of them NumPy's."""
    third = float32(1 / 3)
    quality = FaceQuality(100 / 3, 100 / 7, 2 / 3, 100 / 7, third, 1 / 30, 2 * third, 1.0, 100 / 9)
    scores = {"happiness": 2 / 3, "fear": 1 / 3}
    expression = Expression("happiness", 2 / 3, scores, quality=quality)
    points = np.arange(10).reshape(5, 2) / 3
    box = (np.float64(1 / 3), -1 / 3, 100 / 3, 100 / 3)
    return TrackedFace(7, Face(box, 2 * third, points, presence=1.0), expression, expression, 1 / 3, True)


def document() -> dict[str, Any]:
    return make_document("clip.mp4", [tracked().to_dict()], frame=3, time=1 / 3, size=(64, 48))


def test_schema_is_valid() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_numbers_are_rounded_by_one_rule() -> None:
    data = document()
    check_document(json.loads(json.dumps(data)))
    person = data["people"][0]
    assert data["time"] == person["since"] == 0.33333 and data["size"] == [64, 48]
    assert person["face"]["box"] == [0.33, -0.33, 33.33, 33.33] and person["face"]["points"][1] == [0.67, 1.0]
    assert person["face"]["score"] == person["expression"]["score"] == 0.66667
    assert person["quality"] == {
        "width": 33.33, "height": 14.29, "share": 0.66667, "contrast": 14.28571, "noise": 0.33333, "sharpness": 0.03333,
        "detection": 0.66667, "presence": 1.0, "tilt": 11.11,
    }  # fmt: skip
    assert person["raw"] == {name: person["expression"][name] for name in ("label", "score", "scores")}
    assert list(person["expression"]["scores"]) == ["happiness", "fear"]


@pytest.mark.parametrize("face", [None, (1.0, 2.0, 30.0, 40.0)], ids=["crop", "box"])
def test_absent_knowledge_is_null(face: tuple[float, float, float, float] | None) -> None:
    data = make_document("face.png", [person_data(Expression("calm", 1.0, {"calm": 1.0}), face)])
    check_document(data)
    assert (data["frame"], data["time"], data["size"]) == (None, None, None)
    person = data["people"][0]
    assert person["expression"]["derived"] is None
    assert [key for key, value in person.items() if value is None] == [
        "id", *(["face"] if face is None else []), "quality", "raw", "since", "fresh",
    ]  # fmt: skip
    if face is not None:
        assert person["face"] == {"box": [1, 2, 30, 40], "score": None, "points": None, "tilt": None}


def people(data: dict[str, Any]) -> dict[str, Any]:
    person: dict[str, Any] = data["people"][0]
    return person


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.pop("time"),
        lambda data: data.update(version=2),
        lambda data: data.update(size=[64]),
        lambda data: people(data).pop("raw"),
        lambda data: people(data).update(age=3),
        lambda data: people(data)["face"].update(box=[1, 2, 3]),
        lambda data: people(data)["expression"]["scores"].update(fear=1.5),
        lambda data: people(data)["expression"].update(scores={}),
        lambda data: people(data)["expression"].update(certain=None),
        lambda data: people(data)["quality"].pop("tilt"),
    ],
)
def test_other_documents_are_refused(change: Callable[[dict[str, Any]], object]) -> None:
    data = document()
    check_document(data)
    change(data)
    with pytest.raises(ValidationError):
        check_document(data)


def test_other_keys_are_allowed_at_the_top() -> None:
    """A reader of version 1 ignores them, so that later releases can add some."""
    check_document({**document(), "number": 3})


def keys(schema: dict[str, Any]) -> Iterator[str]:
    """Yield the names of all keys below a schema."""
    for name, inner in schema.get("properties", {}).items():
        yield name
        yield from keys(inner)
    if "items" in schema:
        yield from keys(schema["items"])


def test_page_names_every_key() -> None:
    page = PAGE.read_text()
    every_key = {*keys(SCHEMA), *(key for inner in SCHEMA["$defs"].values() for key in keys(inner))}
    assert {key for key in every_key if f"`{key}`" not in page} == set()


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_follow_the_schema(example: dict[str, Any]) -> None:
    check_document(example)


def test_alike_documents_are_recognised() -> None:
    other = copy.deepcopy(document())
    other["people"][0]["expression"]["score"] += 0.001
    assert_alike(document(), other)
    other["people"][0]["raw"]["label"] = "fear"
    with pytest.raises(AssertionError, match=r"raw\.label"):
        assert_alike(document(), other)
