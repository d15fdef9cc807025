"""Webhooks: changes that are reported, and a web server that receives them, dies and comes back."""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from fer_edge.errors import ConfigError
from fer_edge.live.outputs import make_output, sender, webhook
from fer_edge.live.outputs.webhook import Changes
from tests.live.outputs.updates import LABELS, framed, person, update
from tests.result_document import check_document
from tests.video.clips import wait_until

GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "home-automation.md"


class Receiver:
    """Web server that stores requests, on the same port each time that it runs."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.documents: list[dict[str, Any]] = []
        self.answer: bytes | int = 200  # status, or bytes in place of an HTTP answer
        self.port = 0

    @contextmanager
    def running(self) -> Iterator[Receiver]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body, answer = self.rfile.read(int(self.headers["Content-Length"])), receiver.answer
                if isinstance(answer, bytes):
                    self.wfile.write(answer)
                    return
                if answer == 200:
                    receiver.requests.append((self.path, dict(self.headers)))
                    receiver.documents.append(json.loads(body))
                self.send_response(answer)
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        server.daemon_threads = False  # closing waits for requests, whose answers are of before then
        self.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    @property
    def events(self) -> list[dict[str, Any]]:
        return [document["event"] for document in self.documents]


def event(person: int, label: str | None, previous: str | None) -> dict[str, Any]:
    return {"person": person, "label": label, "previous": previous}


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        ("nnnnnn", [(5, "neutral", None)]),
        ("nnnnnnhhhhhhhh", [(5, "neutral", None), (11, "happiness", "neutral")]),
        ("nnnnnnhhhnnnhhhnnn", [(5, "neutral", None)]),  # too short
        ("nnnnnn???????", [(5, "neutral", None), (11, "unsure", "neutral")]),
        ("nnnnnn-------", [(5, "neutral", None), (11, None, "neutral")]),
        ("nnnnnn--nnnnn", [(5, "neutral", None)]),
        ("nnnnnn-------nnnnnn", [(5, "neutral", None), (11, None, "neutral"), (18, "neutral", None)]),
        ("nnn----------", []),
    ],
)
def test_label_is_reported_when_it_has_been_shown_for_a_time(
    shown: str, expected: list[tuple[int, str | None, str | None]]
) -> None:
    people = {"n": [person(3, "neutral")], "h": [person(3, "happiness")], "?": [person(3, "fear", 0.4)], "-": []}
    changes, reports = Changes(0.5), []
    for number, letter in enumerate(shown):
        reports += [(number, *change.values()) for change in changes.update(framed(number, *people[letter]))]
        assert changes.update(update()) == []  # the source has broken off
    assert reports == [(number, 3, *labels) for number, *labels in expected]


def test_changes_are_posted_as_documents() -> None:
    notes: list[str] = []
    with Receiver().running() as receiver:
        target = f"webhook+http://me:secret%21@127.0.0.1:{receiver.port}/api/webhook/face?room=2&min_seconds=0"
        output = make_output(target, LABELS, notes.append)
        output.open("a camera")
        output.send(framed(0, person(1, "happiness"), person(2, "fear")))
        output.send(framed(1, person(1, "happiness"), person(2, "fear")))
        wait_until(lambda: len(receiver.documents) == 2)
        output.send(framed(2, person(1, "anger"), person(2, "fear")))
        output.close()
    assert receiver.events == [event(1, "happiness", None), event(2, "fear", None), event(1, "anger", "happiness")]
    for document in receiver.documents:
        check_document(document)
    assert [document["frame"] for document in receiver.documents] == [0, 0, 2]
    path, headers = receiver.requests[0]
    assert path == "/api/webhook/face?room=2" and headers["Content-Type"] == "application/json"
    assert base64.b64decode(headers["Authorization"].split()[1]) == b"me:secret!"
    assert not notes


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        ("dead", "Connection refused"),
        (503, "the answer is 503 Service Unavailable"),
        (302, "the answer is 302 Found"),
        (b"no HTTP\r\n\r\n", "the answer is not HTTP: no HTTP"),
        (b"", "Remote end closed connection without response"),
    ],
)
def test_receiver_that_fails_gets_the_newest_change_of_each_person(
    failure: str | bytes | int, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "FIRST_WAIT", 0.01)
    notes: list[str] = []
    receiver = Receiver()
    with receiver.running():
        output = make_output(f"webhook+http://127.0.0.1:{receiver.port}/?min_seconds=0", LABELS, notes.append)
        output.open("a camera")
        output.send(framed(0, person(1, "happiness")))
        wait_until(lambda: len(receiver.documents) == 1)
        if not isinstance(failure, str):
            receiver.answer = failure
            output.send(framed(1, person(1, "fear"), person(2, "neutral")))
            wait_until(lambda: notes)
    if isinstance(failure, str):
        output.send(framed(1, person(1, "fear"), person(2, "neutral")))
        wait_until(lambda: notes)
    output.send(framed(2, person(1, "anger"), person(2, "neutral")))
    time.sleep(0.3)  # an attempt that began before this change has ended
    receiver.answer = 200
    with receiver.running():
        wait_until(lambda: len(notes) == 2)
        output.close()
    name = f"webhook+http://127.0.0.1:{receiver.port}"
    assert notes == [f"{name}: {reason}; trying again", f"{name}: working again"]
    assert sorted(receiver.events[1:], key=lambda change: change["person"]) == [
        event(1, "anger", "fear"), event(2, "neutral", None),
    ]  # fmt: skip


def test_changes_of_the_latest_people_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(webhook, "MAX_WAITING", 3)
    notes: list[str] = []
    receiver = Receiver()
    with receiver.running():
        output = make_output(f"webhook+http://127.0.0.1:{receiver.port}/?min_seconds=10", LABELS, notes.append)
    output.open("a camera")
    for seconds in range(0, 60, 15):
        output.send(framed(seconds, person(seconds, "happiness"), rate=1))
        output.send(framed(seconds + 11, person(seconds, "happiness"), rate=1))
    wait_until(lambda: notes)
    with receiver.running():
        wait_until(lambda: len(notes) == 2)
        output.close()
    assert [change["person"] for change in receiver.events] == [15, 30, 45]


def test_guide_has_the_keys_that_are_sent() -> None:
    """Check the examples of the guide; its flow ran in Node-RED, and nothing here can run it."""
    example, flow = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", GUIDE.read_text(), re.S)]
    changes = Changes(0).update(framed(0, person(1, "neutral")))
    document = {**framed(0, person(1, "neutral")).document, "event": changes[0]}
    assert example.keys() == document.keys() and example["event"].keys() == document["event"].keys()
    wires = {end for node in flow for ends in node.get("wires", []) for end in ends}
    assert wires <= {node["id"] for node in flow} and "payload.event.label" in json.dumps(flow)
    assert "trigger.json.event.label" in GUIDE.read_text()


def test_end_does_not_wait_for_a_dead_receiver() -> None:
    notes: list[str] = []
    with Receiver().running() as receiver:
        target = f"webhook+http://127.0.0.1:{receiver.port}/secret-path?min_seconds=0&key=secret"
    output = make_output(target, LABELS, notes.append)
    output.open("a camera")
    output.send(framed(0, person(1, "happiness")))
    wait_until(lambda: notes)
    output.close()
    assert "secret" not in notes[0] and not any(thread.name.startswith("output") for thread in threading.enumerate())


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("webhook+http://", "the target is 'webhook\\+http://'; expected webhook\\+http://HOST/PATH"),
        ("webhook+https://host:99999/", "is not a URL: Port out of range 0-65535; expected webhook"),
        ("webhook+http://host/a b", "the target is 'webhook\\+http://host/a b'; expected webhook"),
        ("webhook+http://host/?min_seconds=-1", "webhook\\+http://host: min_seconds is '-1'; expected"),
        ("webhook+http://host/?timeout=0", "webhook\\+http://host: timeout is '0'; expected"),
    ],
)
def test_wrong_target_is_refused(target: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_output(target, LABELS, print)
