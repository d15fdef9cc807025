"""Expressions of all faces in image files, with annotated copies."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from fer_edge._files import as_path, atomic_path, check_output, make_folder
from fer_edge.analysis.annotate import Mark, annotate
from fer_edge.analysis.box_files import match_boxes, read_boxes
from fer_edge.boxes import XYWH, Box, parse_box
from fer_edge.choices import Detail
from fer_edge.engines.base import Images
from fer_edge.engines.registry import get_engine
from fer_edge.errors import ConfigError, FerEdgeError, ImageError
from fer_edge.faces.detector import FaceDetector
from fer_edge.faces.face import Face
from fer_edge.html.theme import UNSURE, colors_of
from fer_edge.images import read_image
from fer_edge.quality import MIN_FACE
from fer_edge.recognizer import Expression, Recognizer
from fer_edge.results import Result, Table
from fer_edge.walk import LeftOut, find_images
from fer_edge.walk import notes as notes_on

STDIN = Path("-")
MIN_TILT = 30.0  # degrees from which a face is noted as tilted
MAX_CROP = 256  # pixels of the longer side of an image that may be a face crop
JPEG_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif")


@dataclass(frozen=True)
class RecognizedFace:
    """Face of an image, and its expression."""

    expression: Expression
    box: XYWH | None  # None: the image is a face crop
    face: Face | None = None  # None: the box was an argument, or the image is a face crop

    @property
    def notes(self) -> tuple[str, ...]:
        """Short remarks for a table: "unsure", "small", "tilted"; `expression.warning` has the figures."""
        remarks = {
            "unsure": not self.expression.certain,
            "small": self.box is not None and min(self.box[2:]) < MIN_FACE,
            "tilted": self.face is not None and abs(self.face.tilt) >= MIN_TILT,
        }
        return tuple(remark for remark, applies in remarks.items() if applies)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data: face and expression on one level."""
        face = self.face
        return {
            "box": None if self.box is None else [round(float(value), 2) for value in self.box],
            "detection_score": None if face is None else round(face.score, 4),
            "points": None if face is None else face.points.round(2).tolist(),
            "tilt": None if face is None else round(face.tilt, 2),
            "label": self.expression.label,
            "score": self.expression.score,
            "scores": self.expression.scores,
            "certain": self.expression.certain,
            "warning": self.expression.warning,
        }


@dataclass(frozen=True)
class ImageResult(Result):
    """Result of one image: its faces, the largest first or in the order of the boxes.

    Attributes:
        image: Path of the image.
        width: Width in pixels; 0 for an image that cannot be read.
        height: Height in pixels.
        faces: Faces with their expressions.
        error: Reason why the image or some of its boxes have no result; empty for a complete result.
        hint: Remark on an image without a face.
        copy: Path of the annotated copy; None without one.
    """

    image: Path
    width: int = 0
    height: int = 0
    faces: tuple[RecognizedFace, ...] = ()
    error: str = ""
    hint: str = ""
    copy: Path | None = None

    def tables(self) -> list[Table]:
        """Return a table with one row per face."""
        rows = [
            (
                number,
                face.expression.label,
                f"{face.expression.score:.3f}",
                text_of_box(face.box),
                ", ".join(face.notes),
            )
            for number, face in enumerate(self.faces, 1)
        ]
        return [Table(str(self.image), ("face", "expression", "score", "box", "note"), tuple(rows))]

    def notes(self) -> list[str]:
        """Return error and hint."""
        return [text for text in (self.error, self.hint) if text]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; without the keys of an image that could not be read."""
        if self.error and not self.faces:
            return {"image": str(self.image), "error": self.error}
        data: dict[str, Any] = {"image": str(self.image), "width": self.width, "height": self.height}
        data["faces"] = [face.to_dict() for face in self.faces]
        data |= {name: text for name, text in (("error", self.error), ("hint", self.hint)) if text}
        return data if self.copy is None else {**data, "copy": str(self.copy)}


def text_of_box(box: XYWH | None) -> str:
    """Return a box as `--box` accepts it, in whole pixels; `-` for a face crop."""
    return "-" if box is None else ",".join(f"{value:.0f}" for value in box)


def predict(
    images: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    bundle: str | os.PathLike[str] | None = None,
    crop: bool = False,
    box: Box | None = None,
    boxes: str | os.PathLike[str] | None = None,
    detail: Detail = "normal",
    save: str | os.PathLike[str] | None = None,
    max_pixels: int | None = None,
    engine: str | None = None,
    threads: int | None = None,
    device: int = 0,
    allow_host_code: bool = False,
) -> Predictions:
    """Find the faces of image files and recognise their expressions.

    >>> for result in fer_edge.predict("photos/"):
    ...     print(result)

    Args:
        images: Image file or folder, or a list of them; "-" is standard input.
        bundle: Bundle; None: the shipped one.
        crop: Whether each image is a face crop, in which no face is searched. False by default.
        box: Box of the face, the same in all images: x, y, width, height in pixels; None: faces are searched.
        boxes: CSV or JSON file with boxes of faces: file, x, y, width, height; None: faces are searched.
        detail: Size of the faces that are searched: "fast" for large ones only, "normal" by default, "fine" for small
            ones too.
        save: Folder for annotated copies of the images; None for none.
        max_pixels: Largest number of pixels of an image; None: 89478485.
        engine: Engine of the bundle; None: the first that runs on this machine.
        threads: Number of CPU threads; None: the engine's default.
        device: Index of the GPU, 0 by default.
        allow_host_code: Whether to run native code of a version-compatible TensorRT engine. False by default.

    Returns:
        Results in the order of the images. Each is computed when it is iterated over.

    Raises:
        ConfigError: More than one of `crop`, `box` and `boxes`; file of boxes that cannot be used; copy that would
            replace an image; or face networks that are not installed.
        BundleError: Bundle that cannot be used.
        EngineError: Engine that is not installed or failed.
    """
    set_names = [name for name, value in (("crop", crop), ("box", box), ("boxes", boxes)) if value not in (None, False)]
    if len(set_names) > 1:
        raise ConfigError(f"{' and '.join(set_names)} are set; each gives the place of the faces, so omit all but one")
    paths = [images] if isinstance(images, (str, os.PathLike)) else list(images)
    items, left_out = list_images([as_path(path, "the image") for path in paths])
    files = [item.path for item in items if not item.error]
    unused: list[str] = []
    places: Places = None
    if crop or box is not None:
        places = {path: [None if box is None else parse_box(box)] for path in files}
    elif boxes is not None:
        matches, unused = match_boxes(read_boxes(boxes), files, os.fspath(boxes))
        places = {path: [*matches.get(path, [])] for path in files}
    copies = {} if save is None else _plan_copies(items, as_path(save, "the folder of copies"))
    recognizer = Recognizer.open(bundle, engine, threads, device, allow_host_code=allow_host_code)
    detector = None
    if places is None and files:
        first = recognizer.engine if get_engine(recognizer.engine).runs_graphs else None
        detector = FaceDetector.open(engine=first, threads=threads, detail=detail)
    return Predictions(items, left_out, recognizer, detector, places, copies, max_pixels, unused)


Places = Mapping[Path, Sequence[XYWH | None]] | None  # boxes by image; a box of None is the whole image


@dataclass(frozen=True)
class ImageItem:
    """Image to read: a file, standard input, or a path with the reason why it cannot be read."""

    path: Path
    error: str = ""
    root: Path | None = None  # folder that the image was listed from


class Predictions:
    """Results of images in their order. Each is computed when iteration reaches it; the engines are then closed.

    Attributes:
        labels: Labels of the model.
        left_out: Files and folders below the folders that are not images, with reasons.
        unused: Files of a file of boxes that match no image.
    """

    def __init__(
        self,
        items: Sequence[ImageItem],
        left_out: Sequence[LeftOut],
        recognizer: Recognizer,
        detector: FaceDetector | None,
        places: Places,
        copies: Mapping[Path, Path],
        max_pixels: int | None,
        unused: Sequence[str],
    ) -> None:
        self.labels = recognizer.labels
        self.left_out = tuple(left_out)
        self.unused = tuple(unused)
        self._items = items
        self._recognizer = recognizer
        self._detector = detector
        self._places = places
        self._copies = copies
        self._max_pixels = max_pixels

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[ImageResult]:
        try:
            for item in self._items:
                yield ImageResult(item.path, error=item.error) if item.error else self._result(item.path)
        finally:
            self.close()

    def close(self) -> None:
        """Release the engines; needed only if not all results are iterated over."""
        self._recognizer.close()
        if self._detector is not None:
            self._detector.close()

    def notes(self) -> list[str]:
        """Return lines on what was left out."""
        lines = notes_on(self.left_out)
        if self.unused:
            lines.append(f"boxes of {len(self.unused)} files match no image, such as {self.unused[0]}")
        return lines

    def _result(self, path: Path) -> ImageResult:
        try:
            frame = read_image(_standard_input() if path == STDIN else path, max_pixels=self._max_pixels)
        except ImageError as failure:
            return ImageResult(path, error=str(failure))
        try:
            faces, error = self._faces(path, frame)
        except FerEdgeError as failure:
            return ImageResult(path, error=f"{path}: {failure}")
        except MemoryError:
            return ImageResult(
                path, error=f"{path}: not enough memory to cut out the face; free memory, or make the image smaller"
            )
        copy = self._copies.get(path)
        if copy is not None:
            _save_copy(frame, faces, copy, colors_of(self.labels))
        height, width = frame.shape[:2]
        hint = "" if faces or error else self._hint(width, height)
        return ImageResult(path, width, height, tuple(faces), error, hint, copy)

    def _faces(self, path: Path, frame: Images) -> tuple[list[RecognizedFace], str]:
        """Return the faces of an image, and the error of the first box that is refused."""
        if self._detector is not None:
            # One by one: an engine compiles a graph for batches, which takes longer than twenty faces.
            return [
                RecognizedFace(self._recognizer.recognize(frame, face), face.box, face)
                for face in self._detector.detect(frame)
            ], ""
        faces, errors = [], []
        for box in (self._places or {}).get(path, ()):
            try:
                faces.append(RecognizedFace(self._recognizer.recognize(frame, box), box))
            except FerEdgeError as failure:
                errors.append(f"{path}: {failure}")
        return faces, errors[0] if errors else ""

    def _hint(self, width: int, height: int) -> str:
        if self._detector is None:
            return "no box in the file of boxes"
        if max(width, height) <= MAX_CROP or width == height:
            return "no face found; if the image is a face crop, use --crop"
        return "no face found"


def list_images(paths: Sequence[Path]) -> tuple[list[ImageItem], list[LeftOut]]:
    """List the images of files and folders; a missing path or an empty folder is an item with an error.

    Args:
        paths: Files, folders, pipes, or `-` for standard input.

    Returns:
        Images, and the files in folders that are left out.
    """
    items: list[ImageItem] = []
    left_out: list[LeftOut] = []
    for path in paths:
        if path == STDIN or _is_special(path):
            items.append(ImageItem(path))
            continue
        try:
            listing = find_images(path)
        except FerEdgeError as error:
            items.append(ImageItem(path, str(error)))
            continue
        root = path if listing.paths != (path,) else None
        items += (ImageItem(image, root=root) for image in listing.paths)
        left_out += listing.left_out
    return items, left_out


def _is_special(path: Path) -> bool:
    """Return True for a pipe, socket or device, such as /dev/stdin and <(...): one image that can be read once."""
    with suppress(OSError, ValueError):
        mode = path.stat().st_mode
        return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)
    return False


def _standard_input() -> BinaryIO:
    """Return standard input as a binary file.

    Raises:
        ImageError: Standard input that is closed or a terminal.
    """
    if sys.stdin is None:
        raise ImageError("standard input is closed; expected an image")
    if sys.stdin.isatty():
        raise ImageError("standard input is a terminal; expected an image: fer-edge predict - < photo.jpg")
    return sys.stdin.buffer


def _plan_copies(items: Sequence[ImageItem], folder: Path) -> dict[Path, Path]:
    """Return the path of the annotated copy of each image: its place below its folder, as JPEG or PNG.

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


def _save_copy(frame: Images, faces: Sequence[RecognizedFace], path: Path, colors: Mapping[str, str]) -> None:
    """Write an annotated copy.

    Raises:
        FerEdgeError: File that cannot be written.
    """
    from PIL import Image

    height, width = frame.shape[:2]
    marks = [
        Mark(
            (0, 0, width, height) if face.box is None else face.box,
            f"{number} {face.expression.label} {face.expression.score:.2f}",
            colors[face.expression.label] if "unsure" not in face.notes else UNSURE,
        )
        for number, face in enumerate(faces, 1)
    ]
    copy = annotate(Image.fromarray(frame), marks)
    with atomic_path(path) as temporary:
        if path.suffix.lower() == ".png":
            copy.save(temporary, "PNG")
        else:
            copy.save(temporary, "JPEG", quality=92)
