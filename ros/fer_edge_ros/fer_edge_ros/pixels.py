"""Pixels of image messages, checked before any of them is used."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sensor_msgs.msg import CompressedImage, Image

from fer_edge.errors import InputError, shown
from fer_edge.images import read_image

MAX_PIXELS = 1 << 25  # slightly more than a frame of 8K video
# Number of channels and their order by encoding. Grey becomes three equal channels.
ENCODINGS = {"rgb8": (3, "rgb"), "bgr8": (3, "bgr"), "rgba8": (4, "rgb"), "bgra8": (4, "bgr"), "mono8": (1, "rgb")}


class Pixels(NamedTuple):
    """Frame or face crop.

    Attributes:
        frame: uint8, (H, W, 3); a view of the message if that is possible.
        color: Channel order: "rgb" or "bgr".
    """

    frame: npt.NDArray[np.uint8]
    color: str


def read_pixels(message: Image | CompressedImage) -> Pixels:
    """Return the pixels of a message.

    Raises:
        InputError: Encoding, size or step that is not supported, or that contradicts the length of the data.
        ImageError: Compressed image that cannot be decoded.
    """
    if isinstance(message, CompressedImage):
        return Pixels(read_image(memoryview(message.data), max_pixels=MAX_PIXELS), "rgb")
    if message.encoding not in ENCODINGS:
        raise InputError(
            f"encoding is {shown(message.encoding)}; expected one of: {', '.join(ENCODINGS)}: set the format of the "
            "camera, or convert images by image_proc"
        )
    channels, color = ENCODINGS[message.encoding]
    width, height, step = message.width, message.height, message.step
    if not (width and height and width * height <= MAX_PIXELS):
        raise InputError(f"size is {width} x {height} pixels; expected 1 to {MAX_PIXELS} pixels")
    if step < width * channels:
        raise InputError(
            f"step is {step} bytes; a row of {width} pixels in {message.encoding} has {width * channels} bytes"
        )
    if len(message.data) != step * height:
        raise InputError(
            f"data has {len(message.data)} bytes; expected {step * height}: {height} rows with a step of {step} bytes"
        )
    rows = np.frombuffer(message.data, np.uint8).reshape(height, step)[:, : width * channels]
    frame = rows.reshape(height, width, channels)
    return Pixels(np.broadcast_to(frame, (height, width, 3)) if channels == 1 else frame[:, :, :3], color)
