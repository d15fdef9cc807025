"""Scripts of the guide: from a camera, here a clip, to printed names of expressions, and a client of the stream."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from fer_edge import ExpressionTracker
from fer_edge.live.outputs import make_output
from fer_edge.live.outputs.stream import StreamServer
from tests.live.outputs.receivers import free_port
from tests.live.outputs.updates import LABELS, framed, person
from tests.video.clips import Frame, wait_until, write_clip

pytestmark = pytest.mark.xdist_group("live sessions")  # one process, which opens the networks once
GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "live.md"


def test_script_prints_the_expressions_of_a_clip(
    make_tracker: Callable[[], ExpressionTracker],
    happy: Frame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    script = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.S)[0]
    assert "open_source(0)" in script and len(script.splitlines()) <= 12
    clip = write_clip(tmp_path / "clip.mp4", [happy] * 3)
    tracker = make_tracker()
    monkeypatch.setattr(ExpressionTracker, "open", lambda: tracker)
    exec(script.replace("open_source(0)", f"open_source({str(clip)!r})"), {})
    assert capsys.readouterr().out.splitlines() == ["1 happiness"] * 3


def test_client_prints_documents(capsys: pytest.CaptureFixture[str]) -> None:
    (script,) = re.findall(r"```python\n(from websockets.*?)```", GUIDE.read_text(), re.S)
    address = f"ws://127.0.0.1:{free_port(socket.SOCK_STREAM)}"
    output = make_output(address, LABELS, print)
    output.open("a camera")
    output.send(framed(7, person(1, "happiness")))
    assert isinstance(output, StreamServer)

    def end() -> None:
        wait_until(lambda: output._clients)
        output.close()  # sends the last document first

    ending = threading.Thread(target=end)
    ending.start()
    exec(script.replace("ws://127.0.0.1:8765", address), {})
    ending.join()
    assert json.loads(capsys.readouterr().out)["frame"] == 7
