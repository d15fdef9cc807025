"""Announcement to VRChat: the documents of its server, and its end; test_oscquery.py shows that avahi sees it."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from fer_edge.errors import FerEdgeError
from fer_edge.live.outputs import announcement, make_output, vrchat
from fer_edge.live.outputs.announcement import Announcement
from fer_edge.live.outputs.vrchat import ChangeListener
from tests.live.outputs.updates import LABELS
from tests.video.clips import wait_until

CHANGE = {"FULL_PATH": "/avatar/change", "ACCESS": 2, "TYPE": "s"}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with announcement._serve(announcement._documents("fer-edge-A1B2C3", 5000)) as port:
        yield f"http://127.0.0.1:{port}"


def test_host_info_names_the_port_for_osc(server: str) -> None:
    with urlopen(f"{server}/?HOST_INFO") as response:
        host = json.load(response)
    assert response.headers["Content-Type"] == "application/json"
    extensions = {"ACCESS": True, "DESCRIPTION": True, "TYPE": True, "VALUE": False}
    assert host == {
        "NAME": "fer-edge-A1B2C3",
        "OSC_IP": "127.0.0.1",
        "OSC_PORT": 5000,
        "OSC_TRANSPORT": "UDP",
        "EXTENSIONS": extensions,
    }


@pytest.mark.parametrize("path", ["/", "/avatar", "/avatar/change", "/?VALUE"])
def test_tree_has_the_change_of_the_avatar_alone(server: str, path: str) -> None:
    with urlopen(server + path) as response:
        node = json.load(response)
    assert node["FULL_PATH"] == path.partition("?")[0]
    while "CONTENTS" in node:
        (node,) = node["CONTENTS"].values()
    assert node.pop("DESCRIPTION") and node == CHANGE


@pytest.mark.parametrize(
    ("path", "method", "code"),
    [("/etc/passwd", "GET", 404), ("/../", "GET", 404), ("/avatar/parameters", "GET", 404), ("/", "POST", 501)],
)
def test_other_request_is_refused(server: str, path: str, method: str, code: int) -> None:
    with pytest.raises(HTTPError) as refusal:
        urlopen(Request(server + path, method=method))
    refusal.value.close()
    assert refusal.value.code == code


def test_client_that_does_not_end_its_request_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announcement, "REQUEST_SECONDS", 0.1)  # of the whole request; that of one read stays
    with announcement._serve({"/": b"{}"}) as port, socket.create_connection(("127.0.0.1", port)) as slow:
        slow.send(b"GET / HTTP/1.0\r\nHost: a")
        with urlopen(f"http://127.0.0.1:{port}/", timeout=1) as response:
            assert response.read() == b"{}"


def test_threads_and_ports_are_gone_after_the_end() -> None:
    before = {*threading.enumerate()}
    listener = ChangeListener(0, Announcement("loopback", print))
    listener.open()
    assert listener._socket is not None
    host, port = listener._socket.getsockname()
    wait_until(lambda: "OSCQuery server" in {thread.name for thread in threading.enumerate()})
    listener.close()
    listener.close()
    assert host == "127.0.0.1" and {*threading.enumerate()} <= before
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
        again.bind((host, port))


# zeroconf leaves a socket to the garbage collector if an interface is missing.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_impossible_announcement_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announcement, "interfaces", lambda discovery: ["192.0.2.1"])  # not of this machine
    notes: list[str] = []
    listener = ChangeListener(0, Announcement("network", notes.append))
    listener.open()
    wait_until(lambda: notes)
    assert not listener.has_changed()
    listener.close()
    monkeypatch.setattr(vrchat, "LOOPBACK", "192.0.2.1")  # no port at all
    listener = ChangeListener(0, Announcement("network", notes.append))
    listener.open()
    assert not listener.has_changed() and len(notes) == 2
    for note in notes:
        assert note.startswith("VRChat: fer-edge cannot be announced, and changes of the avatar may not be reported: ")
    with pytest.raises(FerEdgeError, match="cannot listen on port 9001"):
        ChangeListener(9001, Announcement("network", notes.append)).open()


@pytest.mark.parametrize(
    ("target", "is_announced"),
    [("127.0.0.1", True), ("localhost:9000", True), ("192.0.2.7", False), ("quest.local", False)],
)
def test_port_is_announced_to_a_vrchat_of_this_machine(target: str, is_announced: bool) -> None:
    output = make_output(f"osc://{target}?app=vrchat&discover=network", LABELS, print)
    assert (output._encoder._listener is not None) is is_announced  # type: ignore[attr-defined]
