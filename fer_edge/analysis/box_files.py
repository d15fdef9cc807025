"""Files of face boxes: CSV or JSON with file, x, y, width and height."""

from __future__ import annotations

import csv
import io
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath

from fer_edge._files import as_path
from fer_edge.boxes import XYWH, parse_box
from fer_edge.errors import ConfigError, InputError, shown

COLUMNS = ("file", "x", "y", "width", "height")
EXPECTED = "expected a CSV file with the columns file, x, y, width, height, or a JSON list of objects with these names"
MAX_BYTES = 256 << 20


def read_boxes(path: str | os.PathLike[str]) -> dict[str, list[XYWH]]:
    """Read a file of face boxes.

    Args:
        path: CSV file with a heading, or JSON file; other columns are ignored.

    Returns:
        Boxes by the file of their image, as the file names it.

    Raises:
        ConfigError: File that cannot be read or is of another form.
    """
    source = as_path(path, "the file of boxes", ConfigError)
    boxes: dict[str, list[XYWH]] = defaultdict(list)
    for number, row in enumerate(_read_rows(source), 1):
        missing = [name for name in COLUMNS if row.get(name) in (None, "")]
        if missing:
            raise ConfigError(f"{source}: box {number} has no {', '.join(missing)}; {EXPECTED}")
        try:
            values = [float(row[name]) for name in COLUMNS[1:]]  # type: ignore[arg-type]
            boxes[str(row["file"])].append(parse_box(values))
        except (TypeError, ValueError, OverflowError, InputError):
            entry = ", ".join(f"{name} {shown(row[name])}" for name in COLUMNS[1:])
            raise ConfigError(f"{source}: box {number} has {entry}; expected four finite numbers") from None
    if not boxes:
        raise ConfigError(f"{source} contains no boxes; {EXPECTED}")
    return dict(boxes)


def _read_rows(source: Path) -> list[Mapping[str, object]]:
    try:
        if source.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{source} is larger than {MAX_BYTES} bytes; divide it")
        text = source.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"cannot read {source}: {error.strerror}; {EXPECTED}") from error
    except UnicodeDecodeError:
        raise ConfigError(f"{source} is not UTF-8 text; {EXPECTED}") from None
    if not text.lstrip().startswith(("[", "{")):
        try:
            return [*csv.DictReader(io.StringIO(text), skipinitialspace=True)]
        except csv.Error as error:
            raise ConfigError(f"{source} is not CSV: {error}; {EXPECTED}") from error
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{source} is not JSON: {error}; {EXPECTED}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ConfigError(f"{source} is JSON of another form; {EXPECTED}")
    return rows


def match_boxes(
    boxes: Mapping[str, list[XYWH]], images: Iterable[Path], source: str
) -> tuple[dict[Path, list[XYWH]], list[str]]:
    """Assign the boxes of a file to images.

    A file matches an image if the image's path is equal to it, or ends in it: `a/1.jpg` matches `photos/a/1.jpg`.

    Args:
        boxes: Boxes by file.
        images: Images.
        source: Name of the file of boxes, for messages.

    Returns:
        Boxes by image, and the files that match no image.

    Raises:
        ConfigError: File that matches several images.
    """
    names: dict[str, list[str]] = defaultdict(list)
    for file in boxes:
        names[PurePath(file).name].append(file)
    matches: dict[str, Path] = {}
    for image in images:
        fitting = [file for file in names[image.name] if _ends_in(image, PurePath(os.path.normpath(file)))]
        if not fitting:
            continue
        file = max(fitting, key=lambda name: len(PurePath(name).parts))
        if matches.setdefault(file, image) != image:
            raise ConfigError(
                f"{source}: {file} matches {matches[file]} and {image}; write more of the path into the column file"
            )
    return {image: boxes[file] for file, image in matches.items()}, [file for file in boxes if file not in matches]


def _ends_in(image: Path, file: PurePath) -> bool:
    parts = Path(os.path.abspath(image)).parts  # noqa: PTH100  links stay as they are named
    if file.is_absolute() or ".." in file.parts:
        return parts == Path(os.path.abspath(file)).parts  # noqa: PTH100
    return parts[-len(file.parts) :] == file.parts
