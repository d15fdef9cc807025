"""Expressions of all faces in image files, with annotated copies."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from fer_edge._files import as_path
from fer_edge.analysis.box_files import match_boxes, read_boxes
from fer_edge.analysis.copies import plan_copies, save_copy
from fer_edge.analysis.image_items import STDIN, ImageItem, list_images, standard_input
from fer_edge.analysis.image_results import ImageResult, RecognizedFace
from fer_edge.boxes import XYWH, Box, parse_box
from fer_edge.choices import Detail
from fer_edge.engines.base import Images
from fer_edge.errors import ConfigError, FerEdgeError, ImageError
from fer_edge.faces.detector import FaceDetector, detection_engine
from fer_edge.html.theme import colors_of
from fer_edge.images import read_image
from fer_edge.recognizer import Recognizer
from fer_edge.shipped import path_or_shipped
from fer_edge.signing import PublicKey
from fer_edge.walk import LeftOut
from fer_edge.walk import notes as notes_on

MAX_CROP = 256  # pixels of the longer side of an image that may be a face crop
Places = Mapping[Path, Sequence[XYWH | None]] | None  # boxes by image; a box of None is the whole image


def predict(
    images: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    bundle: str | os.PathLike[str] | None = None,
    signed_by: PublicKey | None = None,
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
        bundle: Bundle; None or "edge": the shipped one.
        signed_by: Public key that must have signed the bundle, as for `Bundle.open`; None: the origin is not checked.
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
    copies = {} if save is None else plan_copies(items, as_path(save, "the folder of copies"))
    model = None if bundle is None else path_or_shipped("bundle", as_path(bundle, "the bundle"))
    recognizer = Recognizer.open(model, engine, threads, device, allow_host_code=allow_host_code, signed_by=signed_by)
    detector = None
    if places is None and files:
        detector = FaceDetector.open(engine=detection_engine(recognizer.engine), threads=threads, detail=detail)
    return Predictions(items, left_out, recognizer, detector, places, copies, max_pixels, unused)


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
            frame = read_image(standard_input() if path == STDIN else path, max_pixels=self._max_pixels)
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
            save_copy(frame, faces, copy, colors_of(self.labels))
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
