"""HTML page of an analysis: timelines, shares and pictures of every person."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

import fer_edge
from fer_edge.analysis.analyse import AnalysisResult, clock
from fer_edge.analysis.drawing import WIDTH, Band, Span, bands, spans
from fer_edge.analysis.people import Moment, People, Person
from fer_edge.expression import UNSURE
from fer_edge.html import theme
from fer_edge.html.page import page_from_template

MAX_PEOPLE = 40  # on the page, those with the most frames
MAX_MOMENTS = 8
MIN_SHARE = 0.001  # of a label in the list of shares


@dataclass(frozen=True)
class Section:
    """Part of the page about one person."""

    person: Person
    whole: list[Span]  # labels over the length of the video
    own: list[Span]  # labels over the time in which the person is visible
    bands: list[Band]
    bins: int  # width of the drawing of bands
    shares: list[tuple[str, float]]  # the largest first
    moments: list[Moment]  # in order of time
    ticks: list[str]  # times below the person's timeline


def page_of_analysis(result: AnalysisResult, people: People) -> bytes:
    """Return the page as one file.

    Args:
        result: Result of the analysis.
        people: Its people.
    """
    colors = theme.colors_of(people.labels)
    chosen = sorted(people.by_length()[:MAX_PEOPLE], key=lambda person: person.track_id)
    return page_from_template(
        "analysis/report.html.jinja",
        result=result,
        version=fer_edge.__version__,
        date=datetime.date.today().isoformat(),
        sections=[_section(person, people, colors, result.seconds) for person in chosen],
        left_out=len(people) - len(chosen),
        colors={**colors, UNSURE: theme.UNSURE},
        width=WIDTH,
        clock=clock,
        ticks=_ticks(0.0, result.seconds),
    )


def _section(person: Person, people: People, colors: dict[str, str], seconds: float) -> Section:
    timeline = person.timeline
    length = len(timeline.counts) * timeline.step
    shares = sorted(person.shares(people.labels).items(), key=lambda entry: -entry[1])
    moments = sorted(person.moments.values(), key=lambda moment: -moment.score)[:MAX_MOMENTS]
    return Section(
        person=person,
        whole=spans(person, colors, theme.UNSURE, 0.0, seconds),
        own=spans(person, colors, theme.UNSURE, person.start, length),
        bands=bands(timeline, colors),
        bins=len(timeline.counts),
        shares=[(label, share) for label, share in shares if share >= MIN_SHARE],
        moments=sorted(moments, key=lambda moment: moment.time),
        ticks=_ticks(person.start, person.start + length),
    )


def _ticks(start: float, end: float) -> list[str]:
    return [clock(start + share * (end - start)) for share in (0, 0.25, 0.5, 0.75, 1)]
