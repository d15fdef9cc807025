"""Calibration sets: which real images ranges are measured on, named by file and SHA-256, chosen by a seed.

A set holds no pixels. Opened beside the data set it came from, it gives the same images in the same order, or says
which one is missing or another. There is no random data to fall back on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fer_edge._files import sha256, write_atomically
from fer_edge._settings import Finite, convert, convert_fields
from fer_edge.crop import crop_and_resize
from fer_edge.data.matching import UNCOUNTED
from fer_edge.data.splits import Box, LabelledSplit
from fer_edge.engines.base import IMAGE_SIZE, Images
from fer_edge.errors import ConfigError, DataError, ImageError, InputError, shown
from fer_edge.images import read_image
from fer_edge.walk import LeftOut, notes

FORMAT_VERSION = 1
FEWEST = 32  # images; below, the largest values of a tensor are a matter of luck
DEFAULT_COUNT = 512
SMALLEST_SIDE = 32  # pixels of a face
DARKEST = 8  # an image with no brighter pixel is all black
MAX_BYTES = 64 << 20


@dataclass(frozen=True)
class CalibrationImage:
    """One image of a set."""

    file: str  # below the data set's folder, with forward slashes
    sha256: str
    label: str
    box: tuple[Finite, Finite, Finite, Finite] | None = None  # where the face is; None: the image is the face

    def __post_init__(self) -> None:
        convert_fields(self)
        if not self.file.isprintable():
            raise ConfigError(f"file is {shown(self.file)}; expected a plain name")


@dataclass(frozen=True)
class CalibrationSet:
    """A set of images."""

    source: str  # for people: "FERPlus train"
    seed: int
    images: tuple[CalibrationImage, ...]

    def __post_init__(self) -> None:
        if len(self.images) < FEWEST:
            raise DataError(f"a calibration set of {len(self.images)} images; expected at least {FEWEST}")
        labels = {image.label for image in self.images}
        if len(labels) == 1:
            raise DataError(
                f"all {len(self.images)} images show {labels.pop()}; expected several classes, "
                "or ranges fit one expression only"
            )
        seen: dict[str, str] = {}
        for image in self.images:
            if image.sha256 in seen:
                raise DataError(f"{image.file} is the same image as {seen[image.sha256]}; expected each image once")
            seen[image.sha256] = image.file

    def __len__(self) -> int:
        return len(self.images)

    def to_json(self) -> str:
        """The stored form: one image a line."""
        lines = ",\n".join(f"  {json.dumps(asdict(image))}" for image in self.images)
        head = f' "format": {FORMAT_VERSION},\n "source": {json.dumps(self.source)},\n "seed": {self.seed},\n'
        return "{\n" + head + ' "images": [\n' + lines + "\n ]\n}\n"

    def save(self, path: Path) -> None:
        """Write the manifest, whole or not at all."""
        write_atomically(path, self.to_json().encode())

    def summary(self) -> dict[str, Any]:
        """What ranges say about the images they were measured on."""
        counts = {label: 0 for label in sorted({image.label for image in self.images})}
        for image in self.images:
            counts[image.label] += 1
        return {
            "source": self.source,
            "seed": self.seed,
            "count": len(self),
            "classes": counts,
            "sha256": sha256(self.to_json().encode()),
        }

    def open(self, root: Path) -> CalibrationImages:
        """The images themselves.

        Args:
            root: Folder of the data set, or its list file.

        Raises:
            DataError: One is missing, another than the manifest says, too small or all black.
        """
        opened = CalibrationImages(self, _folder(root))
        for image in self.images:
            opened.read(image)
        return opened


@dataclass(frozen=True)
class CalibrationImages:
    """A calibration set beside its files. May be iterated again and again."""

    set: CalibrationSet
    root: Path

    def batches(self, size: int) -> Iterator[Images]:
        """uint8 RGB (n, 112, 112, 3), in the order of the set."""
        for start in range(0, len(self.set), size):
            yield np.stack([self.read(image) for image in self.set.images[start : start + size]])

    def read(self, image: CalibrationImage) -> Images:
        """One image, (112, 112, 3).

        Raises:
            DataError: It is missing, another than the manifest says, too small or all black.
        """
        path = self.root / image.file
        # By name alone: images of data sets under version control are often links to elsewhere.
        if not Path(os.path.normpath(path.absolute())).is_relative_to(os.path.normpath(self.root.absolute())):
            raise DataError(f"{image.file} is outside of {self.root}; a calibration set names files below it")
        try:
            found = sha256(path.read_bytes())
        except OSError as error:
            raise DataError(
                f"{path} cannot be read ({error.strerror}); expected the data set of {self.set.source}"
            ) from error
        if found != image.sha256:
            raise DataError(f"{path} is another image than the calibration set names: its SHA-256 differs")
        face, fault = _face(path, image.box)
        if face is None:
            raise DataError(f"{path}: {fault.detail}")
        return face


def read_set(path: Path) -> CalibrationSet:
    """Read a manifest.

    Raises:
        DataError: It is missing, not understood, or the set is not fit to calibrate on.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path} has {path.stat().st_size} bytes; calibration sets have at most {MAX_BYTES}")
        data = json.loads(path.read_text())
        if data["format"] != FORMAT_VERSION:
            raise ValueError(f"format {data['format']}; this version reads {FORMAT_VERSION}")
        stored = convert({key: value for key, value in data.items() if key != "format"}, CalibrationSet)
    except OSError as error:
        raise DataError(f"calibration set {path} cannot be read: {error.strerror}") from error
    except (ConfigError, ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise DataError(f"{path} is no calibration set that this version understands: {error!r}") from error
    return stored


class Choice(NamedTuple):
    """A calibration set, and why the other images that were looked at are not in it."""

    set: CalibrationSet
    passed_over: tuple[LeftOut, ...]


def choose_images(
    data: LabelledSplit,
    root: Path,
    count: int = DEFAULT_COUNT,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Choice:
    """Draw a set, in turns from each class until there are enough; rare classes give what they have.

    Images that are damaged, too small, all black, without their box or there already are passed over.

    Args:
        data: What to choose from. The training split: what a model is judged on must not shape it.
        root: Folder that file names are relative to, or the list file in it.
        count: How many.
        seed: Same seed, same images.
        progress: Told of each image chosen.

    Raises:
        DataError: An image is missing or not below `root`, or the set comes out too small or of one class.
    """
    names = data.label_set.labels
    queues = [
        list(np.random.default_rng([seed, label]).permutation(np.flatnonzero(data.labels == label)))
        for label in range(len(names))
    ]
    chosen: dict[str, CalibrationImage] = {}
    passed_over = [*data.left_out, *(LeftOut(data.paths[i], UNCOUNTED) for i in np.flatnonzero(data.labels < 0))]
    while len(chosen) < count and any(queues):
        for label, queue in enumerate(queues):
            if len(chosen) >= count:
                break
            image = _next_fit(data, root, queue, names[label], chosen, passed_over)
            if image is not None:
                chosen[image.sha256] = image
                if progress is not None:
                    progress(1)
    try:
        return Choice(CalibrationSet(data.source, seed, tuple(chosen.values())), tuple(passed_over))
    except DataError as error:
        reasons = notes(passed_over) if len(chosen) < count else []
        raise DataError("; ".join([f"{data.source}: {error}", *reasons])) from error


def _next_fit(
    data: LabelledSplit,
    root: Path,
    queue: list[int],
    label: str,
    chosen: dict[str, CalibrationImage],
    passed_over: list[LeftOut],
) -> CalibrationImage | None:
    """The next fit image of a class, or None if there is no other; those before it are noted in `passed_over`."""
    while queue:
        index = int(queue.pop(0))
        path, box = data.paths[index], data.box(index)
        name = _name_below(path, root)
        try:
            digest = sha256(path.read_bytes())
        except OSError as error:
            raise DataError(
                f"{path} of {data.source} cannot be read ({error.strerror}); expected every image that it names: "
                "restore the file, or take it off the list"
            ) from error
        fault = "copy of another image" if digest in chosen else _face(path, box)[1].kind
        if not fault:
            return CalibrationImage(name, digest, label, box)
        passed_over.append(LeftOut(path, fault))
    return None


def _name_below(path: Path, root: Path) -> str:
    """What a calibration set calls an image.

    Raises:
        DataError: It is not below the data set's folder.
    """
    folder, path = _folder(root).absolute(), path.absolute()  # a list may name files below it by absolute paths
    if not path.is_relative_to(folder):
        raise DataError(
            f"{path} is outside of {folder}; a calibration set names files below it: "
            "move the images there, or name the folder that holds them"
        )
    return path.relative_to(folder).as_posix()


def _folder(root: Path) -> Path:
    """A data set's folder; a list file stands for the one it lies in."""
    return root.parent if root.is_file() else root


class _Fault(NamedTuple):
    """Why an image is not fit to calibrate on; empty texts for one that is."""

    kind: str = ""  # equal for all images with this fault
    detail: str = ""


def _face(path: Path, box: Box | None) -> tuple[Images | None, _Fault]:
    """A face as a model takes it, or why it is not fit to calibrate on."""
    try:
        image = read_image(path)
    except ImageError as error:
        return None, _Fault("unreadable or damaged image", str(error))
    width, height = (image.shape[1], image.shape[0]) if box is None else (box[2], box[3])
    if min(width, height) < SMALLEST_SIDE:
        detail = f"the face is {width:g} x {height:g} pixels; expected at least {SMALLEST_SIDE} on each side"
        return None, _Fault(f"face of less than {SMALLEST_SIDE} x {SMALLEST_SIDE} pixels", detail)
    try:
        face = crop_and_resize(image, box, IMAGE_SIZE)
    except InputError as error:
        return None, _Fault("box outside of the image", str(error))
    if face.max() < DARKEST:
        return None, _Fault(f"image without a pixel brighter than {DARKEST} of 255", "the image is all black")
    return face, _Fault()
