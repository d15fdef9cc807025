"""Live sessions: from a source to outputs, with breaks, ends and interrupts."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import skimage.data

from fer_edge import ExpressionTracker
from fer_edge.errors import EngineError, FerEdgeError, VideoError
from fer_edge.live import LiveSession, Output, Update
from fer_edge.live.lines import JsonLines, SourceNotes
from fer_edge.video import SourceState, open_source, source
from tests.result_document import EXAMPLES, assert_alike, check_document
from tests.video.clips import Frame, HttpCamera, wait_until, write_clip

pytestmark = pytest.mark.xdist_group("live sessions")  # one process, which opens the networks once
MakeTracker = Callable[[], ExpressionTracker]
THREADS = {"video source", "live page"}


class Recorder(Output):
    """Output that keeps all updates."""

    def __init__(self) -> None:
        self.updates: list[Update] = []
        self.closed = False

    def send(self, update: Update) -> None:
        self.updates.append(update)

    def close(self) -> None:
        self.closed = True


def threads() -> set[str]:
    return THREADS & {thread.name for thread in threading.enumerate()}


def test_every_frame_of_a_recording_is_one_line(make_tracker: MakeTracker, happy: Frame, tmp_path: Path) -> None:
    lines: list[str] = []
    clip = write_clip(tmp_path / "clip.mp4", [happy] * 4)
    with LiveSession(open_source(clip), make_tracker(), [JsonLines(lines.append)]) as session:
        summary = session.run()
    rows = [json.loads(line) for line in lines]
    assert [row["frame"] for row in rows] == [0, 1, 2, 3] and rows[2]["time"] == 0.08 and rows[0]["size"] == [240, 240]
    for row in rows:
        check_document(row)
        (person,) = row["people"]
        expression = person["expression"]
        assert (person["id"], expression["label"], expression["certain"], person["since"]) == (1, "happiness", True, 0)
        assert expression["score"] == max(expression["scores"].values()) > 0.9 and person["face"]["score"] > 0.5
        assert expression["derived"]["valence"] == pytest.approx(0.87, abs=0.1)  # of happiness
        assert person["raw"]["label"] == "happiness" and person["quality"]["presence"] > 0.9 and person["fresh"]
        assert row["source"] == "clip.mp4" and not row["live"]["source"]["dropped"]
    assert [row["live"]["source"]["status"] for row in rows[:3]] == ["connected"] * 3
    assert str(summary).startswith("4 frames, latency ") and not threads()


def test_frame_of_a_clip_is_the_example_of_the_reference(make_tracker: MakeTracker, tmp_path: Path) -> None:
    recorder = Recorder()
    clip = write_clip(tmp_path / "clip.mp4", [skimage.data.astronaut()] * 2)
    with LiveSession(open_source(clip), make_tracker(), [recorder]) as session:
        session.run()
    assert_alike({**EXAMPLES[1], "live": {}}, {**recorder.updates[1].document, "live": {}})
    assert EXAMPLES[1]["live"]["source"].keys() == vars(SourceState()).keys()


def test_break_and_return_of_a_camera_are_passed_on(
    make_tracker: MakeTracker, happy: Frame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "FIRST_WAIT", 0.05)
    notes: list[str] = []
    recorder = Recorder()
    outputs = [recorder, SourceNotes(notes.append)]
    with (
        HttpCamera([happy], rate=20).running() as camera,
        LiveSession(open_source(camera.url), make_tracker(), outputs) as session,
    ):
        running = threading.Thread(target=session.run)
        running.start()
        wait_until(lambda: recorder.updates)
        camera.plugged.clear()
        wait_until(lambda: recorder.updates[-1].frame is None)
        broken = recorder.updates[-1]
        camera.plugged.set()
        wait_until(lambda: recorder.updates[-1].frame is not None)
        session.stop()
        running.join()
        assert session.summary().reconnections == 1
    assert broken.source.status == "reconnecting" and broken.people == () and broken.latency is None
    check_document(broken.document)
    assert broken.document["live"]["source"]["message"] and broken.document["size"] is None
    times = [update.time for update in recorder.updates if update.frame is not None]
    assert times == sorted(set(times)) and recorder.updates[-1].source.status == "connected"
    assert notes[0].endswith("trying to connect again") and notes[-1] == f"{session.source.title} is connected again"
    assert recorder.closed and not threads()


def test_time_is_limited(make_tracker: MakeTracker, happy: Frame, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", [happy])
    with LiveSession(open_source(clip, loop=True, pace=True), make_tracker()) as session:
        assert session.run(seconds=0.2).frames < 40


def test_interrupt_ends_cleanly(make_tracker: MakeTracker, happy: Frame, tmp_path: Path) -> None:
    class Interrupt(Recorder):
        def send(self, update: Update) -> None:
            raise KeyboardInterrupt

    output = Interrupt()
    clip = write_clip(tmp_path / "clip.mp4", [happy])
    with (
        pytest.raises(KeyboardInterrupt),
        LiveSession(open_source(clip, loop=True), make_tracker(), [output]) as session,
    ):
        session.run()
    assert output.closed and not threads() and session.source.read(0) is None


def test_output_that_cannot_be_opened_closes_everything(
    make_tracker: MakeTracker, happy: Frame, tmp_path: Path
) -> None:
    class Refuse(Recorder):
        def open(self, title: str) -> None:
            raise FerEdgeError("no room")

    first, tracker = Recorder(), make_tracker()
    with pytest.raises(FerEdgeError, match="no room"):
        LiveSession(open_source(write_clip(tmp_path / "clip.mp4", [happy])), tracker, [first, Refuse()])
    assert first.closed and not threads()
    with pytest.raises(EngineError, match="closed"):
        tracker.update(happy)


def test_bundle_that_is_missing_closes_the_source(happy: Frame, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", [happy])
    with pytest.raises(FerEdgeError, match="no bundle at"):
        LiveSession.open(clip, tmp_path / "none.fer")
    assert not threads()


def test_source_that_fails_in_the_middle_is_an_error(make_tracker: MakeTracker, happy: Frame, tmp_path: Path) -> None:
    recorder = Recorder()
    clip = write_clip(tmp_path / "clip.mp4", [happy])
    frames = open_source(clip, loop=True)
    with pytest.raises(VideoError), LiveSession(frames, make_tracker(), [recorder]) as session:
        clip.unlink()
        session.run()
    last = recorder.updates[-1]
    assert (last.source.status, last.frame) == ("ended", None) and "No such file" in last.source.message
