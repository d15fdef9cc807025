"""Parameters of the present avatar: the list of VRChat, and its discovery by multicast DNS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fer_edge.live.outputs import oscquery
from fer_edge.live.outputs.mapping import read_mapping
from fer_edge.live.outputs.oscquery import AvatarParameters
from fer_edge.live.outputs.vrchat import VRChatEncoder
from tests.live.outputs.updates import LABELS, person, update
from tests.live.outputs.vrchat_double import VRChat, parameters, running_vrchat
from tests.video.clips import wait_until

ROOT = Path(__file__).parents[3]
NO_LIST = "VRChat: there is no list of the avatar's parameters: all are sent; try discover=network"


@pytest.fixture
def vrchat() -> Iterator[VRChat]:
    with running_vrchat() as vrchat:
        yield vrchat


def read(vrchat: VRChat) -> frozenset[str] | None:
    return oscquery._read_names(f"http://127.0.0.1:{vrchat.port}/avatar/parameters")


def test_list_has_the_names_of_parameters_that_can_be_written(vrchat: VRChat) -> None:
    vrchat.tree = parameters("FER", "FER/Emotion", "Smile")
    vrchat.tree["CONTENTS"] |= parameters("Voice", access=1)["CONTENTS"]
    assert read(vrchat) == frozenset(("FER", "FER/Emotion", "Smile"))


@pytest.mark.parametrize(
    "tree",
    [None, b"", b"<html>", b"[" * 100_000, b"\xff", b'{"CONTENTS": {"a": "b'],
    ids=["no avatar", "empty", "HTML", "nested", "no text", "cut"],
)
def test_other_answer_is_no_list(vrchat: VRChat, tree: bytes | None) -> None:
    vrchat.tree = tree
    assert read(vrchat) is None


@pytest.mark.parametrize("tree", [[], {}, {"CONTENTS": []}, {"FULL_PATH": 3, "ACCESS": 3, "CONTENTS": {"a": 5}}])
def test_tree_of_another_form_has_no_names(vrchat: VRChat, tree: object) -> None:
    vrchat.tree = tree
    assert read(vrchat) == frozenset()


def test_server_that_has_ended_has_no_list() -> None:
    with running_vrchat() as vrchat:
        pass
    assert read(vrchat) is None


@pytest.mark.parametrize(
    ("address", "host", "is_trusted"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("192.0.2.7", "127.0.0.1", False),
        ("192.0.2.7", "192.0.2.7", True),
        ("192.0.2.7", "host.invalid", False),
    ],
)
def test_list_is_read_only_from_this_machine_or_the_receiver(address: str, host: str, is_trusted: bool) -> None:
    assert AvatarParameters("network", host, [], print)._is_trusted(address) is is_trusted


def test_only_parameters_of_the_avatar_are_sent(vrchat: VRChat, monkeypatch: pytest.MonkeyPatch) -> None:
    vrchat.tree = parameters("FER/Emotion", "GestureLeft")
    monkeypatch.setattr(oscquery, "SEARCH_SECONDS", 0.01)
    notes: list[str] = []
    known = AvatarParameters("loopback", "127.0.0.1", ["FER/Emotion", "FER/Fear"], notes.append)
    known._url = f"http://127.0.0.1:{vrchat.port}/avatar/parameters"  # as after a search
    encoder = VRChatEncoder(read_mapping("vrchat", LABELS), "largest", parameters=known)
    encoder.open()
    wait_until(lambda: notes)
    (message,) = encoder.encode(update(person(1, "anger")), 0)
    assert message == b"/avatar/parameters/FER/Emotion\0\0,i\0\0\0\0\0\4"
    vrchat.tree = None
    known.refresh()
    wait_until(lambda: len(notes) == 2)
    assert len(encoder.encode(update(person(1, "anger")), 10)) == 11
    encoder.close()
    assert notes == [
        "VRChat: the avatar has 1 of 2 parameters of the mapping: FER/Emotion",
        NO_LIST,
    ]


@pytest.mark.slow  # message bus, avahi and a search without result: 10 seconds
@pytest.mark.parametrize(
    ("mode", "sockets"),
    [
        # Only the socket for multicast has the wildcard address, bound to the interface.
        ("loopback", ["tcp 127.0.0.1", "udp 0.0.0.0%lo", "udp 127.0.0.1", "udp 127.0.0.1%lo"]),
        ("network", ["tcp 127.0.0.1", "udp 0.0.0.0", "udp 10.9.9.1", "udp 127.0.0.1"]),
    ],
)
def test_avahi_sees_the_output_and_is_seen(
    mode: str, sockets: list[str], oscdump: str, namespace: list[str], tmp_path: Path
) -> None:
    command = [*namespace, sys.executable, "-m", "tests.live.outputs.in_namespace", mode, str(tmp_path)]
    result = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    seen = json.loads(result.stdout)
    assert seen["notes"] == [
        NO_LIST if mode == "loopback" else NO_LIST.partition(";")[0],
        "VRChat: the avatar has 2 of 11 parameters of the mapping: FER/Happiness, FER/Emotion",
        "VRChat: the avatar has 0 of 11 parameters of the mapping: none",
    ]
    assert seen["addresses"] == ["/avatar/parameters/FER/Emotion", "/avatar/parameters/FER/Happiness"]
    (name, osc, *place), (_, http, *_) = seen["services"]
    assert name.startswith("fer-edge-") and (osc, http) == ("_osc._udp", "_oscjson._tcp")
    host, root = seen["documents"]["/?HOST_INFO"], seen["documents"]["/"]
    assert [host["NAME"], host["OSC_IP"], host["OSC_PORT"], host["OSC_TRANSPORT"]] == [name, *place, "UDP"]
    assert place[0] == "127.0.0.1" and {service[2] for service in seen["services"]} == {"127.0.0.1"}
    assert root["CONTENTS"]["avatar"]["CONTENTS"]["change"] == seen["documents"]["/avatar/change"]
    assert seen["sockets"] == sockets
