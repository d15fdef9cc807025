"""Memory of decoding: at most three copies of the pixels, and an error without enough memory."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fer_edge.errors import ImageError
from fer_edge.images import decode, faults, read_image
from tests.images.make import RGB, encoded

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
SIDE = 2000
PEAK = """
import os, re, sys
from fer_edge.images import read_image
def memory(name):
    return int(re.search(name + r":\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024
for path in sys.argv[1:]:
    read_image(path.replace("large.", "small."))
for path in sys.argv[1:]:
    if os.fork() == 0:
        open("/proc/self/clear_refs", "w").write("5")
        before = memory("VmRSS")
        image = read_image(path)
        print((memory("VmHWM") - before) / image.nbytes, flush=True)
        os._exit(0)
    os.wait()
"""


def save(folder: Path, side: int, name: str) -> None:
    """Write one image for every way of storing and decoding."""
    exif = Image.Exif()
    exif[0x0112] = 6
    noise = np.random.default_rng(0).integers(64, 256, (side, side, 3), dtype=np.uint8)
    grey = np.full((side, side), 40_000, np.uint16)
    pictures: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "grey16.png": (Image.fromarray(grey), {}),
        "rgba.png": (Image.new("RGBA", (side, side), (9, 99, 99, 255)), {"compress_level": 1}),
        "p.png": (Image.new("P", (side, side), 3), {"transparency": 0}),
        "la.png": (Image.new("LA", (side, side), (99, 255)), {"compress_level": 1}),
        "rgb.jpg": (Image.fromarray(noise), {}),
        "turned.jpg": (Image.fromarray(noise), {"exif": exif}),
        "cmyk.jpg": (Image.new("CMYK", (side, side), (9, 9, 9, 9)), {}),
        "float.tif": (Image.fromarray(np.full((side, side), 0.5, np.float32)), {}),
        "rgb.tif": (Image.fromarray(noise), {}),
        "turned.tif": (Image.fromarray(noise), {"exif": exif}),
        "rgb.bmp": (Image.fromarray(noise), {}),
    }
    for file, (image, options) in pictures.items():
        image.save(folder / f"{name}.{file}", **options)


@LINUX
def test_decoding_takes_at_most_three_copies_of_the_pixels(tmp_path: Path) -> None:
    save(tmp_path, SIDE, "large")
    save(tmp_path, 16, "small")
    paths = sorted(map(str, tmp_path.glob("large.*")))
    shown = subprocess.run([sys.executable, "-c", PEAK, *paths], capture_output=True, text=True, check=True).stdout
    copies = dict(zip(paths, map(float, shown.split()), strict=True))
    assert len(copies) == 11 and max(copies.values()) < 3.2, copies  # with the blocks


LIMITED = """
import resource, sys
from fer_edge.errors import ImageError
from fer_edge.images import read_image
for path in sys.argv[2:]:
    read_image(path.replace("large.", "small."))
used = int(next(line for line in open("/proc/self/status") if line.startswith("VmSize")).split()[1]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[1]), resource.RLIM_INFINITY))
for path in sys.argv[2:]:
    try:
        read_image(path)
    except ImageError as error:
        print(error)
    print(read_image(path.replace("large.", "small.")).shape)
"""


@LINUX
def test_image_beyond_the_memory_is_refused(tmp_path: Path) -> None:
    names = ["rgb.jpg", "rgba.png", "grey16.png", "float.tif", "rgb.webp"]
    save(tmp_path, SIDE, "large")
    save(tmp_path, 16, "small")
    for name, side in (("large", SIDE), ("small", 16)):
        Image.new("RGB", (side, side), (200, 99, 9)).save(tmp_path / f"{name}.rgb.webp")
    paths = [str(tmp_path / f"large.{name}") for name in names]
    run = subprocess.run(
        [sys.executable, "-c", LIMITED, "6000000", *paths], capture_output=True, text=True, check=False
    )
    assert not run.stderr
    shown = run.stdout.splitlines()
    for index, path in enumerate(paths):
        megabytes = 64 if path.endswith("webp") else 32
        assert shown[2 * index] == (
            f"not enough memory for {path}: its 2000 x 2000 pixels need about {megabytes} MB; "
            "free memory, or make the image smaller"
        )
        assert shown[2 * index + 1] == "(16, 16, 3)"


def test_insufficient_memory_is_not_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(Image.fromarray(RGB), "JPEG")

    def fails(*arguments: object) -> None:
        raise MemoryError

    def says_so(*arguments: object) -> None:
        raise OSError("out of memory error when reading image file")

    for raised in (fails, says_so):
        monkeypatch.setattr(decode, "write_rgb", raised)
        with pytest.raises(ImageError, match="not enough memory for the image data: its 32 x 24 pixels need") as caught:
            read_image(data)
        assert caught.value.__context__ is None  # the frames with the image are released
    monkeypatch.setattr(Image, "open", fails)
    with pytest.raises(ImageError, match="not enough memory for the image data: it could not be opened; free memory"):
        read_image(data)
    monkeypatch.setattr(decode, "open_source", fails)
    with pytest.raises(ImageError, match="not enough memory to read the image data; free memory, or make the file sm"):
        read_image(data)


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": Image.Exif()}])
def test_webp_size_is_read_from_the_header(options: dict[str, Any]) -> None:
    data = encoded(Image.fromarray(RGB), "WEBP", **options)
    assert faults.webp_size(io.BytesIO(data)) == (32, 24)
    assert faults.webp_size(io.BytesIO(b"RIFF")) == (0, 0)
