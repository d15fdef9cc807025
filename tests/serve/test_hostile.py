"""Clients that are slow, cut their connections or do not read: they are ended, and others do not notice."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack, suppress

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from fer_edge.errors import EngineError
from fer_edge.serve import FaceServer, requests
from fer_edge.serve.server import FAILURE
from tests.serve.conftest import TIMEOUT
from tests.serve.test_live import camera
from tests.video.clips import wait_until

POST = b"POST /v1/faces HTTP/1.1\r\nHost: 127.0.0.1\r\n"


def open_socket(server: FaceServer, buffer: int = 0) -> socket.socket:
    """Connect to a server, with a small buffer for what is received if there is a size."""
    client = socket.socket()
    if buffer:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    client.connect(("127.0.0.1", int(server.url.rpartition(":")[2])))
    client.settimeout(30)
    return client


def read_all(client: socket.socket) -> bytes:
    """Read until the server closes the connection."""
    parts = []
    with suppress(ConnectionResetError):
        while part := client.recv(65536):
            parts.append(part)
    return b"".join(parts)


def test_slow_clients_are_ended_and_others_are_served(server: FaceServer, photo: bytes) -> None:
    before = timeouts(server)
    with ExitStack() as stack:
        steady = stack.enter_context(httpx.Client(base_url=server.url, verify=False))
        silent, headers, body, deaf = (stack.enter_context(open_socket(server, size)) for size in (0, 0, 0, 4096))
        live = stack.enter_context(camera(server))
        headers.sendall(POST)
        body.sendall(POST + b"Content-Length: 1000\r\n\r\n" + bytes(10))
        deaf.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 300)
        deadline = time.monotonic() + TIMEOUT + 1
        while time.monotonic() < deadline:
            for client, data in ((headers, b"X: y\r\n"), (body, b"x")):
                with suppress(OSError):  # the server has ended the connection
                    client.sendall(data)
            assert steady.post("/v1/faces", content=photo).status_code == 200
            time.sleep(0.1)
        steady.close()
        assert read_all(silent) == read_all(headers) == b""
        assert b" 408 Request Timeout" in read_all(body)
        with pytest.raises(ConnectionClosed) as error:
            live.recv(30)
        assert error.value.rcvd is not None
        assert (error.value.rcvd.code, error.value.rcvd.reason) == (1008, f"no frame arrived for {TIMEOUT:g} s")
        wait_until(lambda: not server._server.connections)  # the client that does not read too
    assert timeouts(server) == before + 3  # silent, headers, deaf
    assert server._bodies.size == server._running == 0


def timeouts(server: FaceServer) -> int:
    """Return the metric of connections that were ended."""
    return server._metrics._counts["timeouts"].total()


def test_cut_connections_leave_nothing_behind(server: FaceServer, photo: bytes) -> None:
    length = f"Content-Length: {len(photo)}\r\n\r\n".encode()
    for data in (b"", POST[:20], POST + length, POST + length + photo[:-1], POST + length + photo, b"\0" * 100):
        with open_socket(server) as client:
            client.sendall(data)
    wait_until(lambda: not server._server.connections)
    wait_until(lambda: server._bodies.size == server._running == 0)
    assert httpx.get(f"{server.url}/readyz", verify=False).status_code == 200


def test_bodies_have_a_limit_together(server: FaceServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "BUDGET", 1)
    with open_socket(server) as first, open_socket(server) as second:
        for client in (first, second):
            client.sendall(POST + b"Content-Length: 300000\r\n\r\n" + bytes(250_000))
            if client is first:
                wait_until(lambda: server._bodies.size == 250_000)
        assert b" 503 Service Unavailable" in read_all(second)
    wait_until(lambda: server._bodies.size == 0)


@pytest.mark.parametrize(
    "data",
    [
        b"what is this\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        POST + b"Content-Length: -1\r\n\r\n",
        POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /v1/live HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    ],
)
def test_malformed_requests_are_refused(server: FaceServer, data: bytes) -> None:
    with open_socket(server) as client:
        client.sendall(data)
        answer = read_all(client)
        assert answer.startswith(b"HTTP/1.1 4"), answer
    assert httpx.get(f"{server.url}/readyz", verify=False).status_code == 200


def test_failure_of_an_engine_is_reported_to_the_operator_alone(
    server: FaceServer, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []
    monkeypatch.setattr(server, "_note", notes.append)
    (worker,) = server._workers

    def fail(*arguments: object) -> None:
        raise EngineError("the device is lost: /dev/secret")

    with monkeypatch.context() as patch, camera(server) as live:
        patch.setattr(worker, "recognize", fail)
        patch.setattr(worker, "track", fail)
        answer = httpx.post(f"{server.url}/v1/faces", content=photo, verify=False)
        assert answer.status_code == 500 and answer.json() == {"error": FAILURE}
        live.send(photo)
        with pytest.raises(ConnectionClosed) as error:
            live.recv(30)
        assert error.value.rcvd is not None and (error.value.rcvd.code, error.value.rcvd.reason) == (1011, FAILURE)
    assert notes == ["a request failed: the device is lost: /dev/secret"] * 2
    assert httpx.post(f"{server.url}/v1/faces", content=photo, verify=False).status_code == 200
