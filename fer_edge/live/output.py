"""Outputs of a live session: their interface, and the update that each of them receives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from fer_edge.document import FINE, make_document
from fer_edge.video import SourceState, VideoFrame

if TYPE_CHECKING:
    from fer_edge.faces.tracker import TrackedFace


@dataclass(frozen=True, eq=False)
class Update:
    """Result of one frame, or a change of the source without a frame.

    Attributes:
        people: Tracked faces, the largest first; empty without a frame.
        time: Time of the frame, or of the last frame before, in seconds.
        frame: The frame; None if only the source has changed, for example because a camera was unplugged.
        latency: Time from the arrival of the frame to this result, in seconds; None without a frame.
        rate: Results per second, over the last seconds.
        source: Connection and counts of the source.
        title: Name of the source.
    """

    people: Sequence[TrackedFace]
    time: float
    frame: VideoFrame | None
    latency: float | None
    rate: float
    source: SourceState
    title: str = ""

    @cached_property
    def document(self) -> dict[str, Any]:
        """Result document, which all outputs share and none may change."""
        frame = self.frame
        document = make_document(
            self.title,
            [person.to_dict() for person in self.people],
            frame=None if frame is None else frame.index,
            time=self.time,
            size=None if frame is None else (frame.image.shape[1], frame.image.shape[0]),
        )
        document["live"] = {
            "latency": None if self.latency is None else round(self.latency, FINE),
            "rate": round(self.rate, FINE),
            "source": {**vars(self.source)},
        }
        return document

    @cached_property
    def json(self) -> bytes:
        """Result document as JSON on one line."""
        return msgspec.json.encode(self.document)


class Output(ABC):
    """Receiver of the results of a live session: a page, a terminal, a file or another program.

    `send` is called in the loop that reads frames: it must not wait for a slow receiver.
    """

    def open(self, title: str) -> None:  # noqa: B027  may be left out
        """Begin, before the first frame.

        Args:
            title: Name of the source.
        """

    @abstractmethod
    def send(self, update: Update) -> None:
        """Pass on one update.

        Args:
            update: The newest update.
        """

    def close(self) -> None:  # noqa: B027  may be left out
        """End, after the last update; may be called without `open`."""
