"""Spans of expressions per person, for the timelines of pages and terminals."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from fer_edge.live.output import Update

PERIODS = (16.0, 32.0, 60.0)  # lengths of timelines in seconds: the shortest in which all spans fit, or the longest
GAP = 1.0  # seconds between two spans that are one without a gap: frames were dropped between
MAX_PEOPLE = 32  # with a timeline; those that left first are dropped


@dataclass
class Span:
    """Time in which a person had one expression."""

    label: str
    certain: bool
    start: float  # seconds
    end: float


class Timelines:
    """Spans of the last minute by person."""

    def __init__(self) -> None:
        self.people: dict[int, deque[Span]] = {}

    def add(self, update: Update) -> None:
        """Extend the spans of the people of an update, and drop those that are too old."""
        for person in update.people:
            spans = self.people.setdefault(person.track_id, deque())
            label, certain = person.expression.label, person.expression.certain
            last = spans[-1] if spans else None
            if last is not None and (last.label, last.certain) == (label, certain) and person.since <= last.end:
                last.end = update.time
                continue
            start = update.time if last is None else max(person.since, last.end)
            if last is not None and start - last.end < GAP:
                last.end = start
            spans.append(Span(label, certain, start, update.time))
        oldest = update.time - PERIODS[-1]
        for identity, spans in list(self.people.items()):
            while spans and spans[0].end < oldest:
                spans.popleft()
            if not spans:
                del self.people[identity]
        while len(self.people) > MAX_PEOPLE:
            del self.people[min(self.people, key=lambda identity: self.people[identity][-1].end)]

    def period(self, now: float) -> float:
        """Return the length of the timelines in seconds.

        Args:
            now: Time of the newest update in seconds.
        """
        start = min((spans[0].start for spans in self.people.values()), default=now)
        return next((seconds for seconds in PERIODS if now - start <= seconds), PERIODS[-1])

    def to_dict(self) -> dict[str, list[list[object]]]:
        """Return label, certain, start and end of the spans by person, for JSON."""
        return {
            str(identity): [[span.label, span.certain, round(span.start, 3), round(span.end, 3)] for span in spans]
            for identity, spans in self.people.items()
        }
