"""Cameras over WebSockets: documents of the newest frames, turns, damaged frames, limits, and the end."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from fer_edge.serve import FaceServer
from fer_edge.serve.camera import Camera
from tests.result_document import check_document
from tests.serve.conftest import held_worker
from tests.video.clips import wait_until


def camera(server: FaceServer, **options: Any) -> ClientConnection:
    return connect(f"{server.url.replace('http', 'ws')}/v1/live", compression=None, **options)


def receive(connection: ClientConnection) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(connection.recv(30))
    check_document(document)
    return document


@pytest.fixture(autouse=True)
def _wait_for_the_end(server: FaceServer) -> Iterator[None]:
    yield
    wait_until(lambda: not server._cameras)
    assert [worker.cameras for worker in server._workers] == [0]


def test_people_are_tracked(server: FaceServer, photo: bytes) -> None:
    with camera(server) as connection:
        documents = []
        for _ in range(3):
            connection.send(photo)
            documents.append(receive(connection))
    assert [document["frame"] for document in documents] == [0, 1, 2]
    assert documents[0]["time"] == 0 < documents[1]["time"] < documents[2]["time"]
    assert {person["id"] for document in documents for person in document["people"]} == {1}
    assert documents[2]["people"][0]["raw"] is not None and documents[2]["size"] == [240, 240]
    with camera(server) as connection:  # a new camera has people of its own
        connection.send(photo)
        assert receive(connection)["people"][0]["id"] == 1


def test_newest_frame_is_recognised_and_cameras_take_turns(server: FaceServer, photo: bytes) -> None:
    before = dropped(server)
    with camera(server) as eager, camera(server) as modest:
        with held_worker(server):
            for _ in range(20):
                eager.send(photo)
            modest.send(photo)
            wait_until(lambda: sum(newest(camera) == 19 for camera in server._cameras) == 1)
            wait_until(lambda: server._waiting() == 2)
        # The first frame was in the queue; the frame of the other camera is next, and then the newest.
        assert [receive(eager)["frame"], receive(modest)["frame"], receive(eager)["frame"]] == [0, 0, 19]
    assert dropped(server) == before + 18


def dropped(server: FaceServer) -> int:
    """Return the metric of frames that were dropped for newer ones."""
    lines = httpx.get(server.url + "/metrics", verify=False).text.splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith('fer_edge_frames_total{result="dropped"}'))


def newest(camera: Camera) -> int | None:
    return None if camera._newest is None else camera._newest.number


def test_damaged_frame_has_a_document_with_its_error(server: FaceServer, photo: bytes) -> None:
    with camera(server) as connection:
        connection.send(photo[:1000])
        document = receive(connection)
        assert "is truncated" in document["error"] and document["people"] == [] and document["size"] is None
        connection.send(photo)
        document = receive(connection)
        assert document["frame"] == 1 and len(document["people"]) == 1 and "error" not in document


@pytest.mark.parametrize(("message", "code"), [("text", 1003), (bytes(500_000), 1009)])
def test_wrong_message_ends_the_connection(server: FaceServer, message: str | bytes, code: int) -> None:
    with camera(server) as connection, pytest.raises(ConnectionClosed) as error:
        connection.send(message)
        connection.recv(30)
    assert error.value.rcvd is not None and error.value.rcvd.code == code


def test_number_of_cameras_is_limited_and_other_sites_are_refused(server: FaceServer, photo: bytes) -> None:
    with ExitStack() as stack:
        connections = [stack.enter_context(camera(server)) for _ in range(3)]
        wait_until(lambda: len(server._cameras) == 3)
        with pytest.raises(InvalidStatus) as error:
            camera(server)
        assert error.value.response.status_code == 503 and error.value.response.headers["retry-after"] == "1"
        assert json.loads(error.value.response.body or b"") == {"error": "there are 3 cameras already"}
        connections[0].send(photo)
        assert receive(connections[0])["frame"] == 0
    with pytest.raises(InvalidStatus, match="403"):
        camera(server, origin="http://evil.example")


def test_client_that_leaves_during_recognition_is_forgotten(server: FaceServer, photo: bytes) -> None:
    with held_worker(server), camera(server) as connection:
        connection.send(photo)
        wait_until(lambda: server._waiting() == 1)
        connection.socket.shutdown(socket.SHUT_RDWR)
    wait_until(lambda: not server._cameras)
