"""OpenAPI document of the server."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import fer_edge
from fer_edge.document import schema_text


def openapi_document() -> dict[str, Any]:
    """Return the OpenAPI document, version 3.1, with the schema of the result document as a component."""
    text = resources.files("fer_edge").joinpath("serve", "openapi.json").read_text(encoding="utf-8")
    document: dict[str, Any] = json.loads(text)
    schema: dict[str, Any] = json.loads(schema_text().replace("#/$defs/", "#/components/schemas/"))
    parts = schema.pop("$defs")
    result = {name: value for name, value in schema.items() if not name.startswith("$")}
    document["info"]["version"] = fer_edge.__version__
    document["components"]["schemas"] |= {"Result": result, **parts}
    return document
