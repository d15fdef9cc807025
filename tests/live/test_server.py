"""Server of the page: who may read it, and what slow and returning pages receive."""

from __future__ import annotations

import io
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from fer_edge import _require
from fer_edge.errors import ConfigError, EngineUnavailableError, FerEdgeError
from fer_edge.live import Update
from fer_edge.live.server import MAX_IN_FLIGHT, MAX_SIDE, PageServer
from fer_edge.video import SourceState, VideoFrame
from tests.live.test_spans import person
from tests.result_document import check_document
from tests.video.clips import wait_until


def frame_update(number: int, size: tuple[int, int] = (48, 64), **source: Any) -> Update:
    frame = VideoFrame(np.full((*size, 3), 90, np.uint8), number / 10, 0, number)
    return Update([person(1, "calm", 0)], number / 10, frame, 0.01, 10, SourceState(**source))


@pytest.fixture
def server() -> Iterator[PageServer]:
    page = PageServer()
    page.open("a camera")
    yield page
    page.close()


def viewer(url: str, **options: Any) -> ClientConnection:
    """Connect like the page at an address."""
    address = url.removeprefix("http://").partition("/")[0]
    options = {"origin": f"http://{address}", "compression": None, **options}
    return connect(f"ws{url.removeprefix('http')}updates", **options)


def read(connection: ClientConnection) -> tuple[dict[str, Any], bytes]:
    message = connection.recv(10)
    assert isinstance(message, bytes)
    length = int.from_bytes(message[:4], "big")
    return json.loads(message[4 : 4 + length]), message[4 + length :]


def test_page_and_its_files_are_served(server: PageServer) -> None:
    page = httpx.get(server.url)
    assert page.status_code == 200 and "<title>fer-edge live</title>" in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")
    assert page.headers["cache-control"] == "no-store" and "server" not in page.headers
    assert "http" not in page.text.replace("http-equiv", "")  # nothing is loaded from elsewhere
    for name, kind in (("live.css", "text/css"), ("live.js", "text/javascript"), ("people.js", "text/javascript")):
        answer = httpx.get(server.url + name)
        assert answer.status_code == 200 and answer.headers["content-type"].startswith(kind)
    for name in ("none.js", "__init__.py", "..%2Fserver.py", ".hidden.js", "%2e%2e/session.py"):
        assert httpx.get(server.url + name).status_code == 404


def test_page_needs_its_token_and_a_name_of_this_machine(server: PageServer) -> None:
    root = server.url.rsplit("/", 2)[0]
    assert httpx.get(f"{root}/").status_code == 404
    assert httpx.get(f"{root}/wrong/").status_code == 404
    for host, status in (("evil.example", 403), ("127.0.0.1.evil.example:80", 403), ("localhost:9", 200)):
        assert httpx.get(server.url, headers={"Host": host}).status_code == status


def test_video_needs_the_page_itself(server: PageServer) -> None:
    server.send(frame_update(0))
    for origin in ("http://evil.example", "null", None):
        with pytest.raises(InvalidStatus, match="403"):
            viewer(server.url, origin=origin)
    port, token = int(server.url.split(":")[2].split("/")[0]), server.url.split("/")[3]
    with pytest.raises(InvalidStatus, match="403"):  # a name that leads to this machine
        connect(f"ws://evil.example/{token}/updates", sock=socket.create_connection(("127.0.0.1", port)))
    with pytest.raises(InvalidStatus, match="403"):
        connect(f"ws{server.url.removeprefix('http')}updates".replace(token, "wrong"))
    assert not server.wait_for_viewer(0)


def test_viewer_receives_results_and_frames(server: PageServer) -> None:
    with viewer(server.url) as connection:
        assert json.loads(connection.recv(10)) == {"title": "a camera", "timelines": {}}
        assert server.wait_for_viewer(0)
        server.send(frame_update(0, (600, 2 * MAX_SIDE), dropped=3))
        update, jpeg = read(connection)
        assert (
            update["number"] == 0 and update["size"] == [2 * MAX_SIDE, 600] and update["live"]["source"]["dropped"] == 3
        )
        check_document(update)
        assert update["people"][0]["expression"]["scores"] == {"calm": 0.9, "other": 0.1}
        with Image.open(io.BytesIO(jpeg)) as image:
            assert (image.format, image.size) == ("JPEG", (MAX_SIDE, 300))
        connection.send("0")
        server.send(Update((), 0.1, None, None, 0, SourceState("reconnecting", "unplugged")))
        update, jpeg = read(connection)
        assert (update["live"]["source"]["message"], update["people"], jpeg) == ("unplugged", [], b"")


def test_slow_viewer_skips_to_the_newest_frame(server: PageServer) -> None:
    with viewer(server.url) as slow, viewer(server.url) as quick:
        slow.recv(10), quick.recv(10)
        for number in range(10):
            server.send(frame_update(number))
            assert read(quick)[0]["number"] == number
            quick.send(str(number))
        numbers = [read(slow)[0]["number"] for _ in range(MAX_IN_FLIGHT)]
        server.send(frame_update(10))
        with pytest.raises(TimeoutError):
            slow.recv(0.05)  # nothing is queued for a page that shows nothing
        slow.send(str(numbers[0]))
        assert numbers == sorted(set(numbers)) and read(slow)[0]["number"] == 10


def test_returning_viewer_receives_the_timelines(server: PageServer) -> None:
    with viewer(server.url) as first:
        first.recv(10)
        server.send(frame_update(0))
        read(first)
    for number in range(1, 6):  # while no page is open
        server.send(frame_update(number))
    with viewer(server.url) as second:
        assert json.loads(second.recv(10))["timelines"] == {"1": [["calm", True, 0.0, 0.5]]}
        assert read(second)[0]["number"] == 5
    wait_until(lambda: not server._viewers)


def test_closing_delivers_the_last_update_and_ends_the_thread() -> None:
    server = PageServer()
    server.close()  # not open yet
    server.open("clip")
    with viewer(server.url) as connection:
        connection.recv(10)
        server.send(frame_update(0, status="ended"))
        closing = threading.Thread(target=server.close)
        closing.start()
        update, _ = read(connection)
        connection.send("0")
        closing.join()
        assert update["live"]["source"]["status"] == "ended"
    server.close()
    assert "live page" not in {thread.name for thread in threading.enumerate()}


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_module(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(_require, "import_module", no_module)
    with pytest.raises(EngineUnavailableError, match=r'the live page needs starlette .*pip install "fer-edge\[live\]"'):
        PageServer()


def test_port_in_use_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(FerEdgeError, match=f"cannot listen on port {port} of 127.0.0.1: .*; choose another --port"):
            PageServer(port).open("clip")
    with pytest.raises(ConfigError, match="port is 70000; expected a whole number from 0 to 65535"):
        PageServer(70000)
