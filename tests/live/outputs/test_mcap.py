"""MCAP files, read by the package of the format's authors, and their schema in the form that Foxglove reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mcap.reader import make_reader

from fer_edge.document import schema_text
from fer_edge.live.outputs import make_output
from fer_edge.live.outputs.mcap import NANOSECONDS, TOPIC
from tests.live.outputs.updates import LABELS, framed, person
from tests.result_document import check_document


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "out.mcap"
    output = make_output(str(path), LABELS, print)
    output.open("a camera")
    for number in range(20):
        output.send(framed(number, person(1, LABELS[number % len(LABELS)])))
    output.close()
    return path


def test_messages_are_documents_with_times_of_the_clock(path: Path) -> None:
    with path.open("rb") as file:
        reader = make_reader(file, validate_crcs=True)
        messages = [*reader.iter_messages(topics=[TOPIC])]
        summary = reader.get_summary()
        (attachment,) = reader.iter_attachments()
    assert summary is not None and summary.statistics is not None and summary.statistics.message_count == 20
    documents = [json.loads(message.data) for _, _, message in messages]
    for document in documents:
        check_document(document)
    assert [document["people"][0]["expression"]["label"] for document in documents] == [*LABELS, *LABELS, *LABELS][:20]
    times = [message.log_time for _, _, message in messages]
    assert times[-1] - times[0] == 1.9 * NANOSECONDS and times[0] > 1.6e18  # 2020
    assert [message.sequence for _, _, message in messages] == [*range(20)]
    assert attachment.data.decode() == schema_text()


def check_for_foxglove(schema: dict[str, Any], place: str = "") -> None:
    """Check a schema by the rules of Foxglove's reader of JSON schemas (parseJsonSchema.ts of Foxglove Studio)."""
    assert schema["type"] == "object" and schema["properties"], place
    for name, inner in schema["properties"].items():
        assert "$ref" not in inner and "oneOf" not in inner, f"{place}.{name}"
        kind = inner["type"]
        if kind == "array":
            inner = inner["items"]
            kind = inner["type"]
            assert kind != "array", f"{place}.{name}"
        if kind == "object":
            check_for_foxglove(inner, f"{place}.{name}")
        else:
            assert kind in ("boolean", "string", "number", "integer"), f"{place}.{name}"


def test_schema_is_readable_for_foxglove(path: Path) -> None:
    with path.open("rb") as file:
        ((schema, channel, _), *_) = make_reader(file).iter_messages()
    assert schema is not None and (schema.name, schema.encoding) == ("fer_edge.Result", "jsonschema")
    assert (channel.topic, channel.message_encoding, channel.metadata["labels"]) == (TOPIC, "json", ",".join(LABELS))
    data = json.loads(schema.data)
    check_for_foxglove(data)
    person_schema = data["properties"]["people"]["items"]["properties"]
    assert [*person_schema["expression"]["properties"]["scores"]["properties"]] == [*LABELS]
    assert [*person_schema["face"]["properties"]] == ["box", "score", "tilt"]
