"""Image formats: reading of the supported ones, refusal of all others before their readers run."""

from __future__ import annotations

import importlib
import io
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fer_edge.errors import ImageError
from fer_edge.images import FORMATS, decode, read_image
from tests.images.make import CAN_WRITE_AVIF, GREY, RGB, chunk, encoded, png, tiff

EXPECTED = "expected JPEG, PNG, WebP, TIFF, BMP, GIF or AVIF"


def written_elsewhere() -> Iterator[tuple[str, bytes]]:
    """Yield a file of every other format that this Pillow can write."""
    Image.init()
    for name in sorted(set(Image.SAVE) - {*FORMATS, "MPO"}):
        for mode in ("RGB", "L", "1", "RGBA", "P", "F"):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", DeprecationWarning)  # formats that Pillow will remove
                    data = encoded(Image.fromarray(RGB).convert(mode), name)
            except (OSError, KeyError, ValueError):
                continue
            yield name, data
            break


OTHERS = dict(written_elsewhere())
PROGRAMS = {
    "endless loop": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n{ } loop\n",
    "with a preview": b"\xc5\xd0\xd3\xc6" + (30).to_bytes(4, "little") + bytes(22) + b"%!PS-Adobe-3.0 EPSF-3.0\n",
}


@pytest.fixture
def no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail the test on any attempt to start a program."""

    def fails(*arguments: object, **options: object) -> None:
        pytest.fail(f"a program is started: {arguments}")

    for place, name in ((subprocess, "Popen"), (os, "system"), (os, "posix_spawn"), (os, "execv"), (os, "fork")):
        monkeypatch.setattr(place, name, fails, raising=False)


@pytest.mark.usefixtures("no_process")
@pytest.mark.parametrize("name", OTHERS)
def test_other_formats_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(OTHERS[name])
    for source in (path, OTHERS[name]):
        with pytest.raises(ImageError, match=EXPECTED):
            read_image(source)


def test_other_formats_include_documents() -> None:
    assert {"EPS", "PDF", "ICO", "PPM", "TGA"} <= set(OTHERS)


@pytest.mark.usefixtures("no_process")
@pytest.mark.parametrize("name", PROGRAMS)
def test_postscript_is_refused_without_running_it(name: str, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(PROGRAMS[name])
    with pytest.raises(ImageError) as caught:
        read_image(path)
    assert str(caught.value) == f"{path} is a PostScript file; {EXPECTED}: convert it"


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([data[:16] for data in OTHERS.values()]), st.binary(max_size=64))
def test_pillow_tries_only_supported_formats(head: bytes, rest: bytes) -> None:
    tried: list[tuple[str, ...]] = []
    original = Image.open

    def recorded(fp: Any, mode: Any = "r", formats: Any = None) -> Image.Image:
        tried.append(formats)
        return original(fp, mode, formats)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Image, "open", recorded)
        with pytest.raises(ImageError):
            read_image(head + rest)
        read_image(png(RGB))
    assert len(tried) == 2 and all(formats and set(formats) <= set(FORMATS) for formats in tried)


def test_source_files_open_only_supported_formats() -> None:
    package = Path(decode.__file__).parents[1]
    opens = [line for path in package.rglob("*.py") for line in path.read_text().splitlines() if "Image.open(" in line]
    assert opens and all("formats=" in line for line in opens)


def test_only_supported_readers_are_imported() -> None:
    code = (
        f"import sys; from fer_edge.images import read_image; read_image({encoded(Image.fromarray(GREY), 'GIF')!r}); "
        "print([name for name in sys.modules if name.startswith('PIL.') and name.endswith('ImagePlugin')])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "EpsImagePlugin" not in shown and "IcnsImagePlugin" not in shown and "GifImagePlugin" in shown


@pytest.mark.parametrize("kind", [*FORMATS, "MPO"])
def test_supported_formats_are_read(kind: str) -> None:
    if kind == "AVIF" and not CAN_WRITE_AVIF:
        pytest.skip("this Pillow has no AVIF codec")
    data = encoded(Image.fromarray(RGB), kind)
    assert np.abs(read_image(data).astype(int) - np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))).max() == 0


def test_avif_without_codec_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "_formats", lambda: tuple(name for name in FORMATS if name != "AVIF"))
    with pytest.raises(ImageError, match="is an AVIF image, for which this Pillow has no decoder; update Pillow, or"):
        read_image(b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf")


VARIANTS = {
    "float16": (tiff(GREY.astype(np.float16)), "is a TIFF image of 1 channel of float16, which is not supported; conv"),
    "float RGB": (tiff(RGB.astype(np.float32)), "is a TIFF image of 3 channels of float32, which is not supported"),
    "float64": (tiff(GREY.astype(np.float64)), "is a TIFF image of 1 channel of float64, which is not supported"),
    "five channels": (tiff(np.dstack([RGB, GREY, GREY]), photometric=1), "is a TIFF image of 5 channels of uint8,"),
    "compression": (tiff(GREY, tags={259: ("H", [34712])}), "is a TIFF image of compression 34712, which is not supp"),
    "12-bit JPEG": (
        encoded(Image.fromarray(RGB), "JPEG").replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"),
        "is a JPEG image of a variant that is not supported: cannot handle 12-bit layers; convert it to 8-bit PNG",
    ),
    "BMP of a JPEG": (
        encoded(Image.fromarray(RGB), "BMP").replace(b"\x18\0\0\0\0\0", b"\x18\0\x04\0\0\0", 1),
        r"is a BMP image of a variant that is not supported: Unsupported BMP compression \(4\); convert it",
    ),
    "damaged TIFF of 16 bits": (
        tiff(GREY.astype(np.uint16) * 257, tags={256: ("H", [0])}),
        "is damaged or cannot be decoded",
    ),
    "HEIC": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "is a HEIC image; expected JPEG, .* or AVIF: convert it"),
    "HTML": (b"<!DOCTYPE html><html>", "is not an image but an HTML page, such as a failed download leaves behind"),
    "zeros": (bytes(500), "is not an image but a file of zeros"),
    "noise": (b"\xfe\x01\x02\x00\xff" * 50, f"is not an image but a file of an unknown kind; {EXPECTED}"),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_other_files_are_described(name: str) -> None:
    data, message = VARIANTS[name]
    with pytest.raises(ImageError, match=f"the image data {message}"):
        read_image(data)


WHOLE = {
    "JPEG": encoded(Image.fromarray(RGB), "JPEG"),
    "progressive JPEG": encoded(Image.fromarray(RGB), "JPEG", progressive=True),
    "PNG": png(RGB),
    "GIF": encoded(Image.fromarray(GREY), "GIF"),
    "BMP": encoded(Image.fromarray(RGB), "BMP"),
    "WebP": encoded(Image.fromarray(RGB), "WEBP"),
    "TIFF": encoded(Image.fromarray(RGB), "TIFF"),
    "LZW TIFF": encoded(Image.fromarray(RGB), "TIFF", compression="tiff_lzw"),
    **({"AVIF": encoded(Image.fromarray(RGB), "AVIF")} if CAN_WRITE_AVIF else {}),
}


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning", "ignore:Truncated File Read:UserWarning")
@pytest.mark.parametrize("name", WHOLE)
def test_truncated_file_is_complete_or_refused(name: str) -> None:
    whole = read_image(WHOLE[name])
    for length in range(1, len(WHOLE[name]), max(len(WHOLE[name]) // 40, 1)):
        try:
            image = read_image(WHOLE[name][:length])
        except ImageError:
            continue
        assert np.array_equal(image, whole)


@pytest.mark.parametrize("name", WHOLE)
def test_half_a_file_is_truncated(name: str) -> None:
    with pytest.raises(ImageError, match="the image data is truncated, its end is missing; copy or download it again"):
        read_image(WHOLE[name][: len(WHOLE[name]) // 2])


def test_png_with_missing_rows_is_truncated() -> None:
    for share in (0.1, 0.5, 0.99):
        with pytest.raises(ImageError, match="is truncated, its end is missing"):
            read_image(png(RGB, share=share))
        with pytest.raises(ImageError, match="is truncated, its end is missing"):
            read_image(png(RGB, share=share, interlaced=True))
    dark = RGB.copy()
    dark[-2:] = 0
    assert np.array_equal(read_image(png(dark)), dark)
    assert np.array_equal(read_image(png(dark, interlaced=True)), dark)
    assert np.array_equal(read_image(png(dark[-1:, :2], interlaced=True)), dark[-1:, :2])


def test_tiff_with_missing_strips_is_truncated() -> None:
    assert np.array_equal(read_image(tiff(RGB, strips=4)), RGB)
    with pytest.raises(ImageError, match="is truncated, its end is missing"):
        read_image(tiff(RGB, strips=4, tags={273: ("I", [8, 584, 1160])}))


def test_wrong_checksum_is_damage() -> None:
    data = bytearray(png(RGB, chunk(b"gAMA", b"\0\0\xb1\x8f")))
    data[45] ^= 1
    with pytest.raises(ImageError, match="the image data is damaged or cannot be decoded: broken PNG file"):
        read_image(bytes(data))


def test_missing_readers_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        if name == "PIL.AvifImagePlugin":
            raise ImportError(name)
        return importlib.import_module(name)

    monkeypatch.setattr(decode, "import_module", missing)
    assert decode._formats.__wrapped__() == tuple(name for name in FORMATS if name != "AVIF")
