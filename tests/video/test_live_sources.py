"""Live sources: the newest frame wins, and cameras and streams that break off are opened again."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from fer_edge.errors import VideoError
from fer_edge.video import Source, open_source, source
from tests.video.clips import HttpCamera, grey_frames, jpeg, number_of, wait_until, write_clip
from tests.video.rtsp import RtspCamera

FRAMES = grey_frames(20)


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpCamera]:
    monkeypatch.setattr(source, "FIRST_WAIT", 0.05)
    with HttpCamera(FRAMES).running() as running:
        yield running


def test_slow_consumer_gets_the_newest_frame(camera: HttpCamera) -> None:
    with open_source(camera.url) as live:
        first = live.read(10)
        wait_until(lambda: live.state.frames > 14)
        newest = live.read(10)
        assert live.is_live and first is not None and newest is not None
        assert number_of(newest.image) == newest.index % 20
        assert newest.time > first.time and time.monotonic() - newest.arrival < 5
        assert live.state.dropped >= newest.index - first.index - 1 >= 4


def test_stream_that_breaks_off_is_opened_again(camera: HttpCamera) -> None:
    with open_source(camera.url) as live:
        before = live.read(10)
        camera.plugged.clear()
        wait_until(lambda: "Server returned" in live.state.message)
        assert live.state.status == "reconnecting"
        while live.read(0.05) is not None:
            pass
        camera.plugged.set()
        after = live.read(10)
        assert before is not None and after is not None and after.time > before.time
        assert (live.state.status, live.state.message, live.state.reconnections) == ("connected", "", 1)


def test_closing_ends_a_reconnection(camera: HttpCamera) -> None:
    live = open_source(camera.url)
    live.read(10)
    camera.plugged.clear()
    wait_until(lambda: live.state.status == "reconnecting")
    live.close()
    assert live.state.status == "ended" and live.read(0) is None
    assert "video source" not in {thread.name for thread in threading.enumerate()}


def test_source_that_was_not_read_is_closed(camera: HttpCamera) -> None:
    with open_source(camera.url) as live:
        assert live.state.status == "connected"
    assert live.state.status == "ended" and live.read(0) is None


def test_stream_that_delivers_nothing_is_reported(camera: HttpCamera, monkeypatch: pytest.MonkeyPatch) -> None:
    from fer_edge.video import container

    monkeypatch.setattr(container, "READ_SECONDS", 0.2)
    with open_source(camera.url) as live:
        live.read(10)
        camera.rate = 0.5
        wait_until(lambda: "delivered nothing for 0.2 s; check its connection" in live.state.message)


def test_stream_that_is_missing_at_the_start_is_an_error(camera: HttpCamera) -> None:
    camera.plugged.clear()
    with pytest.raises(VideoError, match=r"cannot read http://127\.0\.0\.1:.*: Server returned 5XX"):
        open_source(camera.url.replace("://", "://user:secret@"))


def test_rtsp_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "FIRST_WAIT", 0.05)
    with RtspCamera(FRAMES).running() as camera, open_source(camera.url) as live:
        frames = [frame for _ in range(6) if (frame := live.read(10))]
        steps = [second.time - first.time for first, second in pairwise(frames[1:])]
        counts = [second.index - first.index for first, second in pairwise(frames[1:])]
        assert steps == pytest.approx([count / 25 for count in counts])  # exact, whenever they arrive
        assert [number_of(frame.image) for frame in frames] == [frame.index % 20 for frame in frames]
        camera.plugged.clear()
        wait_until(lambda: live.state.status == "reconnecting")
        camera.plugged.set()
        wait_until(lambda: live.state.status == "connected")
        assert live.is_live and live.state.reconnections == 1


def test_recording_on_a_web_server_delivers_every_frame(tmp_path: Path) -> None:
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *values: object) -> None:
            pass

    write_clip(tmp_path / "clip.mp4", FRAMES)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        with open_source(f"http://127.0.0.1:{server.server_address[1]}/clip.mp4") as recording:
            assert not recording.is_live and len(list(recording)) == 20
        (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\nclip.mp4\n#EXT-X-ENDLIST\n")
        with pytest.raises(VideoError, match=r"list\.m3u8 is damaged, truncated or in an unsupported format"):
            open_source(f"http://127.0.0.1:{server.server_address[1]}/list.m3u8")
        server.shutdown()
        thread.join()


def test_camera_that_is_missing_is_an_error() -> None:
    with pytest.raises(VideoError, match=r"cannot read camera 77 at /dev/video77 \(No such file or directory\); "):
        open_source(77)


PRINT_NUMBERS = (
    "from fer_edge.video import open_source; from tests.video.clips import number_of\n"
    "with open_source('-') as source: print(source.is_live, [number_of(frame.image) for frame in source])"
)


def test_standard_input_is_live_in_a_pipe_and_a_recording_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "clip.mjpeg"
    path.write_bytes(b"".join(map(jpeg, FRAMES[:5])))
    run = [sys.executable, "-c", PRINT_NUMBERS]
    piped = subprocess.run(run, input=path.read_bytes(), capture_output=True, check=True)
    assert piped.stdout.startswith(b"True ") and piped.stdout.strip().endswith(b"4]"), piped.stdout
    with path.open("rb") as file:
        redirected = subprocess.run(run, stdin=file, capture_output=True, check=True)
    assert redirected.stdout.strip() == b"False [0, 1, 2, 3, 4]"


def test_closing_ends_the_wait_for_a_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fer_edge.video.container.PIPE_POLL_SECONDS", 0.01)
    os.mkfifo(tmp_path / "pipe")
    live: list[Source] = []
    opening = threading.Thread(target=lambda: live.append(open_source(tmp_path / "pipe")))
    opening.start()  # it waits for the first picture
    with (tmp_path / "pipe").open("wb", buffering=0) as writer:
        for frame in FRAMES:
            writer.write(jpeg(frame))
        opening.join()
        assert live[0].read(10) is not None
        live[0].close()
    assert "video source" not in {thread.name for thread in threading.enumerate()}
