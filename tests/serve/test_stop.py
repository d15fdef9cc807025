"""Graceful end of the server, and its command."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from fer_edge.errors import FerEdgeError
from fer_edge.serve import FaceServer, ServeOptions
from tests.command import fer_edge
from tests.serve.conftest import held_worker
from tests.serve.test_live import camera, receive
from tests.tiny import tiny_bundle
from tests.video.clips import wait_until


@pytest.fixture
def bundle(server: FaceServer, tmp_path: Path) -> Path:  # `server` skips without the face networks
    return tiny_bundle(tmp_path / "tiny.fer")


def test_running_requests_end_and_new_ones_are_refused(bundle: Path, photo: bytes) -> None:
    before, answers = set(threading.enumerate()), list[httpx.Response]()
    options = ServeOptions(port=0, workers=1)
    with FaceServer(bundle, engine="openvino", options=options) as server, camera(server) as connection:

        def post() -> None:
            answers.append(httpx.post(f"{server.url}/v1/faces", content=photo, verify=False, timeout=30))

        client, closing = threading.Thread(target=post), threading.Thread(target=server.close)
        with held_worker(server):
            client.start()
            connection.send(photo)
            wait_until(lambda: server._waiting() == 2)
            closing.start()
            wait_until(lambda: server._state == "stops")
            for path in ("readyz", "v1/faces"):
                answer = httpx.request("GET" if path == "readyz" else "POST", f"{server.url}/{path}", verify=False)
                assert (answer.status_code, answer.json()) == (503, {"error": "the server stops"})
                assert answer.headers["retry-after"] == "1"
        assert receive(connection)["frame"] == 0
        with pytest.raises(ConnectionClosed) as error:
            connection.recv(30)
        assert error.value.rcvd is not None and error.value.rcvd.code == 1001
        client.join(30)
        closing.join(30)
        assert [answer.status_code for answer in answers] == [200]
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{server.url}/healthz", verify=False)
        server.wait(1)  # returns at once, and closing again has no effect
    assert set(threading.enumerate()) <= before


def test_requests_are_refused_until_the_engines_are_open(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = FaceServer(bundle, engine="no-engine", options=ServeOptions(port=0, workers=1))
    answers: list[httpx.Response] = []
    open_workers = server._open_workers

    def get_and_open() -> None:
        port = server._server._server.servers[0].sockets[0].getsockname()[1]
        for path in ("healthz", "readyz"):
            answers.append(httpx.get(f"http://127.0.0.1:{port}/{path}", verify=False))
        open_workers()

    monkeypatch.setattr(server, "_open_workers", get_and_open)
    with pytest.raises(FerEdgeError, match="no-engine"):
        server.open()
    assert [(answer.status_code, answer.json()) for answer in answers] == [
        (200, {"status": "ok"}),
        (503, {"error": "the server starts"}),
    ]


def test_port_in_use_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        result = fer_edge("serve", "--port", port)
    assert result.returncode == 1
    assert result.stderr.startswith(f"error: cannot listen on port {port} of 127.0.0.1: ")
    assert result.stderr.endswith("; choose another --port\n")


def test_short_token_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FER_EDGE_TOKEN", "short")
    result = fer_edge("serve")
    assert (result.returncode, result.stderr) == (2, "error: token has 5 characters; expected at least 8\n")


@pytest.mark.slow  # a process; `test_running_requests_end_and_new_ones_are_refused` is its quick sister
@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_sigterm_ends_the_command(bundle: Path, photo: bytes) -> None:
    command = [sys.executable, "-m", "fer_edge", "serve", "--bundle", str(bundle), "--port", "0", "--host", "0.0.0.0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stderr is not None
    url = process.stdout.readline().strip().replace("0.0.0.0", "127.0.0.1")
    token = process.stderr.readline().strip().removeprefix("clients need this token: ")
    assert httpx.post(f"{url}/v1/faces", content=photo).status_code == 403
    answer = httpx.post(f"{url}/v1/faces", content=photo, headers={"Authorization": f"Bearer {token}"})
    assert len(json.loads(answer.content)["people"]) == 1
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err.splitlines()[-1]) == (143, "", "stopped")
