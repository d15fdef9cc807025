"""OSC outputs: what liblo's oscdump receives, and the datagrams of VRChat and VMC."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pythonosc.osc_bundle import OscBundle
from pythonosc.osc_message import OscMessage

from fer_edge import ExpressionTracker
from fer_edge.errors import ConfigError, FerEdgeError
from fer_edge.live import LiveSession
from fer_edge.live.output import Output
from fer_edge.live.outputs import make_output, sender
from fer_edge.live.outputs.mapping import AvatarMapping, BoolTarget, FloatTarget, IntTarget, read_mapping
from fer_edge.live.outputs.vmc import MAX_BUNDLE, VmcEncoder
from fer_edge.live.outputs.vrchat import RESEND_SECONDS, ChangeListener, VRChatEncoder
from fer_edge.video import open_source
from tests.live.outputs.receivers import Message, OscDump, free_port
from tests.live.outputs.updates import LABELS, person, update
from tests.video.clips import Frame, wait_until, write_clip

PREFIX = "/avatar/parameters/"
EMOTION, HAPPINESS = f"{PREFIX}FER/Emotion", f"{PREFIX}FER/Happiness"
SMALL = AvatarMapping(
    fade=0,
    hold=0,
    floats=(FloatTarget("Joy", {"happiness": 1.0}),),
    ints=(IntTarget("Number", {"happiness": 1, "sadness": 3}),),
    bools=(BoolTarget("Smile", ("happiness",)),),
)
HAPPY, SAD, NOBODY = update(person(1, "happiness")), update(person(1, "sadness")), update()


@pytest.fixture
def receiver(oscdump: str) -> Iterator[OscDump]:
    with OscDump() as receiver:
        yield receiver


def open_output(target: str, notes: list[str] | None = None) -> Output:
    output = make_output(target, LABELS, print if notes is None else notes.append)
    output.open("camera")
    return output


def contents(datagrams: Any) -> dict[str, Any]:
    """Return the first argument of each message by the end of its address."""
    messages = [OscMessage(datagram) for datagram in datagrams]
    assert all(message.address.startswith(PREFIX) for message in messages)
    return {message.address.removeprefix(PREFIX): message.params[0] for message in messages}


def test_oscdump_receives_the_parameters_of_an_avatar(receiver: OscDump) -> None:
    output = open_output(f"osc://127.0.0.1:{receiver.port}?app=vrchat")
    output.send(HAPPY)
    wait_until(lambda: receiver.latest(HAPPINESS) == 0.9)
    wait_until(lambda: receiver.latest(f"{PREFIX}VRCFaceBlendV") == 1)
    assert Message(EMOTION, "i", (1,)) in receiver.messages
    assert {message.address for message in receiver.messages} == {
        f"{PREFIX}{target.name}" for target in read_mapping("vrchat", LABELS).targets()
    }
    assert {message.types for message in receiver.messages} == {"i", "f"}
    output.close()
    wait_until(lambda: receiver.latest(EMOTION) == 0 and receiver.latest(f"{PREFIX}FER/Neutral") == 1)
    assert receiver.latest(HAPPINESS) == receiver.latest(f"{PREFIX}VRCFaceBlendV") == 0


@pytest.mark.parametrize(("mapping", "joy"), [("vmc-vrm0", "Joy"), ("vmc-vrm1", "happy")])
def test_oscdump_receives_one_bundle_of_blend_shapes(mapping: str, joy: str, receiver: OscDump) -> None:
    output = open_output(f"osc://127.0.0.1:{receiver.port}?app=vmc&mapping={mapping}")
    output.send(update(person(1, "happiness", 0.7)))
    value = Message("/VMC/Ext/Blend/Val", "sf", (joy, 0.8))  # 0.7 between the threshold 0.3 and full, 0.8
    wait_until(lambda: value in receiver.messages)
    output.close()
    wait_until(lambda: receiver.messages[-5:-1] == [
        Message("/VMC/Ext/Blend/Val", "sf", (target.name, 0.0)) for target in read_mapping(mapping, LABELS).floats
    ])  # fmt: skip
    assert [message.address for message in receiver.messages[:5]] == [
        *["/VMC/Ext/Blend/Val"] * 4,
        "/VMC/Ext/Blend/Apply",
    ]


def test_receiver_that_ends_and_starts_again(oscdump: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "FIRST_WAIT", 0.05)
    monkeypatch.setattr(sender, "LONGEST_WAIT", 0.05)
    monkeypatch.setattr("fer_edge.live.outputs.osc.SETTLE_SECONDS", 0.2)
    notes: list[str] = []
    with OscDump() as receiver:
        port = receiver.port
        output = open_output(f"osc://127.0.0.1:{port}?app=vrchat", notes)
        output.send(HAPPY)
        wait_until(lambda: receiver.latest(EMOTION) == 1)
    wait_until(lambda: notes)
    output.send(SAD)
    with OscDump(port) as receiver:
        wait_until(lambda: receiver.latest(EMOTION) == 3)
        wait_until(lambda: len(notes) == 2)
        output.close()
    assert notes == [
        f"VRChat at 127.0.0.1:{port}: no program has this port; trying again",
        f"VRChat at 127.0.0.1:{port}: working again",
    ]


def test_name_of_the_host_may_have_several_addresses(receiver: OscDump) -> None:
    output = open_output(f"osc://localhost:{receiver.port}?app=vmc")  # oscdump receives IPv4 only, as VRChat does
    output.send(HAPPY)
    wait_until(lambda: receiver.messages)
    output.close()


def test_name_with_pattern_characters_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[[floats]]\nname = "Big Smile"\nweights = {happiness = 1}\n')
    make_output(f"osc://127.0.0.1?app=vmc&mapping={path}", LABELS, print)
    with pytest.raises(ConfigError, match=r"mine.toml: the name 'Big Smile'; expected no blanks"):
        make_output(f"osc://127.0.0.1?app=vrchat&mapping={path}", LABELS, print)


def test_unknown_host_is_reported() -> None:
    notes: list[str] = []
    output = open_output("osc://host.invalid?app=vmc", notes)
    output.send(HAPPY)
    wait_until(lambda: notes)
    output.close()
    assert notes[0].startswith("VMC program at host.invalid:39540: ")


def test_changed_values_are_sent_at_once_and_all_every_second() -> None:
    encoder = VRChatEncoder(SMALL, "largest")
    everything = {"Joy": 0, "Number": 0, "Smile": False}
    assert contents(encoder.encode(NOBODY, 100)) == everything
    assert encoder.encode(NOBODY, 100.1) == []
    assert contents(encoder.encode(HAPPY, 100.2)) == {"Joy": pytest.approx(0.9), "Number": 1, "Smile": True}
    assert contents(encoder.encode(update(person(1, "happiness", 0.8)), 100.3)) == {"Joy": pytest.approx(0.8)}
    assert contents(encoder.encode(NOBODY, 100 + RESEND_SECONDS)) == everything
    assert encoder.encode(NOBODY, 101.1) == []
    encoder.restart()
    assert contents(encoder.encode(NOBODY, 101.2)) == everything


def test_uncertain_expression_is_neutral() -> None:
    encoder = VRChatEncoder(SMALL, "largest")
    small = update(person(1, "happiness", warning="face of 10 x 10 pixels"))
    assert contents(encoder.encode(small, 0))["Number"] == 0


def test_all_people_have_parameters_of_their_own() -> None:
    encoder = VRChatEncoder(SMALL, "all")
    assert encoder.encode(NOBODY, 0) == []
    both = contents(encoder.encode(update(person(5, "sadness"), person(3, "happiness")), 1))
    assert both.keys() == {f"{name}{place}" for name in ("Joy", "Number", "Smile") for place in (1, 2)}
    assert (both["Number1"], both["Number2"]) == (1, 3)
    later = contents(encoder.encode(SAD, 1.1))  # person 1 has come, the others have left
    assert (later["Number1"], later["Number2"]) == (3, 0)
    assert set(contents(encoder.encode_neutral()).values()) == {0}


def test_person_is_chosen_by_number() -> None:
    encoder = VRChatEncoder(SMALL, "2")
    people = update(person(1, "happiness"), person(2, "sadness"))
    assert contents(encoder.encode(people, 0))["Number"] == 3


def test_change_of_the_avatar_sends_everything_again() -> None:
    port = free_port()
    encoder = VRChatEncoder(SMALL, "largest", ChangeListener(port))
    encoder.open()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as vrchat:
        vrchat.connect(("127.0.0.1", port))
        encoder.encode(NOBODY, 0)
        vrchat.send(b"/avatar/parameters/Voice\0\0\0\0,f\0\0\0\0\0\0")
        assert encoder.encode(NOBODY, 0.1) == []
        vrchat.send(b"/avatar/change\0\0,s\0\0avtr_1\0\0")
        assert len(encoder.encode(NOBODY, 0.2)) == 3
        assert encoder.encode(NOBODY, 0.3) == []
    with pytest.raises(FerEdgeError, match=r"cannot listen on port .* of 127.0.0.1: .*; another OSC"):
        ChangeListener(port).open()
    encoder.close()


def test_bundle_fits_into_one_datagram(tmp_path: Path) -> None:
    mapping = read_mapping("vmc-vrm0", LABELS)
    (datagram,) = VmcEncoder(mapping, "largest").encode(HAPPY, 0)
    assert len(datagram) < 250 and OscBundle(datagram).num_contents == 5
    floats = tuple(FloatTarget(f"Shape{index:03}", {"happiness": 1.0}) for index in range(60))
    with pytest.raises(ConfigError, match=f"60 names in .* bytes; expected at most {MAX_BUNDLE} bytes: divide it"):
        VmcEncoder(AvatarMapping(floats=floats), "largest")


@pytest.mark.xdist_group("live sessions")  # one process, which opens the networks once
def test_expression_of_a_clip_reaches_an_avatar(
    make_tracker: Callable[[], ExpressionTracker], happy: Frame, tmp_path: Path, receiver: OscDump
) -> None:
    clip = write_clip(tmp_path / "clip.mp4", [happy] * 3)
    targets = [f"osc://127.0.0.1:{receiver.port}?app={app}" for app in ("vrchat", "vmc")]
    outputs = [make_output(target, LABELS, print) for target in targets]
    joy = Message("/VMC/Ext/Blend/Val", "sf", ("Joy", 1.0))
    with LiveSession(open_source(clip), make_tracker(), outputs) as session:
        session.run()
        wait_until(lambda: receiver.latest(EMOTION) == 1 and joy in receiver.messages)
