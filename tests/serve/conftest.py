"""A server on the real face networks and a tiny model, with short deadlines, and images to send."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
import skimage.data
from PIL import Image

from fer_edge.serve import FaceServer, ServeOptions
from tests.images.make import encoded
from tests.networks import require_networks
from tests.tiny import tiny_bundle

TIMEOUT = 2.0  # seconds


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaceServer]:
    """Return a server with one worker."""
    require_networks()
    bundle = tiny_bundle(tmp_path_factory.mktemp("serve") / "tiny.fer")
    options = ServeOptions(
        port=0, workers=1, queue=2, cameras=3, max_bytes=400_000, max_pixels=1_000_000, timeout=TIMEOUT
    )
    with FaceServer(bundle, engine="openvino", options=options) as server:
        yield server


@pytest.fixture
def client(server: FaceServer) -> Iterator[httpx.Client]:
    """Return a client whose requests begin with the server's address."""
    with httpx.Client(base_url=server.url, verify=False) as client:  # without the time for certificates
        yield client


@pytest.fixture(scope="session")
def photo() -> bytes:
    """Return the photograph of an astronaut as JPEG."""
    return encoded(Image.fromarray(skimage.data.astronaut()[:240, 80:320]), "JPEG")


@contextmanager
def held_worker(server: FaceServer) -> Iterator[None]:
    """Stop the thread of the only worker, so that work waits."""
    release = threading.Event()
    server._workers[0]._executor.submit(release.wait, 60)
    try:
        yield
    finally:
        release.set()
