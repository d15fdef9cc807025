"""Annotated copy of a video, encoded by PyAV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

from PIL import Image

from fer_edge._files import atomic_path
from fer_edge._require import require
from fer_edge._text import one_line
from fer_edge.analysis.annotate import Mark, annotate
from fer_edge.engines.base import Images
from fer_edge.errors import EngineUnavailableError, FerEdgeError

MAX_SIDE = 1920  # pixels of the longer side; players do not show larger H.264 videos reliably
CLOCK = 90_000  # ticks per second, as in MPEG
# H.264 first: every player and browser shows it. The others are in builds of FFmpeg without it.
CODECS: tuple[tuple[str, dict[str, str]], ...] = (
    ("libx264", {"crf": "23", "preset": "veryfast"}),
    ("libopenh264", {}),
    ("libvpx-vp9", {}),
    ("mpeg4", {}),
)


@contextmanager
def annotated_video(path: Path) -> Iterator[AnnotatedVideo]:
    """Open a video file, which appears under its name when the context ends without an error.

    Args:
        path: MP4 file.

    Raises:
        EngineUnavailableError: PyAV is not installed, or has no encoder.
        FerEdgeError: File that cannot be written; nothing was changed.
    """
    av = require("av", "video", "an annotated video")
    with atomic_path(path) as temporary:
        try:
            with av.open(str(temporary), "w", format="mp4") as container:
                video = AnnotatedVideo(av, container)
                yield video
                video.finish()
        except av.FFmpegError as error:
            reason = one_line(getattr(error, "strerror", None) or str(error))
            raise FerEdgeError(f"cannot write {path}: {reason}; nothing was changed") from error


class AnnotatedVideo:
    """Video with boxes and names, without sound.

    Frames keep their times. All have the size of the first frame, at most 1920 pixels wide or high; frames of another
    size are fitted into it.

    Args:
        av: PyAV.
        container: Open file.
    """

    def __init__(self, av: Any, container: Any) -> None:
        self._av, self._container = av, container
        self._codec, self._options = _choose_codec(av)
        self._stream: Any = None  # until the first frame
        self._size = (0, 0)
        self._last = -1  # ticks of the frame before

    def write(self, image: Images, time: float, marks: Sequence[Mark]) -> None:
        """Append a frame.

        Args:
            image: Frame, uint8 RGB.
            time: Its time in seconds.
            marks: Faces, in pixels of the frame.
        """
        picture = Image.fromarray(image)
        if self._stream is None:
            self._start(picture.size)
        frame = self._av.VideoFrame.from_image(self._draw(picture, marks))
        self._last = max(round(time * CLOCK), self._last + 1)
        frame.pts, frame.time_base = self._last, Fraction(1, CLOCK)
        self._container.mux(self._stream.encode(frame))

    def finish(self) -> None:
        """Write the frames that the encoder holds back."""
        if self._stream is not None:
            self._container.mux(self._stream.encode(None))

    def _start(self, size: tuple[int, int]) -> None:
        scale = min(1.0, MAX_SIDE / max(size))
        width, height = (max(2, round(side * scale / 2) * 2) for side in size)  # H.264 needs even sides
        self._size = width, height
        self._stream = self._container.add_stream(self._codec, rate=30, options=self._options)
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, CLOCK)

    def _draw(self, picture: Image.Image, marks: Sequence[Mark]) -> Image.Image:
        scale = min(self._size[0] / picture.width, self._size[1] / picture.height, 1.0)
        if scale < 1:
            size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
            picture = picture.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
            marks = [mark.scale(scale) for mark in marks]
        drawn = annotate(picture, marks, enlarge=False)
        if drawn.size == self._size:
            return drawn
        canvas = Image.new("RGB", self._size)
        canvas.paste(drawn, ((self._size[0] - drawn.width) // 2, (self._size[1] - drawn.height) // 2))
        return canvas


def _choose_codec(av: Any) -> tuple[str, dict[str, str]]:
    for name, options in CODECS:
        if name in av.codecs_available:
            return name, options
    raise EngineUnavailableError("this build of PyAV has no video encoder; install another one: pip install av")
