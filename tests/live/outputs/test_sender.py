"""Thread of network outputs: newest update, rate, errors and the end."""

from __future__ import annotations

import threading
import time

import pytest

from fer_edge.errors import FerEdgeError
from fer_edge.live import Update
from fer_edge.live.outputs import sender
from fer_edge.live.outputs.sender import NetworkOutput, Receiver
from tests.live.outputs.updates import person, update
from tests.video.clips import wait_until


class Recorder(Receiver):
    """Receiver that stores the numbers of people, and fails on request."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.connections = self.closed = 0
        self.failure: Exception | None = None
        self.waiting = threading.Event()
        self.ready = threading.Event()
        self.ready.set()

    def connect(self) -> Recorder:
        self.connections += 1
        return self

    def send(self, update: Update) -> None:
        self.waiting.set()
        self.ready.wait(10)
        if self.failure is not None:
            raise self.failure
        self.numbers.append(update.people[0].track_id)

    def close(self) -> None:
        self.closed += 1


def numbered(number: int) -> Update:
    return update(person(number, "neutral"))


def test_newest_update_replaces_those_that_wait() -> None:
    recorder, notes = Recorder(), list[str]()
    output = NetworkOutput("screen", recorder.connect, notes.append, rate=None)
    output.open("camera")
    recorder.ready.clear()
    output.send(numbered(1))
    recorder.waiting.wait(10)
    for number in range(2, 500):
        output.send(numbered(number))
    recorder.ready.set()
    wait_until(lambda: len(recorder.numbers) == 2)
    output.close()
    output.close()
    assert recorder.numbers == [1, 499] and not notes
    assert (recorder.connections, recorder.closed) == (1, 1)


def test_update_waits_for_its_turn_and_is_sent_at_the_end() -> None:
    recorder = Recorder()
    output = NetworkOutput("screen", recorder.connect, print, rate=0.01)
    output.open("camera")
    output.send(numbered(1))
    wait_until(lambda: recorder.numbers == [1])
    output.send(numbered(2))
    time.sleep(0.03)
    assert recorder.numbers == [1]
    output.close()
    assert recorder.numbers == [1, 2]


def test_last_update_is_repeated() -> None:
    recorder = Recorder()
    output = NetworkOutput("screen", recorder.connect, print, rate=50, repeat=0.02)
    output.open("camera")
    output.send(numbered(1))
    wait_until(lambda: len(recorder.numbers) == 6)
    output.close()
    assert set(recorder.numbers) == {1}


@pytest.mark.parametrize("failure", [ConnectionRefusedError(111, "Connection refused"), FerEdgeError("no\nroom")])
def test_failure_is_reported_once_and_retried(failure: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(sender, "LONGEST_WAIT", 0.02)
    recorder, notes = Recorder(), list[str]()
    output = NetworkOutput("screen", recorder.connect, notes.append, rate=None)
    output.open("camera")
    recorder.failure = failure
    output.send(numbered(1))
    wait_until(lambda: recorder.connections >= 4)
    reason = "Connection refused" if isinstance(failure, OSError) else "no room"
    assert notes == [f"screen: {reason}; trying again"]
    recorder.failure = None
    wait_until(lambda: len(notes) == 2)
    assert notes[1] == "screen: working again" and recorder.numbers == [1]
    output.close()
    assert recorder.closed == recorder.connections


def test_receiver_that_fails_again_at_once_is_not_reported_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "FIRST_WAIT", 0.01)
    recorder, notes = Recorder(), list[str]()
    output = NetworkOutput("screen", recorder.connect, notes.append, rate=None, settle=60)
    output.open("camera")
    for _ in range(2):
        recorder.failure = OSError(111, "Connection refused")
        output.send(numbered(1))
        count = recorder.connections
        wait_until(lambda count=count: recorder.connections > count)
        recorder.failure = None
        sent = len(recorder.numbers)
        wait_until(lambda sent=sent: len(recorder.numbers) > sent)
    assert len(notes) == 1
    output._settle = 0  # as after a minute
    output.send(numbered(2))
    wait_until(lambda: len(notes) == 2)
    output.close()
    assert notes[1] == "screen: working again"


def test_end_during_a_failure_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "FIRST_WAIT", 60.0)
    recorder = Recorder()
    output = NetworkOutput("screen", recorder.connect, lambda note: None, rate=None)
    output.open("camera")
    recorder.failure = OSError(111, "Connection refused")
    output.send(numbered(1))
    wait_until(lambda: recorder.connections == 1)
    output.close()
    assert not any(thread.name == "output screen" for thread in threading.enumerate())


def test_output_that_was_not_opened_can_be_closed() -> None:
    NetworkOutput("screen", Recorder().connect, print, rate=None).close()
