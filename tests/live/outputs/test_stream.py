"""Stream of documents: clients of WebSockets, server-sent events and HTTP, who may read it, and slow clients."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosedOK, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from fer_edge.errors import ConfigError, FerEdgeError
from fer_edge.live.outputs import make_output, stream
from fer_edge.live.outputs.stream import StreamServer
from tests.live.outputs.receivers import free_port
from tests.live.outputs.updates import LABELS, framed, person
from tests.result_document import check_document
from tests.video.clips import wait_until


@contextmanager
def serving(target: str, notes: list[str] | None = None) -> Iterator[StreamServer]:
    output = make_output(target, LABELS, (lambda note: None) if notes is None else notes.append)
    assert isinstance(output, StreamServer)
    output.open("a camera")
    try:
        yield output
    finally:
        output.close()


@pytest.fixture
def server() -> Iterator[tuple[StreamServer, str]]:
    """Return a server and its address without the scheme."""
    place = f"127.0.0.1:{free_port(socket.SOCK_STREAM)}"
    with serving(f"ws://{place}") as output:
        yield output, place


def get(url: str, headers: dict[str, str] | None = None) -> httpx.Response:
    return httpx.get(url, headers=headers, verify=False)  # without the time for certificates


def client(place: str, **options: Any) -> ClientConnection:
    return connect(f"ws://{place}/", compression=None, **options)


def receive(connection: ClientConnection) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(connection.recv(10))
    check_document(document)
    return document


def events(response: httpx.Response) -> Iterator[dict[str, Any]]:
    """Yield the documents of server-sent events."""
    for line in response.iter_lines():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


def test_each_message_of_a_websocket_is_a_document(server: tuple[StreamServer, str]) -> None:
    output, place = server
    with client(place) as first, client(place) as second:
        for number in range(3):
            output.send(framed(number, person(1, "happiness")))
            for connection in (first, second):
                document = receive(connection)
                assert (document["frame"], document["source"]) == (number, "a camera")
        first.close()  # a client that leaves does not concern the other
        output.send(framed(3))
        assert receive(second)["frame"] == 3
    with client(place) as late:
        assert receive(late)["frame"] == 3  # the newest document at once


def test_newest_document_and_events_over_http(server: tuple[StreamServer, str]) -> None:
    output, place = server
    assert get(f"http://{place}/").status_code == 204
    output.send(framed(0, person(1, "fear")))
    answer = get(f"http://{place}/")
    check_document(answer.json())
    assert answer.headers["content-type"] == "application/json" and answer.headers["cache-control"] == "no-store"
    with httpx.stream("GET", f"http://{place}/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        documents = events(response)
        assert next(documents)["frame"] == 0
        output.send(framed(1))
        assert next(documents)["frame"] == 1
    assert get(f"http://{place}/none").status_code == 404
    output.send(framed(2))
    wait_until(lambda: not output._clients)


def test_events_without_a_document_have_signs_of_life(
    server: tuple[StreamServer, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "KEEP_ALIVE_SECONDS", 0.01)
    with httpx.stream("GET", f"http://{server[1]}/events") as response:
        assert next(response.iter_lines()) == ": waiting"


def test_slow_client_gets_the_newest_document(server: tuple[StreamServer, str]) -> None:
    output, place = server
    people = [person(number, "happiness") for number in range(1, 9)]
    with client(place, max_queue=1) as slow, client(place) as quick:
        for number in range(400):
            output.send(framed(number, *people))
            while json.loads(quick.recv(10))["frame"] < number:
                pass
        frames = [-1]
        while frames[-1] < 399:
            frames.append(json.loads(slow.recv(10))["frame"])
    assert frames == sorted(set(frames)) and len(frames) < 200


def test_rate_is_limited() -> None:
    place = f"127.0.0.1:{free_port(socket.SOCK_STREAM)}"
    with serving(f"ws://{place}?rate=0.5") as output, client(place) as connection:
        output.send(framed(0))
        assert receive(connection)["frame"] == 0
        output.send(framed(1))
        with pytest.raises(TimeoutError):
            connection.recv(0.05)
        assert get(f"http://{place}/").json()["frame"] == 1


@pytest.mark.parametrize("scheme", ["ws", "http"])
def test_last_document_is_sent_at_the_end(scheme: str) -> None:
    place = f"127.0.0.1:{free_port(socket.SOCK_STREAM)}"
    with (
        serving(f"{scheme}://{place}") as output,
        client(place) as connection,
        httpx.stream("GET", f"http://{place}/events") as response,
    ):
        documents = events(response)
        output.send(framed(0))
        assert receive(connection)["frame"] == next(documents)["frame"] == 0
        output.send(framed(1))
        output.close()
        assert receive(connection)["frame"] == next(documents)["frame"] == 1
        with pytest.raises(ConnectionClosedOK):
            connection.recv(10)
        assert next(documents, None) is None
    output.close()
    assert not any(thread.name.startswith("stream") for thread in threading.enumerate())


def test_pages_of_other_sites_are_refused(server: tuple[StreamServer, str]) -> None:
    output, place = server
    output.send(framed(0))
    for origin in (
        "http://evil.example",
        "null",
        "http://127.0.0.1.evil.example:80",
        "http://localhost@evil.example",
        "http://[",
    ):
        for path in ("", "events"):
            assert get(f"http://{place}/{path}", headers={"Origin": origin}).status_code == 403
        with pytest.raises(InvalidStatus, match="403"):
            client(place, origin=origin)
    for origin in ("http://localhost:3000", "http://127.0.0.1", "http://[::1]:8080"):
        answer = get(f"http://{place}/", headers={"Origin": origin})
        assert answer.status_code == 200 and answer.headers["access-control-allow-origin"] == origin
        with client(place, origin=origin) as connection:
            assert receive(connection)["frame"] == 0
    for host in ("evil.example", "127.0.0.1.evil.example"):
        assert get(f"http://{place}/", headers={"Host": host}).status_code == 403
    with pytest.raises(InvalidStatus, match="403"):
        connect("ws://evil.example/", sock=socket.create_connection(("127.0.0.1", int(place.split(":")[1]))))


def test_token_is_needed_if_there_is_one() -> None:
    place = f"127.0.0.1:{free_port(socket.SOCK_STREAM)}"
    with serving(f"http://{place}?token=correct-horse") as output:
        output.send(framed(0))
        for query, headers in (("", {}), ("?token=wrong-horse", {}), ("", {"Authorization": "Bearer wrong-horse"})):
            assert get(f"http://{place}/{query}", headers=headers).status_code == 403
            assert get(f"http://{place}/events{query}", headers=headers).status_code == 403
            with pytest.raises(InvalidStatus, match="403"):
                connect(f"ws://{place}/{query}", additional_headers=headers)
        elsewhere = {"Authorization": "Bearer correct-horse", "Host": "tv.local", "Origin": "http://other.example"}
        assert get(f"http://{place}/", headers=elsewhere).json()["frame"] == 0
        assert get(f"http://{place}/?token=correct-horse").json()["frame"] == 0
        with connect(f"ws://{place}/?token=correct-horse") as connection:
            assert receive(connection)["frame"] == 0


def test_other_addresses_have_a_token() -> None:
    notes: list[str] = []
    port = free_port(socket.SOCK_STREAM)
    with serving(f"ws://0.0.0.0:{port}", notes) as output:
        output.send(framed(0))
        (note,) = notes
        token = note.rpartition("token=")[2]
        assert note.startswith(f"ws://0.0.0.0:{port} needs this token: ws://0.0.0.0:{port}?token=") and len(token) > 16
        assert get(f"http://127.0.0.1:{port}/").status_code == 403
        assert get(f"http://127.0.0.1:{port}/?token={token}").status_code == 200
    with serving(f"ws://0.0.0.0:{port}?token=my-own-token", notes):
        assert len(notes) == 1  # a token of the user's own is not printed


def refuse(target: str) -> Callable[[], object]:
    return lambda: make_output(target, LABELS, print).open("a camera")


def test_wrong_targets_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"the target 'ws://127\.0\.0\.1' has no port; expected ws://"):
        refuse("ws://127.0.0.1")()
    with pytest.raises(ConfigError, match="token has 5 characters; expected at least 8"):
        refuse("ws://127.0.0.1:8765?token=short")()
    with pytest.raises(ConfigError, match=r"the target is 'ws://127\.0\.0\.1:8765/here'; expected ws://"):
        refuse("ws://127.0.0.1:8765/here")()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(FerEdgeError, match=f"cannot listen on port {port} of 127.0.0.1: .*; choose another one"):
            refuse(f"http://127.0.0.1:{port}")()
