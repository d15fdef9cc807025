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
from fer_edge.cli.options import AllowHostCode, FaceBox, Json, Runner, Threads

if TYPE_CHECKING:
    from fer_edge.crop import Box
    from fer_edge.recognizer import Expression, Recognizer

STDIN = Path("-")
HEADINGS = ("expression", "score", "image")
NARROWEST = 16  # columns of a path in a terminal, however narrow that is


def predict(
    images: Annotated[list[Path], typer.Argument(help="Image files or folders; - is standard input.")],
    model: Annotated[
        Path | None,
        typer.Option("--model", help="A bundle; default: edge, the shipped one.", callback=shipped_path("bundle")),
    ] = None,
    box: FaceBox = None,
    top: Annotated[
        int | None, typer.Option("--top", min=1, help="Number of labels to show, the likeliest first; default: 1.")
    ] = None,
    max_pixels: Annotated[
        int | None, typer.Option("--max-pixels", min=1, help="Largest number of pixels of an image; default: 89478485.")
    ] = None,
    engine: Runner = None,
    threads: Threads = None,
    allow_host_code: AllowHostCode = False,
    json: Json = False,
) -> None:
    """Recognise expressions in images.

    Each image is taken as a face crop unless --box says where the face is. An image that fails costs only itself: its
    error is printed, the others are answered, and the exit code is 1. With --json, every image is a line with all
    scores, or with its error.

    Example: fer-edge predict photo.jpg --box 165,70,120,120
    """
    from fer_edge.cli.output import print_note
    from fer_edge.recognizer import Recognizer

    face = parse_box(box)
    if json:
        refuse_given("the table", "leave out --json, which prints every score", top=top)
    batch = _listed(images)
    with Recognizer.open(model, engine, threads, allow_host_code=allow_host_code) as recognizer:
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
    """A named file, standard input, or a file below a named folder."""

    path: Path
    error: str = ""  # why it cannot be read, where that is known beforehand


@dataclass
class _Batch:
    """Everything that was named, and what became of it."""

    items: list[_Item] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # on what folders hold and was left out
    left_out: int = 0
    done: int = 0
    failed: int = 0

    def summary(self) -> str:
        counts = [f"{self.done} image{'s'[: self.done != 1]}", f"{self.failed} failed", f"{self.left_out} left out"]
        return ", ".join(count for count in counts if not count.startswith("0 f") and not count.startswith("0 l"))


def _listed(paths: Sequence[Path]) -> _Batch:
    """List every image of the named files and folders; a path that is missing or an empty folder is an item too."""
    from fer_edge.errors import FerEdgeError
    from fer_edge.walk import find_images

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
        batch.items += [_Item(found) for found in listing.paths]
        batch.notes += listing.summary()
        batch.left_out += len(listing.left_out)
    return batch


def _is_special(path: Path) -> bool:
    """Whether a path names a pipe, socket or device, as /dev/stdin and <(...) do: one image, to be read once."""
    with suppress(OSError, ValueError):
        mode = path.stat().st_mode
        return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)
    return False


def _predict_all(
    batch: _Batch, recognizer: Recognizer, face: Box | None, max_pixels: int | None, table: _Table | None
) -> None:
    from fer_edge.cli.output import ProgressLines, print_error, print_json, print_note

    progress = None if len(batch.items) == 1 or _is_terminal() else ProgressLines("recognising", len(batch.items))
    for item in batch.items:
        result = item.error or _recognised(recognizer, item.path, face, max_pixels)
        batch.done += 1
        if isinstance(result, str):
            print_error(result)
            batch.failed += 1
            if table is None:
                print_json({"image": item.path, "error": result}, indent=None)
        else:
            warning = getattr(result, "warning", "")
            if table is None:
                print_json(_as_json(item.path, result, warning), indent=None)
            else:
                table.print_rows(item.path, result.scores)
            if warning:
                print_note(f"warning: {item.path}: {warning}")
        if progress is not None:
            progress.advance(1)


def _as_json(path: Path, expression: Expression, warning: str) -> dict[str, object]:
    return {
        "image": path,
        "label": expression.label,
        "score": expression.score,
        "scores": expression.scores,
        "warning": warning,
    }


def _recognised(recognizer: Recognizer, path: Path, face: Box | None, max_pixels: int | None) -> Expression | str:
    """Recognise one image; the message of its error, which names it, where that fails."""
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
    from fer_edge.errors import ImageError

    if sys.stdin is None:
        raise ImageError("standard input is closed; expected an image")
    if sys.stdin.isatty():
        raise ImageError("standard input is a terminal; expected an image: fer-edge predict - < photo.jpg")
    return sys.stdin.buffer


@contextmanager
def _quiet_decoders() -> Iterator[None]:
    """Keep what image libraries write about a damaged file off stderr, warnings and native text; its error says it."""
    stderr = None
    if sys.stderr is not None:  # otherwise another file may have its descriptor
        with suppress(OSError):  # no more files may be opened
            stderr = os.dup(2)
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 2)
            os.close(null)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            yield
    finally:
        if stderr is not None:
            os.dup2(stderr, 2)
            os.close(stderr)


def _is_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


class _Table:
    """Rows of fixed width that are printed one by one; the path comes last and is shortened in terminals alone."""

    def __init__(self, labels: Sequence[str], top: int) -> None:
        """Prepare the columns.

        Args:
            labels: Labels of the model.
            top: Number of labels of an image, each of which is a row.
        """
        self._top = top
        self._width = max(map(len, (*labels, HEADINGS[0])))
        self._headed = False

    def print_rows(self, path: Path, scores: dict[str, float]) -> None:
        """Print the likeliest labels of an image, below the heading if it is the first."""
        from fer_edge._text import printable

        if not self._headed:
            print(f"{HEADINGS[0]:{self._width}}  {HEADINGS[1]}  {HEADINGS[2]}", flush=True)
            self._headed = True
        name = _fitted(printable(str(path)), self._width + 9)
        for label, score in sorted(scores.items(), key=lambda entry: -entry[1])[: self._top]:
            print(f"{label:{self._width}}  {score:.3f}  {name}", flush=True)


def _fitted(path: str, used: int) -> str:
    """A path without its middle, where a terminal has no room for it."""
    if not _is_terminal():
        return path
    from shutil import get_terminal_size

    room = max(get_terminal_size().columns - used, NARROWEST)
    if len(path) <= room:
        return path
    tail = (room - 3) * 2 // 3
    return f"{path[: room - 3 - tail]}...{path[-tail:]}"
