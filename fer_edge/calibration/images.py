"""Calibration sets: the real images that ranges are measured on, named by file and SHA-256.

The file of a set contains no pixels. Opened together with its data set, it gives the same images in the same order, or
an error that names the image that is missing or has changed. Each file is read, hashed and decoded once; the faces stay
in memory for all passes of the measurement.
"""

from __future__ import annotations

import json
import os
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fer_edge._files import sha256, write_atomically
from fer_edge._settings import Finite, convert, convert_fields
from fer_edge.crop import crop_and_resize
from fer_edge.data.images import UNCOUNTED, Box, ImageSet, Pixels
from fer_edge.errors import ConfigError, DataError, ImageError, InputError, shown
from fer_edge.images import read_image
from fer_edge.progress import Advance, ignore
from fer_edge.walk import LeftOut, notes

FORMAT_VERSION = 1
MIN_COUNT = 32  # images; with fewer, the peak of a tensor depends too much on the choice
DEFAULT_COUNT = 512
MIN_SIDE = 32  # pixels of a face
MIN_BRIGHTNESS = 8  # of 255; an image without a brighter pixel counts as black
MAX_BYTES = 64 << 20
MAX_HELD = 4096  # images of a set that are held in memory, 154 MB; those of a larger set are decoded in each pass


@dataclass(frozen=True)
class CalibrationImage:
    """One image of a set."""

    file: str  # path below the data set's folder, with forward slashes
    sha256: str
    label: str
    box: tuple[Finite, Finite, Finite, Finite] | None = None  # face box; None: the whole image is the face

    def __post_init__(self) -> None:
        convert_fields(self)
        if not self.file.isprintable():
            raise ConfigError(f"file is {shown(self.file)}; expected a file name of printable characters")


@dataclass(frozen=True)
class CalibrationSet:
    """Set of at least 32 different images of at least two classes."""

    source: str  # data set and split, "FERPlus train"
    seed: int
    images: tuple[CalibrationImage, ...]

    def __post_init__(self) -> None:
        if len(self.images) < MIN_COUNT:
            raise DataError(f"a calibration set of {len(self.images)} images; expected at least {MIN_COUNT}")
        labels = {image.label for image in self.images}
        if len(labels) == 1:
            raise DataError(
                f"all {len(self.images)} images show {labels.pop()}; expected several classes, "
                "since ranges of one expression do not fit the others"
            )
        files: dict[str, str] = {}
        for image in self.images:
            if image.sha256 in files:
                raise DataError(f"{image.file} is a copy of {files[image.sha256]}; expected every image once")
            files[image.sha256] = image.file

    def __len__(self) -> int:
        return len(self.images)

    def to_json(self) -> str:
        """Return the content of the set's file, one image per line."""
        lines = ",\n".join(f"  {json.dumps(asdict(image))}" for image in self.images)
        head = f' "format": {FORMAT_VERSION},\n "source": {json.dumps(self.source)},\n "seed": {self.seed},\n'
        return "{\n" + head + ' "images": [\n' + lines + "\n ]\n}\n"

    def save(self, path: Path) -> None:
        """Write the file of the set, whole or not at all."""
        write_atomically(path, self.to_json().encode())

    def summary(self) -> dict[str, Any]:
        """Return source, seed, count, classes and hash of the set, as a ranges file records them."""
        counts = Counter(image.label for image in self.images)
        return {
            "source": self.source,
            "seed": self.seed,
            "count": len(self),
            "classes": dict(sorted(counts.items())),
            "sha256": sha256(self.to_json().encode()),
        }

    def open(self, root: Path) -> CalibrationImages:
        """Read and check every image file of the set.

        Args:
            root: Folder of the data set, or its list file.

        Raises:
            DataError: Missing or changed image, face that is too small, or black image.
        """
        folder = _folder(root)
        faces: list[Pixels] = []
        for image in self.images:
            path = folder / image.file
            # Compared by name: images of data sets under version control are often links to another folder.
            if not Path(os.path.normpath(path.absolute())).is_relative_to(os.path.normpath(folder.absolute())):
                raise DataError(f"{image.file} is outside of {folder}; expected files below that folder")
            face = _read_face(path, image.box, self.source)
            if face.sha256 != image.sha256:
                raise DataError(
                    f"the SHA-256 of {path} differs from the one in the calibration set: restore the image, or choose "
                    "a new set"
                )
            if face.pixels is None:
                raise DataError(f"{path}: {face.detail}")
            faces += [face.pixels] if len(self) <= MAX_HELD else []
        paths = tuple(folder / image.file for image in self.images)
        boxes = tuple(image.box for image in self.images)
        pixels = np.stack(faces) if faces else None
        return CalibrationImages(self, ImageSet(paths, boxes=boxes, source=self.source, pixels=pixels))


@dataclass(frozen=True)
class CalibrationImages:
    """Calibration set and its faces."""

    set: CalibrationSet
    faces: ImageSet  # its `left_out` contains unfit candidates of a newly chosen set

    def batches(self, size: int) -> Iterator[Pixels]:
        """Yield batches of faces in the order of the set, uint8 RGB (n, 112, 112, 3)."""
        return (batch for batch, _ in self.faces.batches(size))


def read_set(path: Path) -> CalibrationSet:
    """Read the file of a calibration set.

    Raises:
        DataError: Missing or malformed file, or a set that is unfit for calibration.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path} has {path.stat().st_size} bytes; calibration sets have at most {MAX_BYTES}")
        data = json.loads(path.read_text())
        if data["format"] != FORMAT_VERSION:
            raise ValueError(f"format {data['format']}; this version reads {FORMAT_VERSION}")
        return convert({key: value for key, value in data.items() if key != "format"}, CalibrationSet)
    except OSError as error:
        raise DataError(f"calibration set {path} cannot be read: {error.strerror}") from error
    except (ConfigError, ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise DataError(f"{path} is not a calibration set that this version can read: {error!r}") from error


def choose_images(
    data: ImageSet,
    root: Path,
    count: int = DEFAULT_COUNT,
    seed: int = 0,
    progress: Advance = ignore,
) -> CalibrationImages:
    """Draw images from each class in turn; a rare class contributes all that it has.

    Images that are damaged, too small, black or copies of a chosen one, or whose box is outside of them, are left out.

    Args:
        data: Images to choose from: the training split, since the split that accuracy is measured on must not
            influence the model.
        root: Folder that file names are relative to, or the list file in it.
        count: Number of images, 512 by default.
        seed: Seed of the random choice, 0 by default; the same seed gives the same images.
        progress: Callback that receives 1 for each chosen image.

    Raises:
        DataError: Missing image, image outside of `root`, or a resulting set that is too small or has one class.
    """
    labels, folder = data.required_labels, _folder(root)
    left_out = [*data.left_out, *(LeftOut(data.paths[i], UNCOUNTED) for i in np.flatnonzero(labels < 0))]
    classes = [np.flatnonzero(labels == label) for label in range(len(data.label_set))]
    turns = deque(
        iter(np.random.default_rng([seed, label]).permutation(indices)) for label, indices in enumerate(classes)
    )
    images: dict[str, CalibrationImage] = {}
    rows: list[int] = []
    faces: list[Pixels] = []
    while turns and len(images) < count:
        queue = turns.popleft()
        for index in queue:
            path, box = data.paths[index], data.box(index)
            name = _name_below(path, folder)
            face = _read_face(path, box, data.source)
            reason = "copy of another image" if face.sha256 in images else face.reason
            if face.pixels is None or reason:
                left_out.append(LeftOut(path, reason))
                continue
            images[face.sha256] = CalibrationImage(name, face.sha256, data.label_set.labels[labels[index]], box)
            rows.append(index)
            faces += [face.pixels] if min(count, len(data)) <= MAX_HELD else []
            turns.append(queue)
            progress(1)
            break
    try:
        chosen = CalibrationSet(data.source, seed, tuple(images.values()))
    except DataError as error:
        reasons = notes(left_out) if len(images) < count else []
        raise DataError("; ".join([f"{data.source}: {error}", *reasons])) from error
    pixels = np.stack(faces) if faces else None
    return CalibrationImages(chosen, replace(data.take(np.array(rows)), left_out=tuple(left_out), pixels=pixels))


def _name_below(path: Path, folder: Path) -> str:
    """Return the path of an image relative to the data set's folder.

    Raises:
        DataError: Image outside of the folder.
    """
    folder, path = folder.absolute(), path.absolute()  # a list file may contain absolute paths
    if not path.is_relative_to(folder):
        raise DataError(
            f"{path} is outside of {folder}; expected files below that folder: "
            "move the images there, or name the folder that contains them"
        )
    return path.relative_to(folder).as_posix()


def _folder(root: Path) -> Path:
    """Return the folder of a data set that is given as a folder or as a list file."""
    return root.parent if root.is_file() else root


class _Face(NamedTuple):
    """Face of one image file, or the defect that makes the image unfit for calibration."""

    sha256: str  # of the file
    pixels: Pixels | None = None  # (112, 112, 3); None: an unfit image
    reason: str = ""  # equal for all images with this defect
    detail: str = ""


def _read_face(path: Path, box: Box | None, source: str) -> _Face:
    """Read, hash and decode one image of a data set.

    Raises:
        DataError: File that is missing or cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path} of {source} cannot be read ({error.strerror}); restore the file, or choose other images"
        ) from error
    digest = sha256(content)
    try:
        image = read_image(content)
    except ImageError as error:
        return _Face(digest, None, "unreadable or damaged image", str(error))
    width, height = (image.shape[1], image.shape[0]) if box is None else (box[2], box[3])
    if min(width, height) < MIN_SIDE:
        detail = f"the face is {width:g} x {height:g} pixels; expected at least {MIN_SIDE} on each side"
        return _Face(digest, None, f"face of less than {MIN_SIDE} x {MIN_SIDE} pixels", detail)
    try:
        face = crop_and_resize(image, box)
    except InputError as error:
        return _Face(digest, None, "box outside of the image", str(error))
    if face.max() < MIN_BRIGHTNESS:
        reason = f"image without a pixel brighter than {MIN_BRIGHTNESS} of 255"
        return _Face(digest, None, reason, "the image is all black")
    return _Face(digest, face)
