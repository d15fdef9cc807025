"""A server whose bundle is replaced while clients use it."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from fer_edge.bundle import Bundle
from fer_edge.errors import BundleError
from fer_edge.serve import FaceServer
from tests.serve.test_live import camera, receive
from tests.tiny import tiny_bundle

CROP = {"crop": "true"}


@pytest.fixture
def bundle(server: FaceServer) -> Iterator[Path]:
    """Return the path of the server's bundle, whose model is restored after the test."""
    content = server._place.read_bytes()
    yield server._place
    server._place.write_bytes(content)
    server.reload()


def figure(client: httpx.Client, start: str) -> str:
    """Return the only line of the metrics with this beginning, or nothing."""
    return "".join(line for line in client.get("/metrics").text.splitlines() if line.startswith(f"fer_edge_{start}"))


def scores(client: httpx.Client, photo: bytes) -> list[float]:
    answer = client.post("/v1/faces", params=CROP, content=photo)
    assert answer.status_code == 200
    return [*answer.json()["people"][0]["expression"]["scores"].values()]


def test_replaced_bundle_is_served_without_an_error(
    server: FaceServer, client: httpx.Client, photo: bytes, bundle: Path, tmp_path: Path
) -> None:
    before = scores(client, photo)
    new = tiny_bundle(tmp_path / "new.fer", seed=1)
    end = threading.Event()

    def post() -> list[list[float]]:
        results = []
        with httpx.Client(base_url=server.url, verify=False) as other:
            while not end.wait(0.01):
                results.append(scores(other, photo))
                assert other.get("/readyz").status_code == 200
        return results

    with ThreadPoolExecutor(1) as pool, camera(server) as connection:
        posts = pool.submit(post)
        try:
            connection.send(photo)
            (person,) = receive(connection)["people"]
            new.replace(bundle)
            model = server.reload()
            connection.send(photo)
            (same,) = receive(connection)["people"]
            after = scores(client, photo)
        finally:
            end.set()
        assert all(result in (before, after) for result in posts.result(30))
    assert model == Bundle.open(bundle).manifest.files["model.onnx"]["sha256"]
    assert after != before and same["id"] == person["id"]
    assert same["expression"]["scores"] == same["raw"]["scores"] != person["expression"]["scores"]
    assert figure(client, "model_info") == f'fer_edge_model_info{{model="{model}"}} 1'
    assert figure(client, 'reloads_total{result="done"}')


def test_damaged_bundle_leaves_the_model_in_use(
    server: FaceServer, client: httpx.Client, photo: bytes, bundle: Path
) -> None:
    before, model = scores(client, photo), figure(client, "model_info")
    bundle.write_bytes(bundle.read_bytes()[:-100])
    with pytest.raises(BundleError):
        server.reload()
    assert (scores(client, photo), figure(client, "model_info")) == (before, model)
    assert figure(client, 'reloads_total{result="refused"}').endswith(" 1")


@pytest.mark.slow  # a process; the tests above and those of `Reloads` are its quick sisters
@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_command_reloads_on_hangup_and_when_the_file_is_replaced(server: FaceServer, tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path / "tiny.fer")
    command = [sys.executable, "-m", "fer_edge", "serve", "--bundle", str(path), "--port", "0", "--reload"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stderr is not None
    url = process.stdout.readline().strip()
    assert process.stderr.readline() == "Ctrl-C ends\n"
    tiny_bundle(tmp_path / "new.fer", seed=1).replace(path)
    assert process.stderr.readline() == "loaded tiny.fer\n"
    process.send_signal(signal.SIGHUP)
    assert process.stderr.readline() == "loaded tiny.fer\n"
    assert 'fer_edge_reloads_total{result="done"} 2' in httpx.get(f"{url}/metrics").text
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)  # also closes the pipes
    assert process.returncode == 143
