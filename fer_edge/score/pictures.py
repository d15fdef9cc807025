"""Pictures of a shard: decoded images and frames, and the damaged ones."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fer_edge._text import one_line
from fer_edge.engines.base import Images
from fer_edge.errors import EngineUnavailableError, FerEdgeError, ImageError
from fer_edge.images import read_image
from fer_edge.score.columns import read_rows
from fer_edge.score.items import Item
from fer_edge.video import VideoFrame, open_source


@dataclass(frozen=True, eq=False)
class Picture:
    """Image of a shard, or frame of a video.

    Attributes:
        source: Path of the file.
        item: Name of a tar member, or number of the row of a Parquet file; None for a file of its own.
        image: uint8 RGB (H, W, 3); None for a damaged one.
        error: Reason why there is no image; empty otherwise.
        frame: Number of the frame; None for an image.
        time: Time of the frame in seconds; None for an image.
    """

    source: str
    item: str | None = None
    image: Images | None = None
    error: str = ""
    frame: int | None = None
    time: float | None = None


def read_pictures(item: Item, max_pixels: int) -> Iterator[Picture]:
    """Yield the pictures of an item that is not a video; those that cannot be read have an error.

    Args:
        item: Item.
        max_pixels: Largest number of pixels of an image.
    """
    if item.kind == "damaged":
        yield Picture(item.source, item.name or None, error=item.error)
    elif item.kind == "image":
        yield _decode(item.source, None, Path(item.source), max_pixels)
    elif item.kind == "member":
        yield _decode(item.source, item.name, item, max_pixels)
    else:
        try:
            for row, data in read_rows(item):
                yield _decode(item.source, f"{row}", data, max_pixels)
        except OSError as error:
            yield Picture(item.source, error=str(error))


def _decode(source: str, name: str | None, data: Path | Item | bytes | None, max_pixels: int) -> Picture:
    try:
        if data is None:
            raise ImageError(f"row {name} has no image")
        if isinstance(data, Path):
            _check_regular(data)
        content = _read_member(data) if isinstance(data, Item) else data
        return Picture(source, name, read_image(content, max_pixels=max_pixels))
    except FerEdgeError as error:
        what = name if isinstance(data, Item) or not name else f"row {name}"
        return Picture(source, name, error=str(error).replace("the image data", str(what), 1))


def _check_regular(path: Path) -> None:
    """Refuse pipes and devices, which would block a worker.

    Raises:
        ImageError: Path that is missing or not a regular file.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise ImageError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    if not stat.S_ISREG(mode):
        raise ImageError(f"{path} is not a regular file; expected an image")


def _read_member(item: Item) -> bytes:
    """Read a member of a tar archive, whose size the plan has checked.

    Raises:
        ImageError: Archive that cannot be read or has become shorter.
    """
    try:
        with Path(item.source).open("rb") as file:
            file.seek(item.offset)
            data = file.read(item.size)
    except OSError as error:
        raise ImageError(f"cannot read {item.source}: {error.strerror}") from error
    if len(data) < item.size:
        raise ImageError(f"{item.name} is truncated: {item.source} ends before it")
    return data


def read_video(item: Item, max_pixels: int) -> Iterator[VideoFrame | Picture]:
    """Yield the frames of a video; at its end, a damaged picture if frames or the whole video cannot be decoded.

    Args:
        item: Item of the kind "video".
        max_pixels: Largest number of pixels of a frame.
    """
    frames = 0
    try:
        _check_regular(Path(item.source))
        with open_source(Path(item.source), max_pixels=max_pixels) as source:
            for frame in source:
                frames += 1
                yield frame
            damaged = source.state.damaged
    except EngineUnavailableError:
        raise
    except Exception as error:  # decoders raise any exception for damaged files
        text = str(error) if isinstance(error, FerEdgeError) else f"{type(error).__name__}: {error}"
        yield Picture(item.source, error=one_line(text) + (f"; {frames} frames are scored" if frames else ""))
        return
    if damaged:
        yield Picture(item.source, error=f"{damaged} frames could not be decoded; {frames} frames are scored")
    elif not frames:
        yield Picture(item.source, error=f"{item.source} has no frame that can be decoded; expected a video")
