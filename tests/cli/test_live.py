"""`fer-edge live`: lines of JSON, the address of the page, and clean ends."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pyarrow.parquet
import pytest

from fer_edge.shipped import shipped_file
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
        (["0", "--json", "--no-page"], 2, "--no-page applies only to the page; leave out --json"),
        (["0", "--no-page"], 2, "--no-page leaves no output; add --to TARGET, --show or --json"),
        (["0", "--no-page", "--to", "osc://a?app=vmc", "--port", "80"], 2, "the page; leave out --no-page, or leave"),
        (["0", "--to", "screen"], 2, "error: no output for 'screen'; expected one of: osc://HOST:PORT?app=vrchat|vmc"),
        (["0", "--to", "a.csv", "--to", "b.csv", "--to", "./a.csv"], 2, "error: a.csv is the file of two targets"),
        (["0", "--to", "osc://a?app=vmc&rate=0"], 2, "error: osc://a: rate is '0'; expected a finite number from 1"),
        (
            ["--copy-mapping", "vrcat"],
            2,
            "error: no shipped mapping 'vrcat'; expected one of: vmc-vrm0",
        ),
        (["0", "--show"], 2, "--show needs a terminal; use --json in a pipe or file"),
        (["0", "--json", "--size", "640"], 2, "--size: '640' is not a size; expected W,H in pixels"),
        (["0", "--json", "--fps", "0"], 2, "fps is 0.0; expected frames per second above 0"),
    ],
)
def test_wrong_use_is_refused(arguments: list[str], code: int, message: str) -> None:
    result = fer_edge("live", *arguments)
    assert (result.returncode, result.stdout) == (code, "")
    assert message in result.stderr and len(result.stderr.splitlines()) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not report a port that no program has")
def test_avatar_receives_messages_until_the_end(clip: Path, bundle: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as avatar:
        avatar.bind(("127.0.0.1", 0))
        avatar.settimeout(10)
        target = f"osc://127.0.0.1:{avatar.getsockname()[1]}?app=vmc"
        closed = f"osc://127.0.0.1:{unused.getsockname()[1]}?app=vrchat"
        result = fer_edge("live", clip, "--bundle", bundle, "--no-page", "--to", target, "--to", closed)
        assert result.returncode == 0, result.stderr
        assert avatar.recv(2000).startswith(b"#bundle\0")
    note, summary = result.stderr.splitlines()
    assert note.endswith(": no program has this port; trying again") and summary.startswith("3 frames, latency ")
    assert result.stdout == ""


def test_outputs_and_mappings_are_listed() -> None:
    result = fer_edge("live", "--list-outputs")
    assert (result.returncode, result.stderr) == (0, "")
    assert (
        "osc://HOST:PORT?app=vrchat|vmc" in result.stdout
        and "mapping=NAME: vmc-vrm0, vmc-vrm1, vrchat" in result.stdout
    )


def test_mapping_is_copied_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = fer_edge("live", "--copy-mapping", "vmc-vrm1")
    assert result.stdout == "vmc-vrm1.toml is yours to change; add mapping=vmc-vrm1.toml to the target of --to\n"
    assert (tmp_path / "vmc-vrm1.toml").read_bytes() == shipped_file("mapping", "vmc-vrm1").read_bytes()
    again = fer_edge("live", "--copy-mapping", "vmc-vrm1")
    assert (again.returncode, again.stderr) == (1, "error: vmc-vrm1.toml exists; rename it, or use another folder\n")


@pytest.mark.slow  # two processes; tests/live/test_session.py interrupts a session in the process of the tests
@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize("waiting", [True, False], ids=["waiting for the page", "running"])
def test_interrupt_ends_page_and_threads_and_completes_files(
    clip: Path, bundle: Path, waiting: bool, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "fer_edge", "live", str(clip), "--loop", "--bundle", str(bundle), "--no-browser"]
    command += ["--to", str(tmp_path / "out.jsonl"), "--to", str(tmp_path / "out.parquet")]
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
    if waiting:
        assert not [*tmp_path.iterdir()]
        return
    frames = [json.loads(line)["frame"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert frames == [*range(int(last.split()[2]))] and pyarrow.parquet.read_table(tmp_path / "out.parquet") is not None
    assert {path.name for path in tmp_path.iterdir()} == {"out.jsonl", "out.parquet"}
