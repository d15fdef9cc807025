"""Text of a live session for a terminal."""

from __future__ import annotations

import io

import numpy as np
from rich.console import Console

from fer_edge.live import Update
from fer_edge.live.terminal import TerminalView
from fer_edge.video import SourceState, VideoFrame
from tests.live.test_spans import person, update


def text_of(view: TerminalView) -> str:
    console = Console(file=io.StringIO(), width=80)
    console.print(view.draw())
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue()


def test_people_bars_and_timelines_are_drawn() -> None:
    terminal = Console(file=io.StringIO(), width=80, force_terminal=True)
    view = TerminalView(terminal)
    view.open("cam\x1b[2Jera")
    assert text_of(view) == "cam\\x1b[2Jera: waiting for the first frame\n"
    frame = VideoFrame(np.zeros((4, 4, 3), np.uint8), 2, 0, 7)
    people = [person(2, "calm", 1.5, "small"), person(1, "calm", 0.5)]
    view.send(Update(people, 2, frame, 0.0123, 29.97, SourceState(frames=8, dropped=3, live=True)))
    text = text_of(view)
    view.close()
    assert "connected  30.0 frames/s  latency 12.3 ms  3 dropped  0 damaged" in text
    assert text.index(" 1 calm  1.5 s") < text.index(" 2 unsure  0.5 s")
    assert "calm  ██████████████████████░░  90 %" in text and "last 16 s" in text


def test_break_is_drawn() -> None:
    view = TerminalView(Console(file=io.StringIO()))
    view.send(Update((), 2, None, None, 0, SourceState("reconnecting", "the camera was unplugged")))
    text = text_of(view)
    assert "reconnecting" in text and "the camera was unplugged" in text and "no face in view" in text
    view.send(update(3))
    assert "unplugged" not in text_of(view)
