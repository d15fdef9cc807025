"""Pixels of messages, and the refusal of those that contradict themselves."""

from __future__ import annotations

import io
from array import array

import numpy as np
import pytest
import skimage.data
from PIL import Image as PillowImage
from sensor_msgs.msg import CompressedImage

from fer_edge.errors import FerEdgeError, ImageError, InputError
from fer_edge_ros.pixels import read_pixels
from robot import image_message

PHOTO = skimage.data.astronaut()[:37, :53]


def encoded(encoding: str) -> np.ndarray:
    """Return the photograph in an encoding."""
    alpha = np.full((*PHOTO.shape[:2], 1), 7, np.uint8)
    channels = {"rgb8": PHOTO, "bgr8": PHOTO[..., ::-1], "mono8": PHOTO[..., :1]}
    channels |= {"rgba8": np.dstack([PHOTO, alpha]), "bgra8": np.dstack([PHOTO[..., ::-1], alpha])}
    return channels[encoding]


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "rgba8", "bgra8", "mono8"])
def test_encodings_and_padded_rows(encoding: str, padding: int) -> None:
    pixels = read_pixels(image_message(encoded(encoding), encoding, padding=padding))
    rgb = pixels.frame if pixels.color == "rgb" else pixels.frame[..., ::-1]
    assert np.array_equal(rgb, np.repeat(PHOTO[..., :1], 3, axis=2) if encoding == "mono8" else PHOTO)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"encoding": "yuv422_yuy2"}, "expected one of: rgb8"),
        ({"encoding": "x" * 100_000}, "encoding is 'xxx"),
        ({"width": 0}, "size is 0 x 37"),
        ({"height": 0}, "size is 53 x 0"),
        ({"width": 2**32 - 1, "height": 2**32 - 1, "step": 2**32 - 1}, "expected 1 to"),
        ({"step": 158}, "step is 158 bytes; a row of 53 pixels in rgb8 has 159"),
        ({"step": 160}, "data has 5883 bytes; expected 5920"),
        ({"height": 38}, "data has 5883 bytes"),
        ({"data": array("B")}, "data has 0 bytes"),
        ({"step": 2**32 - 1}, "data has 5883 bytes"),
    ],
)
def test_contradictions_are_refused(changes: dict[str, object], reason: str) -> None:
    message = image_message(PHOTO)
    for name, value in changes.items():
        setattr(message, name, value)
    with pytest.raises(InputError) as caught:
        read_pixels(message)
    assert reason in str(caught.value) and len(str(caught.value)) < 300


def compressed(data: bytes) -> CompressedImage:
    message = CompressedImage(format="rgb8; jpeg compressed bgr8")
    message.data = array("B", data)
    return message


def test_compressed_image() -> None:
    file = io.BytesIO()
    PillowImage.fromarray(PHOTO).save(file, "PNG")
    assert np.array_equal(read_pixels(compressed(file.getvalue())).frame, PHOTO)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff", b"\0" * 12 + b"\x89PNG\r\n\x1a\n", b"x" * 1000])
def test_damaged_compressed_images_are_refused(data: bytes) -> None:
    with pytest.raises(ImageError):
        read_pixels(compressed(data))


def test_compressed_image_with_too_many_pixels_is_refused() -> None:
    file = io.BytesIO()
    PillowImage.new("1", (8192, 8192)).save(file, "PNG")
    with pytest.raises(ImageError, match="expected at most 33554432 pixels"):
        read_pixels(compressed(file.getvalue()))


def test_random_messages_raise_nothing_else() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        message = image_message(PHOTO)
        message.width, message.height, message.step = (
            int(value) for value in rng.integers(0, 2**32, 3) >> rng.integers(0, 32, 3)
        )
        message.encoding = str(rng.choice(["rgb8", "bgr8", "rgba8", "bgra8", "mono8"]))
        message.data = array("B", rng.bytes(int(rng.integers(0, 5000))))
        try:
            frame = read_pixels(message).frame
        except FerEdgeError:
            continue
        assert frame.shape == (message.height, message.width, 3)
