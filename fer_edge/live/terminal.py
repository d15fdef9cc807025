"""Text of a live session for a terminal: people, bars of probabilities, and timelines."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from fer_edge._text import printable
from fer_edge.expression import UNSURE
from fer_edge.live.output import Output, Update
from fer_edge.live.spans import Span, Timelines

if TYPE_CHECKING:
    from fer_edge.faces.tracker import TrackedFace

REFRESH_RATE = 10  # drawings a second
BAR_WIDTH, LANE_WIDTH = 24, 60  # columns
COLORS = {
    "neutral": "bright_black", "happiness": "yellow", "surprise": "dark_orange", "sadness": "blue", "anger": "red",
    "disgust": "green", "fear": "magenta", "contempt": "pink3",
}  # fmt: skip
STATUS = {"connected": "green", "reconnecting": "yellow", "ended": "bright_black"}


class TerminalView(Output):
    """Output that draws people and timelines in a terminal.

    Args:
        console: Console of the terminal.
    """

    def __init__(self, console: Console) -> None:
        self._lock = threading.Lock()
        self._title = ""
        self._update: Update | None = None
        self._timelines = Timelines()
        self._live = Live(
            get_renderable=self.draw,
            console=console,
            refresh_per_second=REFRESH_RATE,
            transient=True,
            redirect_stderr=False,
        )

    def open(self, title: str) -> None:
        self._title = title
        self._live.start()

    def send(self, update: Update) -> None:
        with self._lock:
            self._update = update
            self._timelines.add(update)

    def close(self) -> None:
        self._live.stop()

    def draw(self) -> RenderableType:
        """Return the drawing of the newest update; the thread of the terminal calls it."""
        with self._lock:
            update = self._update
            if update is None:
                return Text(f"{printable(self._title)}: waiting for the first frame")
            people = [
                _person(person, update.time) for person in sorted(update.people, key=lambda person: person.track_id)
            ]
            lanes = _lanes(self._timelines.people, update.time, self._timelines.period(update.time))
        cards = Columns(people) if people else Text("no face in view", style="bright_black")
        return Group(_heading(self._title, update), cards, lanes)


def _heading(title: str, update: Update) -> RenderableType:
    source = update.source
    text = Text.assemble(
        (printable(title), "bold"), "  ", (source.status, STATUS[source.status]), f"  {update.rate:.1f} frames/s"
    )
    if update.latency is not None:
        text.append(f"  latency {1000 * update.latency:.1f} ms")
    text.append(f"  {source.dropped} dropped  {source.damaged} damaged")
    if source.message:
        text.append(f"\n{printable(source.message)}", "yellow")
    return text


def _person(person: TrackedFace, now: float) -> RenderableType:
    expression = person.expression
    label = expression.display_label
    bars = Table.grid(padding=(0, 1))
    for name, score in expression.scores.items():
        style = "bold" if name == expression.label else "bright_black"
        bars.add_row(Text(printable(name), style), _bar(score, name), Text(f"{100 * score:3.0f} %", style))
    title = Text.assemble(f" {person.track_id} ", (printable(label), "bold"), f"  {now - person.since:.1f} s ")
    return Panel(bars, title=title, title_align="left", border_style=_color(label), expand=False)


def _bar(score: float, label: str) -> Text:
    full = round(score * BAR_WIDTH)
    return Text.assemble(("█" * full, _color(label)), ("░" * (BAR_WIDTH - full), "bright_black"))


def _lanes(people: Mapping[int, Sequence[Span]], now: float, period: float) -> RenderableType:
    """Return one row of coloured cells per person."""
    lanes = Table.grid(padding=(0, 1))
    for identity, spans in sorted(people.items()):
        lane = Text()
        for cell in range(LANE_WIDTH):
            moment = now - period * (1 - (cell + 0.5) / LANE_WIDTH)
            span = next((span for span in spans if span.start <= moment <= span.end), None)
            label = "" if span is None else span.label if span.certain else UNSURE
            lane.append("█" if label else "·", _color(label))
        lanes.add_row(str(identity), lane)
    if people:
        lanes.add_row("", Text(f"last {period:g} s", "bright_black"))
    return lanes


def _color(label: str) -> str:
    return COLORS.get(label, "bright_black" if label in ("", UNSURE) else "cyan")
