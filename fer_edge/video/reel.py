"""Reel: decoded frames of one connection to a source; and the reel of a folder of images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from fer_edge.engines.base import Images
from fer_edge.errors import ImageError, VideoError
from fer_edge.images import read_image
from fer_edge.walk import find_images

FOLDER_FPS = 25.0  # images a second


@dataclass(frozen=True)
class Capture:
    """Settings of a source."""

    max_pixels: int  # largest number of pixels of a frame
    size: tuple[int, int] | None = None  # width and height that a camera is set to; None: its own
    fps: float | None = None  # frames per second of a camera or of a folder of images; None: its own, or 25


class Reel(ABC):
    """Frames of one connection to a source, in order."""

    is_live = False  # whether frames arrive as they are taken
    period = 1 / FOLDER_FPS  # usual time between two frames, in seconds
    length: int | None = None  # number of frames of a recording, about; None: unknown
    damaged = 0  # frames skipped so far since they could not be decoded

    @abstractmethod
    def read(self) -> tuple[Images, float | None] | None:
        """Return the next frame, uint8 RGB and upright, and its timestamp in seconds; None at the end.

        Raises:
            VideoError: Source that broke off, or frame that is too large.
        """

    @abstractmethod
    def close(self) -> None:
        """Release file or device."""


class FolderReel(Reel):
    """Images of a folder, sorted by path, as frames at a fixed rate.

    Args:
        folder: Folder of images.
        capture: Settings.
    """

    def __init__(self, folder: Path, capture: Capture) -> None:
        try:
            paths = find_images(folder).paths
        except ImageError as error:
            raise VideoError(str(error)) from error
        self._paths, self.length = iter(paths), len(paths)
        self.period = 1 / (capture.fps or FOLDER_FPS)
        self._max_pixels = capture.max_pixels
        self._index = 0

    def read(self) -> tuple[Images, float | None] | None:
        for path in self._paths:
            stamp = self._index * self.period
            self._index += 1
            try:
                return read_image(path, max_pixels=self._max_pixels), stamp
            except ImageError:
                self.damaged += 1
        return None

    def close(self) -> None:
        """Do nothing: each image is closed after it was read."""
