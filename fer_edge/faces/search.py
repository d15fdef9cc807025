"""Search for faces in a frame at one or several sizes, with the same network."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from fer_edge.choices import Detail
from fer_edge.engines.graph import Execution, Graph
from fer_edge.faces.networks import Detections, Network, Size, join

MIN_FIXED_SIDE = 64  # CenterFace's file declares 32 x 32 pixels, but accepts any size


class Search:
    """Detection network, compiled for the sizes that it searches.

    A network that is made for small faces misses those that fill the frame. It finds them in a smaller frame.
    """

    def __init__(self, graph: Graph, network: Network, detail: Detail) -> None:
        self._graph = graph
        self._network = network
        self._channels_first = graph.port.shape[-1] != 3
        height, width = graph.port.shape[2:] if self._channels_first else graph.port.shape[1:3]
        self._fixed: Size | None = None
        if height is not None and width is not None and min(height, width) > MIN_FIXED_SIDE:
            self._fixed = width, height
        self._sizes = network.sizes[detail] if self._fixed is None else (self._fixed,)
        self._executions: dict[Size, Execution] = {}

    def clear(self) -> None:
        """Release the compiled graphs."""
        self._executions.clear()

    def run(self, frame: npt.NDArray[np.uint8], threshold: float, color: str) -> Detections:
        """Return the detections at all sizes, in pixels of the frame.

        Args:
            frame: uint8 (H, W, 3).
            threshold: Smallest score of a detection.
            color: Channel order of the frame: "rgb" or "bgr".
        """
        height, width = frame.shape[:2]
        image = Image.fromarray(np.ascontiguousarray(frame))
        parts = []
        for size in self._sizes:
            if height > width and self._fixed is None:
                size = size[::-1]
            image = _fit(image, size)  # from the size before, which is cheaper than from the frame
            left, top = (size[0] - image.width) // 2, (size[1] - image.height) // 2
            outputs = self._fill(image, size, (left, top), color).run()
            detections = self._network.decode(outputs, size, threshold)
            scale_x, scale_y = width / image.width, height / image.height
            parts.append(detections.move((scale_x, scale_y), (-left * scale_x, -top * scale_y)))
        return join(parts)

    def _fill(self, image: Image.Image, size: Size, place: tuple[int, int], color: str) -> Execution:
        """Return the graph compiled for `size`, with an image at a place of its input, which is black elsewhere."""
        if size not in self._executions:
            width, height = size
            shape = (1, 3, height, width) if self._channels_first else (1, height, width, 3)
            self._executions[size] = self._graph.compile(shape)
        execution = self._executions[size]
        canvas = execution.input[0].transpose(1, 2, 0) if self._channels_first else execution.input[0]
        pixels = np.asarray(image)
        if (color == "bgr") != self._network.bgr:
            pixels = pixels[:, :, ::-1]
        left, top = place
        canvas[:] = 0
        canvas[top : top + image.height, left : left + image.width] = pixels
        return execution


def _fit(image: Image.Image, size: Size) -> Image.Image:
    """Resize an image so that it just fits a size; its aspect ratio is preserved."""
    scale = min(size[0] / image.width, size[1] / image.height)
    fitted = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    # The gap lets Pillow first reduce by a whole factor, which halves the time, and costs no detections.
    return image if fitted == image.size else image.resize(fitted, Image.Resampling.BILINEAR, reducing_gap=1.0)
