"""Recorded expressions: a bag, read by mcap-ros2-support, by rosbags, and by rclpy."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hri_msgs.msg import Expression
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from mcap_ros2.writer import Writer
from rclpy.serialization import deserialize_message
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

MESSAGES = Path(__file__).parent / "interfaces" / "msg"
SEPARATOR = "=" * 80
HEADER = "builtin_interfaces/Time stamp\nstring frame_id\n"
TIME = "int32 sec\nuint32 nanosec\n"
TOPIC = "/humans/faces/f1/expression"


@pytest.fixture
def bag(tmp_path: Path) -> tuple[Path, list[Expression]]:
    """Write a bag with 50 expressions."""
    definition = f"{(MESSAGES / 'Expression.msg').read_text()}\n{SEPARATOR}\nMSG: std_msgs/Header\n{HEADER}"
    definition += f"\n{SEPARATOR}\nMSG: builtin_interfaces/Time\n{TIME}"
    messages = []
    path = tmp_path / "expressions.mcap"
    with path.open("wb") as file, Writer(file) as writer:
        schema = writer.register_msgdef("hri_msgs/msg/Expression", definition)
        for number in range(50):
            message = Expression(expression=("happy", "neutral")[number % 2], confidence=number / 50)
            message.valence, message.arousal = (math.nan, math.nan) if number % 5 == 0 else (number / 50 - 0.5, 0.25)
            message.header.frame_id = f"camera_{number}"
            message.header.stamp.sec, message.header.stamp.nanosec = 1_700_000_000 + number, number
            messages.append(message)
            writer.write_message(TOPIC, schema, message, log_time=number, publish_time=number, sequence=number)
    return path, messages


def values(message: object) -> tuple[object, ...]:
    """Return the fields of a message of any reader, for comparison."""
    numbers = (message.valence, message.arousal, message.confidence)  # type: ignore[attr-defined]
    header = message.header  # type: ignore[attr-defined]
    text = message.expression  # type: ignore[attr-defined]
    return (header.stamp.sec, header.stamp.nanosec, header.frame_id, text, *(f"{number:.6f}" for number in numbers))


def test_three_readers_agree(bag: tuple[Path, list[Expression]]) -> None:
    path, messages = bag
    expected = [values(message) for message in messages]
    with path.open("rb") as file:
        decoded = make_reader(file, decoder_factories=[DecoderFactory()]).iter_decoded_messages()
        assert [values(item.decoded_message) for item in decoded] == expected
    with path.open("rb") as file:
        records = [message.data for _, _, message in make_reader(file).iter_messages()]
    assert [values(deserialize_message(record, Expression)) for record in records] == expected
    with AnyReader([path], default_typestore=get_typestore(Stores.ROS2_JAZZY)) as reader:
        read = [reader.deserialize(data, connection.msgtype) for connection, _, data in reader.messages()]
    assert [values(message) for message in read] == expected
