"""Annotated copies of images: their paths, and their files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from fer_edge._files import atomic_path, check_output, make_folder
from fer_edge.analysis.annotate import Mark, annotate
from fer_edge.analysis.image_items import STDIN, ImageItem
from fer_edge.analysis.image_results import RecognizedFace
from fer_edge.engines.base import Images
from fer_edge.html.theme import UNSURE

JPEG_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif")


def plan_copies(items: Sequence[ImageItem], folder: Path) -> dict[Path, Path]:
    """Return the path of the annotated copy of each image: its place below its folder, as JPEG or PNG.

    Args:
        items: Images.
        folder: Folder of the copies, which is created.

    Raises:
        ConfigError: Copy that would replace an image.
        FerEdgeError: Folder that cannot be created.
    """
    images = {os.path.realpath(item.path) for item in items}
    copies: dict[Path, Path] = {}
    taken: set[str] = set()
    for item in items:
        if item.path in copies:  # an image that is listed twice
            continue
        name = Path(item.path.name) if item.root is None else item.path.relative_to(item.root)
        name = Path("stdin") if item.path == STDIN else name
        copy = folder / (name if name.suffix.lower() in (*JPEG_SUFFIXES, ".png") else name.with_suffix(".png"))
        number = 2
        while str(copy).casefold() in taken:  # some file systems ignore case
            copy = copy.with_name(f"{name.stem}-{number}{copy.suffix}")
            number += 1
        taken.add(str(copy).casefold())
        if os.path.realpath(copy) in images:
            check_output(copy, *(other.path for other in items))
        copies[item.path] = copy
    make_folder(folder)
    return copies


def save_copy(frame: Images, faces: Sequence[RecognizedFace], path: Path, colors: Mapping[str, str]) -> None:
    """Write an annotated copy of an image.

    Args:
        frame: The image, uint8 RGB.
        faces: Its faces.
        path: File to write, PNG or JPEG.
        colors: Color by label.

    Raises:
        FerEdgeError: File that cannot be written.
    """
    height, width = frame.shape[:2]
    marks = [
        Mark(
            (0, 0, width, height) if face.box is None else face.box,
            f"{number} {face.expression.label} {face.expression.score:.2f}",
            colors[face.expression.label] if face.expression.certain else UNSURE,
        )
        for number, face in enumerate(faces, 1)
    ]
    copy = annotate(Image.fromarray(frame), marks)
    with atomic_path(path) as temporary:
        if path.suffix.lower() == ".png":
            copy.save(temporary, "PNG")
        else:
            copy.save(temporary, "JPEG", quality=92)
