"""What a source names: cameras, files, folders, streams and standard input."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fer_edge.errors import ConfigError, VideoError
from fer_edge.video import camera
from fer_edge.video.address import Address, describe_cameras, parse_address


@pytest.fixture
def cameras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder like the kernel's, with two cameras and a node for metadata."""
    folder = tmp_path / "video4linux"
    for node, name, index in (
        ("video0", "Integrated Webcam", 0),
        ("video1", "Integrated Webcam", 1),
        ("video4", "Brio", 0),
    ):
        (folder / node).mkdir(parents=True)
        (folder / node / "name").write_text(f"{name}\n")
        (folder / node / "index").write_text(f"{index}\n")
    monkeypatch.setattr(camera, "DEVICES", folder)
    return folder


@pytest.mark.parametrize("source", [4, "4", "brio", "Brio"])
def test_camera_by_index_or_name(cameras: Path, source: str | int) -> None:
    assert parse_address(source) == Address("camera", "/dev/video4", "Brio")
    assert describe_cameras() == "cameras: 0 (Integrated Webcam), 4 (Brio)"


def test_camera_that_is_plugged_in_again_is_found_by_its_name(cameras: Path) -> None:
    assert camera.current_device("/dev/video4", "Brio") == "/dev/video4"
    (cameras / "video4").rename(cameras / "video6")
    assert camera.current_device("/dev/video4", "Brio") == "/dev/video6"
    assert camera.current_device("/dev/video9", "unlisted") == "/dev/video9"


def test_camera_without_name_has_its_index() -> None:
    assert parse_address(7) == Address("camera", "/dev/video7", "camera 7")


def test_file_folder_and_pipe(tmp_path: Path) -> None:
    (tmp_path / "0").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe")
    assert parse_address(tmp_path / "0") == Address("file", str(tmp_path / "0"), "0")
    assert parse_address(str(tmp_path)).kind == "folder"
    assert parse_address(tmp_path / "pipe").kind == "pipe"


def test_password_and_key_of_a_url_are_not_shown() -> None:
    address = parse_address("rtsp://user:secret@camera.local:554/main?key=secret")
    assert address.title == "rtsp://camera.local:554/main" and address.kind == "stream"
    assert address.location == "rtsp://user:secret@camera.local:554/main?key=secret"


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("", ConfigError, "the source is ''; expected a camera, path or URL"),
        (-1, ConfigError, "the camera has the index -1; expected a whole number from 0"),
        ("rstp://host/x", ConfigError, "the protocol rstp; expected one of: rtsp, .*; did you mean rtsp"),
        ("concat://a", ConfigError, "the protocol concat; expected one of"),
        ("http://", ConfigError, "has no host; expected http://HOST/PATH"),
        ("http://[x", ConfigError, "is not a URL"),
        ("none.mp4", VideoError, "cannot read none.mp4: No such file or directory"),
        ("/dev/video77", VideoError, "no camera at /dev/video77; cameras: 0 "),
        ("logitech", VideoError, "no file, folder or camera is named 'logitech'; cameras: 0 "),
    ],
)
def test_wrong_source_is_refused(cameras: Path, source: str | int, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        parse_address(source)


def test_machine_without_camera(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(camera, "DEVICES", tmp_path / "none")
    with pytest.raises(VideoError, match=r"this machine has no camera .*: connect one, or give a file or URL"):
        parse_address("webcam")
