"""Cameras of this machine, as Video4Linux lists them."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from fer_edge.errors import ConfigError

DEVICES = Path("/sys/class/video4linux")
_NODE = re.compile(r"video(\d+)")


def list_cameras() -> dict[int, str]:
    """Return the name of each camera by its index, the number in /dev/video0."""
    cameras = {}
    for node in DEVICES.glob("video*"):
        match = _NODE.fullmatch(node.name)
        # A camera has further nodes for metadata, with an index above 0.
        if match is not None and (_read(node / "index") or "0") == "0":
            cameras[int(match[1])] = _read(node / "name") or node.name
    return dict(sorted(cameras.items()))


def camera_by_index(index: int) -> tuple[Path, str]:
    """Return device and name of a camera, which need not exist.

    Raises:
        ConfigError: Index below 0.
    """
    if index < 0:
        raise ConfigError(f"the camera has the index {index}; expected a whole number from 0")
    return Path(f"/dev/video{index}"), list_cameras().get(index, f"camera {index}")


def camera_by_name(text: str) -> tuple[Path, str] | None:
    """Return device and name of the first camera whose name contains a text; None without one. Case is ignored."""
    for index, name in list_cameras().items():
        if text.casefold() in name.casefold():
            return Path(f"/dev/video{index}"), name
    return None


def current_device(device: str, name: str) -> str:
    """Return the device of a camera, which has another number if it was plugged in again while the former was in use.

    Args:
        device: Device of the camera so far.
        name: Name of the camera.
    """
    devices = [f"/dev/video{index}" for index, other in list_cameras().items() if other == name]
    return device if device in devices or not devices else devices[0]


def _read(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(errors="replace").strip()
    return ""
