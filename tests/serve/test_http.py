"""Recognition over HTTP: results, queries, errors, full queues, metrics, who may use it, and the OpenAPI document."""

from __future__ import annotations

import re
import struct
import threading
import zlib
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from PIL import Image

from fer_edge.errors import ConfigError
from fer_edge.serve import FaceServer, ServeOptions
from fer_edge.serve.openapi import openapi_document
from tests.images.make import GREY, chunk, encoded
from tests.images.make import png as make_png
from tests.result_document import check_document
from tests.serve.conftest import held_worker
from tests.video.clips import wait_until

FACES = "/v1/faces"


def error_of(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"] and answer.headers["cache-control"] == "no-store"
    text: str = answer.json()["error"]
    assert "\n" not in text
    return text


def test_faces_are_searched(client: httpx.Client, photo: bytes) -> None:
    for query in ("", "?detail=normal"):
        document = client.post(FACES + query, content=photo).json()
        check_document(document)
        (person,) = document["people"]
        assert document["size"] == [240, 240] and document["source"] == "request"
        assert person["face"]["score"] > 0.8 and person["id"] is None
        assert list(person["expression"]["scores"]) == ["neutral", "happiness", "surprise"]


@pytest.mark.slow  # compiles networks
def test_detector_of_another_detail_is_opened_once(server: FaceServer, client: httpx.Client, photo: bytes) -> None:
    for _ in range(2):
        document = client.post(f"{FACES}?detail=fast", content=photo, timeout=60).json()
        check_document(document)
        assert len(document["people"]) == 1
    assert set(server._workers[0]._detectors) == {"normal", "fast"}


def test_crop_and_boxes_replace_the_search(client: httpx.Client, photo: bytes) -> None:
    crop = client.post(FACES, params={"crop": "true"}, content=photo).json()
    boxes = client.post(FACES, params={"box": ["80,50,120,120", "0,0,100,100"]}, content=photo).json()
    for document in (crop, boxes):
        check_document(document)
    assert [person["face"] for person in crop["people"]] == [None]
    assert [person["face"]["box"] for person in boxes["people"]] == [[80, 50, 120, 120], [0, 0, 100, 100]]


@pytest.mark.parametrize(
    ("query", "status", "text"),
    [
        ("box=1,2", 400, "box is '1,2'; expected x,y,width,height in pixels"),
        ("box=1,2,nan,3", 400, "box is '1,2,nan,3'; expected x,y,width,height in pixels"),
        ("crop=yes", 400, "crop is 'yes'; expected true or false"),
        ("detail=all", 400, "detail is 'all'; expected one of: fast, normal, fine"),
        ("crop=true&detail=fine", 400, "crop, box and detail contradict each other; expected at most one of them"),
        ("boxes=1", 400, "'boxes' is not a parameter; expected crop, box or detail"),
        ("&".join(["box=1,1,9,9"] * 33), 400, "33 boxes; expected at most 32"),
        ("box=900,900,9,9", 422, "box (900, 900, 9, 9) is outside of the frame of 240 x 240 pixels"),
    ],
)
def test_wrong_query_is_refused(client: httpx.Client, photo: bytes, query: str, status: int, text: str) -> None:
    assert error_of(client.post(f"{FACES}?{query}", content=photo), status) == text


def bomb(side: int) -> bytes:
    """Return a small PNG file whose header announces many pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(3_000_000)))


def test_what_is_not_an_image_is_refused(client: httpx.Client, photo: bytes) -> None:
    for content, text in {
        b"hello": "is not an image but",
        photo[:2000]: "is truncated",
        encoded(Image.new("RGB", (64, 64)), "TIFF"): "the image is TIFF; expected JPEG, PNG, WEBP: convert it",
        bomb(1001): "is 1001 x 1001 pixels; expected at most 1000000 pixels",
        bomb(32_000): "has too many pixels; expected at most 1000000",
    }.items():
        assert text in error_of(client.post(FACES, content=content), 422)
    assert "has no body" in error_of(client.post(FACES), 400)
    for content in (make_png(GREY), encoded(Image.new("RGB", (64, 64)), "WEBP")):
        assert client.post(FACES, content=content).json()["people"] == []


def test_large_body_is_refused_and_the_client_reads_the_answer(client: httpx.Client) -> None:
    large = bytes(3_000_000)
    for content in (large, iter([large] * 2)):  # with the length in a header, and in chunks
        assert error_of(client.post(FACES, content=content), 413) == (
            "the image is larger than 400000 bytes; make it smaller"
        )


def test_unknown_paths_and_methods_are_refused(client: httpx.Client) -> None:
    assert error_of(client.get("/v1/nothing"), 404) == "not found"
    assert error_of(client.get(FACES), 405) == "method not allowed"


def test_full_queue_is_refused_and_the_waiting_requests_end(server: FaceServer, photo: bytes) -> None:
    answers: list[httpx.Response] = []

    def post() -> None:
        answers.append(httpx.post(server.url + FACES, content=photo, verify=False, timeout=30))

    threads = [threading.Thread(target=post) for _ in range(3)]
    with held_worker(server):
        for thread in threads:
            thread.start()
        wait_until(lambda: server._running == 3)
        refused = httpx.post(server.url + FACES, content=photo, verify=False)
        assert error_of(refused, 503) == "all workers are busy and the queue is full; send the image again"
        assert refused.headers["retry-after"] == "1"
        assert httpx.get(server.url + "/healthz", verify=False).status_code == 200
    for thread in threads:
        thread.join(30)
    assert [answer.status_code for answer in answers] == [200] * 3
    assert server._running == server._bodies.size == server._waiting() == 0


def test_metrics_are_in_the_format_of_prometheus(client: httpx.Client, photo: bytes) -> None:
    def read() -> dict[str, float]:
        answer = client.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
        assert all(
            re.fullmatch(r'fer_edge_[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? [0-9.e+-]+', x) for x in lines
        )
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}

    client.post(FACES, content=photo)
    before = read()
    client.post(FACES, content=photo)
    after = read()
    for name in (
        'requests_total{path="/v1/faces",status="200"}',
        'faces_total{path="/v1/faces"}',
        'recognition_seconds_count{path="/v1/faces"}',
        'recognition_seconds_bucket{path="/v1/faces",le="+Inf"}',
    ):
        assert after[f"fer_edge_{name}"] == before[f"fer_edge_{name}"] + 1
    assert after["fer_edge_waiting"] == after["fer_edge_cameras"] == 0


def test_pages_of_other_sites_are_refused(client: httpx.Client, photo: bytes) -> None:
    assert "other sites" in error_of(client.post(FACES, content=photo, headers={"Origin": "http://evil.example"}), 403)
    assert client.post(FACES, content=photo, headers={"Host": "evil.example"}).status_code == 403
    origin = {"Origin": "http://localhost:3000"}
    for answer in (client.options(FACES, headers=origin), client.post(FACES, content=photo, headers=origin)):
        assert answer.is_success and answer.headers["access-control-allow-origin"] == origin["Origin"]


def test_token_is_needed_if_there_is_one(server: FaceServer, photo: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.access, "token", "correct-horse")
    for path in ("/metrics", "/openapi.json"):
        answer = httpx.get(server.url + path, verify=False)
        assert error_of(answer, 403) == "the token is missing or wrong"
    assert httpx.post(server.url + FACES, content=photo, verify=False).status_code == 403
    bearer = {"Authorization": "Bearer correct-horse"}
    assert httpx.post(server.url + FACES, content=photo, headers=bearer, verify=False).status_code == 200
    assert httpx.get(server.url + "/metrics?token=correct-horse", verify=False).status_code == 200
    for path in ("/healthz", "/readyz"):  # a supervisor has no token
        assert httpx.get(server.url + path, verify=False).json() == {"status": "ok"}


def test_answers_are_as_the_openapi_document_describes_them(client: httpx.Client, photo: bytes) -> None:
    document = client.get("/openapi.json").json()
    assert document == openapi_document() and document["openapi"] == "3.1.0"
    Draft202012Validator.check_schema(document["components"]["schemas"]["Result"])
    requests: dict[tuple[str, str, str], Callable[[], httpx.Response]] = {
        (FACES, "post", "200"): lambda: client.post(FACES, content=photo),
        (FACES, "post", "400"): lambda: client.post(FACES),
        (FACES, "post", "403"): lambda: client.post(FACES, headers={"Origin": "http://evil.example"}),
        (FACES, "post", "413"): lambda: client.post(FACES, content=bytes(500_000)),
        (FACES, "post", "422"): lambda: client.post(FACES, content=b"hello"),
        ("/healthz", "get", "200"): lambda: client.get("/healthz"),
        ("/readyz", "get", "200"): lambda: client.get("/readyz"),
        ("/openapi.json", "get", "200"): lambda: client.get("/openapi.json"),
    }
    for (path, method, status), request in requests.items():
        answer = request()
        assert str(answer.status_code) == status
        assert is_as_described(document, path, method, answer)
    assert client.get("/metrics").headers["content-type"].partition(";")[0] in content_of(
        document, "/metrics", "get", "200"
    )
    assert not is_as_described(document, FACES, "post", httpx.Response(200, json={"version": 2}))


def content_of(document: dict[str, Any], path: str, method: str, status: str) -> dict[str, Any]:
    content: dict[str, Any] = document["paths"][path][method]["responses"][status]["content"]
    return content


def is_as_described(document: dict[str, Any], path: str, method: str, answer: httpx.Response) -> bool:
    """Return whether the body of an answer fits its schema."""
    schema = content_of(document, path, method, str(answer.status_code))["application/json"]["schema"]
    return Draft202012Validator({"components": document["components"], **schema}).is_valid(answer.json())


def test_wrong_options_are_refused() -> None:
    with pytest.raises(ConfigError, match="workers is 0"):
        ServeOptions(workers=0)
    with pytest.raises(ConfigError, match="port is 70000"):
        ServeOptions(port=70000)
    with pytest.raises(ConfigError, match="timeout is 0"):
        ServeOptions(timeout=0)
    with pytest.raises(ConfigError, match="token has 5 characters; expected at least 8"):
        FaceServer(options=ServeOptions(token="short"))
