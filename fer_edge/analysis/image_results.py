"""Results of images: their faces, boxes and expressions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_edge.boxes import XYWH
from fer_edge.document import make_document, person_data
from fer_edge.expression import UNSURE, Expression
from fer_edge.faces.face import Face
from fer_edge.quality import MIN_FACE, MIN_SHARPNESS
from fer_edge.results import Result, Table

MIN_TILT = 30.0  # degrees from which a face is noted as tilted


@dataclass(frozen=True)
class RecognizedFace:
    """Face of an image, and its expression."""

    expression: Expression
    box: XYWH | None  # None: the image is a face crop
    face: Face | None = None  # None: the box was an argument, or the image is a face crop

    @property
    def notes(self) -> tuple[str, ...]:
        """Short remarks for a table: "unsure", "small", "blurred", "tilted"; `expression.warning` has the figures."""
        quality = self.expression.quality
        is_small = quality is not None and quality.size < MIN_FACE
        remarks = {
            UNSURE: not self.expression.certain,
            "small": is_small,
            "blurred": quality is not None and quality.sharpness < MIN_SHARPNESS and not is_small,
            "tilted": self.face is not None and abs(self.face.tilt) >= MIN_TILT,
        }
        return tuple(remark for remark, applies in remarks.items() if applies)

    def to_dict(self) -> dict[str, Any]:
        """Return the face as a person of the result document."""
        return person_data(self.expression, self.box if self.face is None else self.face)


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
        """Return the result document; it has the keys error, hint and copy only with a value."""
        size = (self.width, self.height) if self.width else None
        data = make_document(str(self.image), [face.to_dict() for face in self.faces], size=size)
        copy = "" if self.copy is None else str(self.copy)
        return data | {
            name: text for name, text in (("error", self.error), ("hint", self.hint), ("copy", copy)) if text
        }


def text_of_box(box: XYWH | None) -> str:
    """Return a box as `--box` accepts it, in whole pixels; `-` for a face crop."""
    return "-" if box is None else ",".join(f"{value:.0f}" for value in box)
