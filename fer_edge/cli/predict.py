"""`fer-edge predict`."""

from __future__ import annotations

import os
import stat
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from fer_edge.cli.option_checks import parse_box, refuse_given, shipped_path
from fer_edge.cli.options import AllowHostCode, Device, Engine, FaceBox, Json, Threads

if TYPE_CHECKING:
    from fer_edge.crop import Box
    from fer_edge.recognizer import Expression, Recognizer

STDIN = Path("-")
HEADINGS = ("expression", "score", "image")
MIN_PATH_WIDTH = 16  # columns of a path on a terminal, however narrow the terminal is


def predict(
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGES", help="Image files or folders; `-` is standard input.")
    ],
    bundle: Annotated[
        Path | None,
        typer.Option(
            "--bundle", help="Bundle (.fer); default: `edge`, the shipped one.", callback=shipped_path("bundle")
        ),
    ] = None,
    box: FaceBox = None,
    top: Annotated[
        int | None, typer.Option("--top", min=1, help="Number of labels to show, the likeliest first; default: 1.")
    ] = None,
    max_pixels: Annotated[
        int | None, typer.Option("--max-pixels", min=1, help="Largest number of pixels of an image; default: 89478485.")
    ] = None,
    engine: Engine = None,
    threads: Threads = None,
    device: Device = None,
    allow_host_code: AllowHostCode = False,
    json: Json = False,
) -> None:
    """Recognise expressions in images.

    Each image is a face crop, unless --box locates the face. If an image fails, its error is printed, the other
    images are still processed, and the exit code is 1. With --json, each image is one line with all scores, or with
    its error.

    Example: fer-edge predict photo.jpg --box 165,70,120,120
    """
    from fer_edge.cli.output import print_note
    from fer_edge.recognizer import Recognizer

    face = parse_box(box)
    if json:
        refuse_given("the table", "leave out --json, which prints every score", top=top)
    batch = _list_images(images)
    with Recognizer.open(bundle, engine, threads, device or 0, allow_host_code=allow_host_code) as recognizer:
        table = None if json else _Table(recognizer.labels, top or 1)
        try:
            _predict_all(batch, recognizer, face, max_pixels, table)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"stopped after {batch.done} of {len(batch.items)} images") from None
    for line in batch.notes:
        print_note(line)
    if batch.failed or batch.left_out:
        print_note(batch.summary())
    if batch.failed:
        raise typer.Exit(1)


@dataclass
class _Item:
    """Image file, or standard input."""

    path: Path
    error: str = ""  # reason why it cannot be read, if it is clear without opening it


@dataclass
class _Batch:
    """Images of one command line, and counts of their results."""

    items: list[_Item] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # on files in folders that are not images
    left_out: int = 0
    done: int = 0
    failed: int = 0

    def summary(self) -> str:
        """Return the counts that are not zero."""
        counts = [f"{self.done} image{'s'[: self.done != 1]}"]
        counts += [f"{self.failed} failed"] if self.failed else []
        counts += [f"{self.left_out} left out"] if self.left_out else []
        return ", ".join(counts)


def _list_images(paths: Sequence[Path]) -> _Batch:
    """List the images of files and folders; a missing path or an empty folder is an item with an error."""
    from fer_edge.errors import FerEdgeError
    from fer_edge.walk import find_images, notes

    batch = _Batch()
    for path in paths:
        if path == STDIN or _is_special(path):
            batch.items.append(_Item(path))
            continue
        try:
            listing = find_images(path)
        except FerEdgeError as error:
            batch.items.append(_Item(path, str(error)))
            continue
        batch.items += map(_Item, listing.paths)
        batch.notes += notes(listing.left_out)
        batch.left_out += len(listing.left_out)
    return batch


def _is_special(path: Path) -> bool:
    """Return True for a pipe, socket or device, such as /dev/stdin and <(...): one image that can be read once."""
    with suppress(OSError, ValueError):
        mode = path.stat().st_mode
        return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)
    return False


def _predict_all(
    batch: _Batch, recognizer: Recognizer, face: Box | None, max_pixels: int | None, table: _Table | None
) -> None:
    """Recognise and print every image of a batch, and count results.

    Args:
        batch: Images.
        recognizer: Open recognizer.
        face: Box of the face, the same in all images; None if the images are face crops.
        max_pixels: Largest number of pixels of an image; None for the default.
        table: Table to print into; None prints JSON.
    """
    from fer_edge.cli.output import ProgressLines, print_error, print_json, print_note

    progress = None if len(batch.items) == 1 or _is_terminal() else ProgressLines("recognising", len(batch.items))
    for item in batch.items:
        result = item.error or _recognize(recognizer, item.path, face, max_pixels)
        batch.done += 1
        if isinstance(result, str):
            print_error(result)
            batch.failed += 1
            if table is None:
                print_json({"image": item.path, "error": result}, indent=None)
        else:
            warning = getattr(result, "warning", "")
            if table is None:
                print_json(_json_row(item.path, result, warning), indent=None)
            else:
                table.print_rows(item.path, result.scores)
            if warning:
                print_note(f"warning: {item.path}: {warning}")
        if progress is not None:
            progress.advance(1)


def _json_row(path: Path, expression: Expression, warning: str) -> dict[str, object]:
    return {
        "image": path,
        "label": expression.label,
        "score": expression.score,
        "scores": expression.scores,
        "warning": warning,
    }


def _recognize(recognizer: Recognizer, path: Path, face: Box | None, max_pixels: int | None) -> Expression | str:
    """Return the expression of an image, or an error message with its path."""
    from fer_edge.errors import FerEdgeError, ImageError
    from fer_edge.images import read_image

    try:
        with _quiet_decoders():
            frame = read_image(_standard_input() if path == STDIN else path, max_pixels=max_pixels)
        return recognizer.recognize(frame, face)
    except ImageError as error:
        return str(error)
    except FerEdgeError as error:
        return f"{path}: {error}"
    except MemoryError:
        return f"{path}: not enough memory to cut out the face; free memory, or make the image smaller"


def _standard_input() -> BinaryIO:
    """Return standard input as a binary file.

    Raises:
        ImageError: Standard input that is closed or a terminal.
    """
    from fer_edge.errors import ImageError

    if sys.stdin is None:
        raise ImageError("standard input is closed; expected an image")
    if sys.stdin.isatty():
        raise ImageError("standard input is a terminal; expected an image: fer-edge predict - < photo.jpg")
    return sys.stdin.buffer


@contextmanager
def _quiet_decoders() -> Iterator[None]:
    """Suppress warnings and native messages of image libraries; the error of a damaged file has the cause."""
    copy = None
    if sys.stderr is not None:  # if stderr is closed, its descriptor may belong to another file
        with suppress(OSError):  # the limit of open files may be reached
            copy = os.dup(2)
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 2)
            os.close(null)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            yield
    finally:
        if copy is not None:
            os.dup2(copy, 2)
            os.close(copy)


def _is_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


class _Table:
    """Table that is printed row by row, as images are finished; paths come last and are shortened on terminals only.

    Args:
        labels: Labels of the model.
        top: Number of labels of an image; each one is a row.
    """

    def __init__(self, labels: Sequence[str], top: int) -> None:
        from fer_edge._text import printable

        self._top = top
        self._width = max(len(printable(text)) for text in (*labels, HEADINGS[0]))
        self._has_heading = False

    def print_rows(self, path: Path, scores: dict[str, float]) -> None:
        """Print the likeliest labels of an image; the first call prints the heading.

        Args:
            path: Image.
            scores: Score by label.
        """
        from fer_edge._text import printable
        from fer_edge.cli.output import print_line

        if not self._has_heading:
            print_line(f"{HEADINGS[0]:{self._width}}  {HEADINGS[1]}  {HEADINGS[2]}", flush=True)
            self._has_heading = True
        name = _shorten(printable(str(path)), self._width + 9)
        for label, score in sorted(scores.items(), key=lambda entry: -entry[1])[: self._top]:
            print_line(f"{printable(label):{self._width}}  {score:.3f}  {name}", flush=True)


def _shorten(path: str, used: int) -> str:
    """Replace the middle of a path by `...` if stdout is a terminal that is too narrow for it.

    Args:
        path: Path.
        used: Columns of the row before the path.
    """
    if not _is_terminal():
        return path
    from shutil import get_terminal_size

    room = max(get_terminal_size().columns - used, MIN_PATH_WIDTH)
    if len(path) <= room:
        return path
    tail = (room - 3) * 2 // 3
    return f"{path[: room - 3 - tail]}...{path[-tail:]}"
