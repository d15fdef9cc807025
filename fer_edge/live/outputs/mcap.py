"""MCAP files of documents, for Foxglove and other tools of robotics."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

import fer_edge
from fer_edge._require import require
from fer_edge.document import schema_text

TOPIC = "/fer_edge/result"
NANOSECONDS = 1_000_000_000


@contextmanager
def write_mcap(path: Path, labels: Sequence[str]) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Open an MCAP file with one channel of documents as JSON, and the JSON schema of the document as attachment.

    The times of a live source are those of the clock; the times of a recording begin at 0.

    Args:
        path: File to write.
        labels: Labels of the model.

    Yields:
        Function that appends a document.

    Raises:
        EngineUnavailableError: mcap is not installed.
    """
    start: int | None = None  # time of the first document on the clock, in nanoseconds

    def write(document: dict[str, Any]) -> None:
        nonlocal start
        moment = round(document["time"] * NANOSECONDS)
        if start is None:
            start = time.time_ns() - moment if document["live"]["source"]["live"] else 0
        file.add_message(
            channel, start + moment, msgspec.json.encode(document), start + moment, sequence=document["frame"] or 0
        )

    with path.open("wb") as stream:
        file = require("mcap.writer", "mcap", "MCAP").Writer(stream)
        file.start(library=f"fer-edge {fer_edge.__version__}")
        schema = schema_text()
        data = json.dumps(plain_schema(json.loads(schema), labels)).encode()
        name = json.loads(schema)["title"]
        schema_id = file.register_schema(name=name, encoding="jsonschema", data=data)
        channel = file.register_channel(
            topic=TOPIC, message_encoding="json", schema_id=schema_id, metadata={"labels": ",".join(labels)}
        )
        now = time.time_ns()
        file.add_attachment(now, now, "result.schema.json", "application/schema+json", schema.encode())
        yield write
        file.finish()


def plain_schema(schema: dict[str, Any], labels: Sequence[str]) -> dict[str, Any]:
    """Return the schema of the document in the form that Foxglove reads.

    It has no references, one type for each key, no arrays of arrays, and the names of the labels. So a key that may be
    null has its other type.

    Args:
        schema: The schema of the document.
        labels: Labels of the model.
    """
    return {"title": schema["title"], **_plain(schema, schema["$defs"], labels)}


def _plain(schema: dict[str, Any], definitions: dict[str, Any], labels: Sequence[str]) -> dict[str, Any]:
    if "$ref" in schema:
        schema = {**definitions[schema["$ref"].rpartition("/")[2]], **schema}
    kinds = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    plain = {"type": next(kind for kind in kinds if kind != "null")}
    if "description" in schema:
        plain["description"] = schema["description"]
    if plain["type"] == "array":
        plain["items"] = _plain(schema["items"], definitions, labels)
    elif plain["type"] == "object":
        properties = schema.get("properties") or dict.fromkeys(labels, schema["additionalProperties"])
        inner = {name: _plain(value, definitions, labels) for name, value in properties.items()}
        plain["properties"] = {name: value for name, value in inner.items() if not _has_arrays(value)}
    return plain


def _has_arrays(schema: dict[str, Any]) -> bool:
    return bool(schema["type"] == "array" and schema["items"]["type"] == "array")
