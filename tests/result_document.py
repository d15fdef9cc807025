"""Check of result documents against their JSON schema, and against the examples of the reference page."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from fer_edge.document import schema_text

SCHEMA: dict[str, Any] = json.loads(schema_text())
VALIDATOR = Draft202012Validator(SCHEMA)
PAGE = Path(__file__).parents[1] / "docs" / "reference" / "result-document.md"
EXAMPLES = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.S)]


def check_document(document: object) -> None:
    """Raise an error for a document that its schema refuses, or with numbers of more than five digits."""
    VALIDATOR.validate(document)
    for number in numbers(document):
        assert round(number, 5) == number


def numbers(value: object) -> list[float]:
    """Return all numbers with a fraction in plain data."""
    if isinstance(value, dict):
        return [number for inner in value.values() for number in numbers(inner)]
    if isinstance(value, list):
        return [number for inner in value for number in numbers(inner)]
    return [value] if isinstance(value, float) else []


def assert_alike(example: Any, real: Any, place: str = "") -> None:
    """Check that an example has the keys, texts and about the numbers of a document."""
    if isinstance(example, dict):
        assert list(example) == list(real), place
        for name, value in example.items():
            assert_alike(value, real[name], f"{place}.{name}")
    elif isinstance(example, list):
        assert len(example) == len(real), place
        for index, value in enumerate(example):
            assert_alike(value, real[index], f"{place}[{index}]")
    elif isinstance(example, float):
        assert real == pytest.approx(example, abs=0.1, rel=0.02), place
    else:
        assert example == real, place
