"""`fer-edge live`: lines of JSON, the address of the page, and clean ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.command import fer_edge
from tests.live.test_server import read, viewer
from tests.result_document import check_document
from tests.tiny import tiny_bundle
from tests.video.clips import write_clip


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", [np.full((48, 64, 3), 90, np.uint8)] * 3)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny.fer")


def test_json_has_a_line_for_each_frame(clip: Path, bundle: Path) -> None:
    result = fer_edge("live", clip, "--json", "--bundle", bundle)
    assert result.returncode == 0, result.stderr
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(row["frame"], row["people"]) for row in rows] == [(0, []), (1, []), (2, [])]
    for row in rows:
        check_document(row)
    assert result.stderr.startswith("3 frames, latency ")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["none.mp4", "--json"], 1, "error: cannot read none.mp4: No such file or directory"),
        (["ftp://host/clip", "--json"], 2, "error: the source has the protocol ftp; expected one of: rtsp"),
        (["0", "--json", "--show"], 2, "--show and --json both print on stdout; leave out one of them"),
        (["0", "--json", "--port", "80"], 2, "--port applies only to the page; leave out --json, or leave out --port"),
        (["0", "--show", "--no-browser"], 2, "--no-browser applies only to the page; leave out --show"),
        (["0", "--show"], 2, "--show needs a terminal; use --json in a pipe or file"),
        (["0", "--json", "--size", "640"], 2, "--size: '640' is not a size; expected W,H in pixels"),
        (["0", "--json", "--fps", "0"], 2, "fps is 0.0; expected frames per second above 0"),
    ],
)
def test_wrong_use_is_refused(arguments: list[str], code: int, message: str) -> None:
    result = fer_edge("live", *arguments)
    assert (result.returncode, result.stdout) == (code, "")
    assert message in result.stderr and len(result.stderr.splitlines()) == 1


@pytest.mark.slow  # two processes; tests/live/test_session.py interrupts a session in the process of the tests
@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize("waiting", [True, False], ids=["waiting for the page", "running"])
def test_interrupt_ends_page_and_threads(clip: Path, bundle: Path, waiting: bool) -> None:
    command = [sys.executable, "-m", "fer_edge", "live", str(clip), "--loop", "--bundle", str(bundle), "--no-browser"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stderr is not None
    url = process.stdout.readline().strip()
    assert httpx.get(url).status_code == 200
    if not waiting:
        with viewer(url) as connection:
            connection.recv(10)
            assert read(connection)[0]["people"] == []
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    first, last = err.splitlines()
    assert first == "the recording starts when the page is open; Ctrl-C ends"
    assert last.startswith("stopped after 0 frames" if waiting else "stopped after ")
