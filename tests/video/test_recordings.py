"""Recordings: files and folders, which deliver every frame with its exact time."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path

import av
import pytest
from PIL import Image

from fer_edge import _require
from fer_edge.errors import ConfigError, EngineUnavailableError, VideoError
from fer_edge.video import open_source
from tests.video.clips import grey_frames, number_of, turn, write_clip

FRAMES = grey_frames(8)


@pytest.mark.parametrize(
    ("suffix", "codec"), [("mp4", "libx264"), ("webm", "libvpx"), ("avi", "mjpeg"), ("ts", "libx264")]
)
def test_every_frame_is_delivered(suffix: str, codec: str, tmp_path: Path) -> None:
    with open_source(write_clip(tmp_path / f"clip.{suffix}", FRAMES, codec=codec)) as source:
        frames = []
        for frame in source:
            time.sleep(0.005)  # a slow consumer
            frames.append(frame)
        assert [number_of(frame.image) for frame in frames] == list(range(8))
        assert [frame.time for frame in frames] == pytest.approx([index / 25 for index in range(8)])
        assert [frame.index for frame in frames] == list(range(8))
        assert (source.state.status, source.state.frames, source.state.dropped) == ("ended", 8, 0)
        assert not source.is_live and source.title == f"clip.{suffix}"
        assert source.read(0) is None


def test_variable_frame_rate_keeps_its_times(tmp_path: Path) -> None:
    moments = [2, 2.04, 2.5, 2.51, 3, 3.3, 4, 5]
    with open_source(write_clip(tmp_path / "clip.mkv", FRAMES, moments)) as source:
        assert [frame.time for frame in source] == pytest.approx([moment - 2 for moment in moments])


def test_turned_video_is_upright(tmp_path: Path) -> None:
    with open_source(turn(write_clip(tmp_path / "phone.mp4", FRAMES[:1]))) as source:
        (frame,) = source
    assert frame.image.shape == (64, 48, 3) and frame.image.flags.c_contiguous
    assert frame.image[4, -4, 0] > 200 > frame.image[4, 4, 0]  # the red corner, a quarter turn clockwise


@pytest.mark.parametrize("name", ["concat:a|b.mp4", "http:%d?x#y.mp4", " é.mp4"])
def test_name_of_a_file_is_no_protocol(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_clip(tmp_path / "clip.mp4", FRAMES[:1]).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    with open_source(name) as source:
        assert len(list(source)) == 1


def test_sound_is_ignored(tmp_path: Path) -> None:
    with open_source(write_clip(tmp_path / "clip.mp4", FRAMES[:2], sound=True)) as source:
        assert len(list(source)) == 2


@pytest.mark.parametrize(("suffix", "codec", "share"), [("avi", "mjpeg", 0.7), ("mkv", "libx264", 0.95)])
def test_truncated_file_gives_the_frames_that_it_has(suffix: str, codec: str, share: float, tmp_path: Path) -> None:
    path = write_clip(tmp_path / f"clip.{suffix}", FRAMES, codec=codec)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with open_source(path) as source:
        numbers = [number_of(frame.image) for frame in source]
    assert numbers == list(range(len(numbers))) and 0 < len(numbers) < 8


def test_damaged_frames_are_skipped_and_counted(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.avi", FRAMES, codec="mjpeg")
    data = bytearray(path.read_bytes())
    third = [match.end() for match in re.finditer(b"00dc", data)][3]  # the first is in the header
    size = int.from_bytes(data[third : third + 4], "little")
    data[third + 4 : third + 4 + size] = bytes(size)
    path.write_bytes(data)
    with open_source(path) as source:
        numbers = [number_of(frame.image) for frame in source]
        assert source.state.damaged == 1
    assert numbers == [0, 1, 3, 4, 5, 6, 7]


def test_folder_of_images(tmp_path: Path) -> None:
    for index, frame in enumerate(FRAMES[:4]):
        Image.fromarray(frame).save(tmp_path / f"{index}.png")
    (tmp_path / "1.png").write_bytes(b"damaged")
    with open_source(tmp_path, fps=10) as source:
        frames = list(source)
        assert source.state.damaged == 1
    assert [number_of(frame.image) for frame in frames] == [0, 2, 3]
    assert [frame.time for frame in frames] == pytest.approx([0, 0.2, 0.3])


def test_loop_repeats_with_increasing_times(tmp_path: Path) -> None:
    with open_source(write_clip(tmp_path / "clip.mp4", FRAMES[:3]), loop=True) as source:
        frames = [source.read(5) for _ in range(7)]
    assert [number_of(frame.image) for frame in frames if frame] == [0, 1, 2, 0, 1, 2, 0]
    assert [frame.time for frame in frames if frame] == pytest.approx([index / 25 for index in range(7)])


def test_pace_is_the_normal_speed(tmp_path: Path) -> None:
    started = time.monotonic()
    with open_source(write_clip(tmp_path / "clip.mp4", FRAMES[:3], [0, 0.1, 0.2]), pace=True) as source:
        assert len(list(source)) == 3
    assert time.monotonic() - started >= 0.2


def test_closing_ends_the_thread_in_the_middle(tmp_path: Path) -> None:
    source = open_source(write_clip(tmp_path / "clip.mp4", FRAMES), pace=True)
    source.read(5)
    source.close()
    source.close()
    assert "video source" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text.mp4", b"no video", "text.mp4 is damaged, truncated or in an unsupported format"),
        ("empty.mp4", b"", "empty.mp4 is damaged, truncated or in an unsupported format"),
        ("playlist.mp4", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "playlist.mp4 is damaged, truncated or in an"),
        ("script.mkv", b"ffconcat version 1.0\nfile clip.mp4\n", "script.mkv is damaged, truncated or in an"),
    ],
)
def test_other_files_are_refused(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4", FRAMES[:1])  # the script names it
    (tmp_path / name).write_bytes(content)
    with pytest.raises(VideoError, match=message):
        open_source(tmp_path / name)


def test_sound_alone_is_refused(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        container.add_stream("aac", rate=8000)
        container.start_encoding()
    with pytest.raises(VideoError, match=r"sound\.mp4 has no video"):
        open_source(tmp_path / "sound.mp4")


def test_large_frames_are_refused(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", FRAMES[:1])
    with pytest.raises(VideoError, match="frames of 64 x 48 pixels; expected at most 3071 pixels"):
        open_source(path, max_pixels=64 * 48 - 1)
    with open_source(path, max_pixels=64 * 48) as source:
        assert source.read(5) is not None


@pytest.mark.parametrize("options", [{"max_pixels": 0}, {"fps": 0.0}, {"size": (0, 4)}])
def test_arguments_out_of_range_are_refused(options: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(options))} is .*; expected"):
        open_source(tmp_path, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"fps": 5}, {"size": (640, 480)}])
def test_arguments_without_effect_are_refused(options: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"")
    with pytest.raises(
        ConfigError, match=rf"{next(iter(options))} has no effect on clip\.mp4, a file; it applies to: camera"
    ):
        open_source(tmp_path / "clip.mp4", **options)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="loop has no effect on standard input, a pipe; it applies to: file, folder"):
        open_source("-", loop=True)


def test_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_module(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    path = write_clip(tmp_path / "clip.mp4", FRAMES[:1])
    monkeypatch.setattr(_require, "import_module", no_module)
    with pytest.raises(EngineUnavailableError, match=r'reading clip\.mp4 needs av .*pip install "fer-edge\[video\]"'):
        open_source(path)
