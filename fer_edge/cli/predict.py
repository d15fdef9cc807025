"""`fer-edge predict`."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fer_edge.cli.option_checks import parse_box, refuse_given
from fer_edge.cli.options import (
    AllowHostCode,
    Crop,
    Detail,
    Device,
    Engine,
    Json,
    MaxPixels,
    ShippedBundle,
    SignedBy,
    Threads,
)

if TYPE_CHECKING:
    from fer_edge.analysis.image_results import ImageResult, RecognizedFace
    from fer_edge.analysis.predict import Predictions

MIN_PATH_WIDTH = 16  # columns of a path on a terminal, however narrow the terminal is
BOX_WIDTH, NOTE_WIDTH = 19, 14
NO_FACE = "no face"


def predict(
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGES", help="Image files or folders; `-` is standard input.")
    ],
    bundle: ShippedBundle = None,
    signed_by: SignedBy = None,
    crop: Crop = False,
    box: Annotated[
        str | None,
        typer.Option(
            "--box",
            metavar="X,Y,W,H",
            help="Face box in pixels: left, top, width, height; default: faces are searched.",
        ),
    ] = None,
    boxes: Annotated[
        Path | None,
        typer.Option("--boxes", help="CSV or JSON file of face boxes, with file, x, y, width and height of each."),
    ] = None,
    detail: Detail = None,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="DIR", help="Folder for copies with boxes and names of the faces.")
    ] = None,
    top: Annotated[
        int | None, typer.Option("--top", min=1, help="Number of labels to show, the likeliest first; default: 1.")
    ] = None,
    max_pixels: MaxPixels = None,
    engine: Engine = None,
    threads: Threads = None,
    device: Device = None,
    allow_host_code: AllowHostCode = False,
    json: Json = False,
) -> None:
    """Find faces in images, and recognise their expressions.

    If an image fails, its error is printed, the other images are still processed, and the exit code is 1; it is 0 for
    images without a face. With --json, each image is one line with all faces and scores, or with its error.

    Example: fer-edge predict photo.jpg --save annotated/
    """
    from fer_edge.analysis.predict import predict as run_predict
    from fer_edge.cli.output import print_note

    if json:
        refuse_given("the table", "leave out --json, which prints every score", top=top)
    if crop or box is not None or boxes is not None:
        refuse_given("the search for faces", "leave out --crop, --box and --boxes", detail=detail)
    results = run_predict(
        images,
        bundle=bundle,
        signed_by=signed_by,
        crop=crop,
        box=parse_box(box),
        boxes=boxes,
        detail=detail or "normal",
        save=save,
        max_pixels=max_pixels,
        engine=engine,
        threads=threads,
        device=device or 0,
        allow_host_code=allow_host_code,
    )
    failed = _print_all(results, None if json else _Table(results.labels, top or 1))
    for line in results.notes():
        print_note(line)
    left_out = len(results.left_out)
    if failed or left_out:
        counts = [f"{len(results)} image{'s'[: len(results) != 1]}"]
        counts += [f"{failed} failed"] if failed else []
        counts += [f"{left_out} left out"] if left_out else []
        print_note(", ".join(counts))
    if failed:
        raise typer.Exit(1)


def _print_all(results: Predictions, table: _Table | None) -> int:
    """Print every result, and return the number of images that failed.

    Args:
        results: Results of all images.
        table: Table to print into; None prints JSON.

    Raises:
        KeyboardInterrupt: Ctrl-C; its message has the number of finished images.
    """
    from fer_edge.cli.output import ProgressLines, print_json

    progress = None if len(results) == 1 or _is_terminal() else ProgressLines("recognising", len(results))
    done = failed = 0
    iterator = iter(results)
    try:
        while True:
            with _quiet_decoders():
                result = next(iterator, None)
            if result is None:
                return failed
            done += 1
            failed += bool(result.error)
            if table is None:
                print_json(result.to_dict(), indent=None)
            else:
                table.print_rows(result)
            _print_notes(result)
            if progress is not None:
                progress.advance(1)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped after {done} of {len(results)} images") from None


def _print_notes(result: ImageResult) -> None:
    """Print error, hint and warnings of an image on stderr."""
    from fer_edge.cli.output import print_error, print_note

    if result.error:
        print_error(result.error)
    if result.hint:
        print_note(f"{result.image}: {result.hint}")
    for number, face in enumerate(result.faces, 1):
        if face.expression.warning:
            place = f", face {number}" if len(result.faces) > 1 else ""
            print_note(f"warning: {result.image}{place}: {face.expression.warning}")


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
        top: Number of labels of a face; each one is a row.
    """

    def __init__(self, labels: Sequence[str], top: int) -> None:
        from fer_edge._text import printable

        self._top = top
        self._width = max(len(printable(text)) for text in (*labels, "expression", NO_FACE))
        self._has_heading = False

    def print_rows(self, result: ImageResult) -> None:
        """Print the faces of an image; the first call prints the heading.

        Args:
            result: Result of the image.
        """
        if result.error and not result.faces:
            return
        if not self._has_heading:
            self._print("face", "expression", "score", "box", "note", "image")
            self._has_heading = True
        for number, face in enumerate(result.faces, 1):
            self._print_face(number, face, result.image)
        if not result.faces:
            self._print("-", NO_FACE, "-", "-", "", str(result.image))

    def _print_face(self, number: int, face: RecognizedFace, image: Path) -> None:
        from fer_edge._text import printable
        from fer_edge.analysis.image_results import text_of_box

        note = ", ".join(face.notes)
        for label, score in sorted(face.expression.scores.items(), key=lambda entry: -entry[1])[: self._top]:
            self._print(f"{number}", printable(label), f"{score:.3f}", text_of_box(face.box), note, str(image))

    def _print(self, number: str, label: str, score: str, box: str, note: str, path: str) -> None:
        from fer_edge._text import printable
        from fer_edge.cli.output import print_line

        row = f"{number:4}  {label:{self._width}}  {score:5}  {box:{BOX_WIDTH}}  {note:{NOTE_WIDTH}}  "
        print_line(row + _shorten(printable(path), len(row)), flush=True)


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
