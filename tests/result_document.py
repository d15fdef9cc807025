"""Check of result documents against their JSON schema."""

from __future__ import annotations

import json
from typing import Any

from jsonschema import Draft202012Validator

from fer_edge.document import schema_text

SCHEMA: dict[str, Any] = json.loads(schema_text())
VALIDATOR = Draft202012Validator(SCHEMA)


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
