"""A bundle that is replaced during `fer-edge live`."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data

from fer_edge import ExpressionTracker, FaceDetector, Recognizer
from fer_edge.live import LiveSession, Output, Update
from fer_edge.video import open_source
from tests.tiny import tiny_bundle
from tests.video.clips import Frame, write_clip


class ReloadingOutput(Output):
    """Output that stores the hash of each frame's model, and replaces the bundle after the second frame."""

    def __init__(self, path: Path) -> None:
        self.path, self.hashes = path, list[str]()
        self.session: LiveSession | None = None

    def send(self, update: Update) -> None:
        self.hashes += [person.raw.model_hash for person in update.people]
        if len(self.hashes) == 2 and self.session is not None:
            tiny_bundle(self.path.with_name("new.fer"), seed=1).replace(self.path)
            self.session.reload()


def test_session_continues_with_the_new_model(
    networks: tuple[FaceDetector, Recognizer], happy: Frame, tmp_path: Path
) -> None:
    path, clip = tiny_bundle(tmp_path / "tiny.fer"), write_clip(tmp_path / "clip.mp4", [happy] * 4)
    output = ReloadingOutput(path)
    with Recognizer.open(path, "onnxruntime", threads=1) as recognizer:
        tracker = ExpressionTracker.open(detector=networks[0], recognizer=recognizer, background=False)
        with LiveSession(open_source(clip, pace=False), tracker, [output]) as session:
            output.session = session
            assert session.run().frames == 4
        assert len(output.hashes) == 4 and len(set(output.hashes)) == 2
        assert output.hashes[3] == recognizer.model_hash


@pytest.mark.slow  # a process; the test above and those of `Reloads` are its quick sisters
@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_command_reloads_on_hangup(networks: object, tmp_path: Path) -> None:
    from PIL import Image

    folder, path = tmp_path / "frames", tiny_bundle(tmp_path / "tiny.fer")
    folder.mkdir()
    Image.fromarray(np.ascontiguousarray(skimage.data.astronaut()[:240, 80:320])).save(folder / "1.png")
    command = [sys.executable, "-m", "fer_edge", "live", str(folder), "--loop", "--json", "--reload"]
    process = subprocess.Popen(
        [*command, "--bundle", str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stderr is not None
    lines = iter(process.stdout.readline, "")

    def scores() -> dict[str, float]:
        values: dict[str, float] = json.loads(next(lines))["people"][0]["raw"]["scores"]
        return values

    before = scores()
    tiny_bundle(tmp_path / "new.fer", seed=1).replace(path)
    process.send_signal(signal.SIGHUP)
    while scores() == before:
        pass
    notes = iter(process.stderr.readline, "")  # the note follows the first frame of the new model
    assert any("loaded tiny.fer" in note for note in notes)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143
