"""Update as plain data, for JSON lines and for the page."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fer_edge.circumplex import derived_data
from fer_edge.live.output import Update

if TYPE_CHECKING:
    from fer_edge.faces.tracker import TrackedFace


def document(update: Update) -> dict[str, Any]:
    """Return an update as numbers, texts, lists and dicts; times are in seconds, boxes in pixels."""
    frame = update.frame
    return {
        "time": round(update.time, 4),
        "frame": None if frame is None else frame.index,
        "size": None if frame is None else [frame.image.shape[1], frame.image.shape[0]],
        "latency": None if update.latency is None else round(update.latency, 5),
        "rate": round(update.rate, 2),
        "people": [_person(person) for person in update.people],
        "source": asdict(update.source),
    }


def _person(person: TrackedFace) -> dict[str, Any]:
    expression = person.expression
    return {
        "id": person.track_id,
        "box": [round(value, 1) for value in person.face.box],
        "tilt": round(person.face.tilt, 1),
        "label": expression.label,
        "certain": expression.certain,
        "score": round(expression.score, 4),
        "scores": {label: round(score, 4) for label, score in expression.scores.items()},
        "derived": derived_data(expression.scores),
        "warning": expression.warning,
        "raw": person.raw.label,
        "since": round(person.since, 4),
        "fresh": person.fresh,
    }
