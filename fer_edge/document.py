"""The result document: people of one frame or image as plain data, equal in all commands and in the Python API.

`schemas/result-1.schema.json` describes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fer_edge.boxes import XYWH
    from fer_edge.expression import Expression
    from fer_edge.faces.face import Face
    from fer_edge.quality import FaceQuality

VERSION = 1
COARSE, FINE = 2, 5  # digits after the point: of pixels and degrees, and of all other numbers
PIXELS_AND_DEGREES = {"width", "height", "tilt"}  # keys of the quality
Data = dict[str, Any]


def make_document(
    source: str,
    people: Sequence[Data],
    *,
    frame: int | None = None,
    time: float | None = None,
    size: tuple[int, int] | None = None,
) -> Data:
    """Return the document of one frame or image.

    Args:
        source: Path of the image, or name of the source.
        people: People, from `person_data`.
        frame: Number of the frame; None for an image.
        time: Time of the frame in seconds; None for an image.
        size: Width and height in pixels; None without a frame.
    """
    return {
        "version": VERSION,
        "source": source,
        "frame": frame,
        "time": _round(time, FINE),
        "size": None if size is None else [*size],
        "people": [*people],
    }


def person_data(
    expression: Expression,
    face: Face | XYWH | None,
    *,
    track_id: int | None = None,
    raw: Expression | None = None,
    since: float | None = None,
    fresh: bool | None = None,
) -> Data:
    """Return one person of a document.

    Args:
        expression: Expression to show.
        face: The face, or its box; None for a face crop.
        track_id: Number of the person; this and the others are None without tracking.
        raw: Expression of this frame alone.
        since: Time in seconds at which the label began.
        fresh: Whether face and expression are from this frame.
    """
    return {
        "id": track_id,
        "face": _face_data(face),
        "quality": _quality_data(expression.quality),
        "expression": expression_data(expression),
        "raw": None if raw is None else _scores_data(raw),
        "since": _round(since, FINE),
        "fresh": fresh,
    }


def expression_data(expression: Expression) -> Data:
    """Return the expression of a person."""
    derived = expression.circumplex
    return {
        **_scores_data(expression),
        "certain": expression.certain,
        "warning": expression.warning,
        "derived": None if derived is None else _round_all(derived._asdict()),
    }


def schema_text() -> str:
    """Return the JSON schema of the document (draft 2020-12)."""
    path = resources.files("fer_edge").joinpath("schemas", f"result-{VERSION}.schema.json")
    return path.read_text(encoding="utf-8")


def _scores_data(expression: Expression) -> Data:
    return {
        "label": expression.label,
        "score": _round(expression.score, FINE),
        "scores": _round_all(expression.scores),
    }


def _face_data(face: Face | XYWH | None) -> Data | None:
    if face is None:
        return None
    if isinstance(face, tuple):
        return {"box": _round_pixels(face), "score": None, "points": None, "tilt": None}
    return {
        "box": _round_pixels(face.box),
        "score": _round(face.score, FINE),
        "points": [_round_pixels(point) for point in face.points.tolist()],
        "tilt": _round(face.tilt, COARSE),
    }


def _quality_data(quality: FaceQuality | None) -> Data | None:
    if quality is None:
        return None
    return {
        name: _round(value, COARSE if name in PIXELS_AND_DEGREES else FINE) for name, value in vars(quality).items()
    }


def _round(value: float | None, digits: int) -> float | None:
    return None if value is None else round(float(value), digits)  # NumPy's numbers have no JSON


def _round_all(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(float(value), FINE) for name, value in values.items()}


def _round_pixels(values: Sequence[float]) -> list[float]:
    return [round(float(value), COARSE) for value in values]
