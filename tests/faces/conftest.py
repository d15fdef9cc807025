"""Face networks, photographs with one face, and pictures without."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt
import pytest
import skimage.data

from fer_edge import FaceDetector, Recognizer, read_image
from tests.networks import require_networks

Frame = npt.NDArray[np.uint8]


@pytest.fixture(scope="session")
def networks() -> None:
    """Skip without the face networks, except in CI."""
    require_networks()


@pytest.fixture(scope="session", params=["openvino", "onnxruntime"])
def detector(request: pytest.FixtureRequest, networks: None) -> Iterator[FaceDetector]:
    with FaceDetector.open(engine=request.param) as detector:
        yield detector


@pytest.fixture(scope="session")
def recognizer() -> Iterator[Recognizer]:
    with Recognizer.open(engine="openvino", threads=1) as recognizer:
        yield recognizer


@pytest.fixture(scope="session")
def photos() -> dict[str, Frame]:
    """Return photographs with one face each, by the label of its expression; both are in the public domain."""
    hopper = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    return {"happiness": skimage.data.astronaut(), "neutral": read_image(hopper)}


@pytest.fixture(scope="session")
def faceless() -> dict[str, Frame]:
    """Return the pictures of scikit-image's package without a person."""
    folder = Path(skimage.data.__file__).parent
    with_faces = {"astronaut", "camera", "no_time_for_that_tiny"}
    paths = [
        path for path in sorted(folder.iterdir()) if path.suffix in {".png", ".jpg"} and path.stem not in with_faces
    ]
    assert len(paths) >= 10
    return {path.stem: read_image(path) for path in paths}
