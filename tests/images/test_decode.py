"""Image files: damage, size, EXIF, warnings."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from fer_edge import images
from fer_edge.errors import ConfigError, ImageError
from fer_edge.images import decode, read_image
from fer_edge.images.decode import STORED
from tests.access import TOO_LONG, no_more_files
from tests.images import make

RGB = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
ORIENTATION = ExifTags.Base.Orientation


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


def test_modes_are_converted_to_rgb(tmp_path: Path) -> None:
    assert np.array_equal(read_image(save(tmp_path / "a.png", Image.fromarray(RGB))), RGB)
    grey = read_image(save(tmp_path / "g.png", Image.fromarray(RGB[:, :, 0])))
    assert np.array_equal(grey, np.repeat(RGB[:, :, :1], 3, axis=2))
    palette = Image.fromarray(RGB).quantize(8)
    assert np.array_equal(read_image(save(tmp_path / "p.png", palette)), np.asarray(palette.convert("RGB")))
    clear = Image.new("RGBA", (4, 4), (200, 100, 50, 0))
    assert not read_image(save(tmp_path / "t.png", clear)).any()


def test_cmyk_is_converted_to_rgb(tmp_path: Path) -> None:
    cmyk = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    assert np.array_equal(read_image(save(tmp_path / "c.tif", cmyk))[0, 0], [255, 0, 0])


def test_16_bits_are_scaled(tmp_path: Path) -> None:
    wide = np.array([[0, 257, 32896, 65535]], np.uint16)
    assert read_image(save(tmp_path / "w.png", Image.fromarray(wide)))[0, :, 0].tolist() == [0, 1, 128, 255]


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise for display
    path = save(tmp_path / "e.png", Image.fromarray(RGB), exif=exif)
    assert np.array_equal(read_image(path), np.rot90(RGB, -1))


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty.png"
    empty.touch()
    with pytest.raises(ImageError, match=r"empty\.png is empty \(0 bytes\)"):
        read_image(empty)
    with pytest.raises(ImageError, match="No such file"):
        read_image(tmp_path / "none.png")
    text = tmp_path / "text.png"
    text.write_text("no image")
    with pytest.raises(ImageError, match=r"text\.png is not an image but a text file; expected JPEG"):
        read_image(text)
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (99, 99, 3), dtype=np.uint8)).save(buffer, "PNG")
    for name, data, message in (
        ("cut.png", buffer.getvalue()[:9000], "is truncated, its end is missing; copy or download it again"),
        ("flip.png", buffer.getvalue()[:99] + b"\0" * 40000, "is damaged or cannot be decoded"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ImageError, match=f"{name} {message}"):
            read_image(tmp_path / name)


def test_huge_image_is_refused_without_decoding(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    data += struct.pack(">I", 4) + b"IDAT" + b"\0\0\0\0" + struct.pack(">I", zlib.crc32(b"IDAT\0\0\0\0"))
    (tmp_path / "huge.png").write_bytes(data)
    with pytest.raises(ImageError, match=r"huge\.png"):
        read_image(tmp_path / "huge.png")


# Upright image by orientation, from the stored image.
UPRIGHT = {
    1: RGB,
    2: RGB[:, ::-1],
    3: RGB[::-1, ::-1],
    4: RGB[::-1],
    5: RGB.transpose(1, 0, 2),
    6: np.rot90(RGB, -1),
    7: RGB[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90(RGB),
    0: RGB,
    9: RGB,
}


@pytest.mark.parametrize("kind", ["png", "tif", "webp"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_every_orientation_is_applied(tmp_path: Path, orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {"lossless": True} if kind == "webp" else {}
    path = save(tmp_path / f"e.{kind}", Image.fromarray(RGB), exif=exif, **options)
    image = read_image(path)
    assert np.array_equal(image, UPRIGHT[orientation]) and image.flags.c_contiguous


@pytest.mark.parametrize("kind", ["JPEG", "MPO", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_of_lossy_formats_is_applied(orientation: int, kind: str) -> None:
    if kind == "AVIF" and not make.CAN_WRITE_AVIF:
        pytest.skip("this Pillow has no AVIF codec")
    upright = make.RGB
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored = STORED.get(orientation, np.array)(upright)
    options = {} if kind == "AVIF" else {"subsampling": 0}
    data = make.encoded(Image.fromarray(np.ascontiguousarray(stored)), kind, exif=exif, quality=98, **options)
    assert np.abs(read_image(data).astype(int) - upright).mean() < 4


BROKEN = {
    "nonsense": b"Exif\0\0no tiff header",
    "cut": b"Exif\0\0II*\0",
    "counts that are not there": b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01",
    "a place outside": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x05\0\xff\xff\xff\x7f\xff\xff\xff\x7f",
    "text": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x04\0\0\0six\0\0\0\0\0",
}


@pytest.mark.parametrize("exif", BROKEN.values(), ids=BROKEN)
def test_broken_exif_is_ignored(tmp_path: Path, exif: bytes) -> None:
    path = save(tmp_path / "e.png", Image.fromarray(RGB), exif=exif)
    assert np.array_equal(read_image(path), RGB)


def test_exif_is_not_parsed_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    path = save(tmp_path / "e.png", Image.fromarray(RGB), exif=exif)

    def fails(exif: Image.Exif, offset: int = 8) -> bytes:
        raise struct.error("required argument is not an integer")

    monkeypatch.setattr(Image.Exif, "tobytes", fails)  # as in some versions for tags of an unexpected type
    assert np.array_equal(read_image(path), np.rot90(RGB, -1))


def test_warnings_of_other_threads_are_unaffected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(RGB))
    before = list(warnings.filters)
    with monkeypatch.context() as patched:
        patched.setattr(warnings, "catch_warnings", lambda: pytest.fail("filters are the whole process's"))
        assert np.array_equal(read_image(path), RGB)
    assert list(warnings.filters) == before


def of_size(path: Path, width: int, height: int) -> Path:
    """Return a PNG file with a header and hardly any pixel data."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    path.write_bytes(data + struct.pack(">I", 4) + b"IDAT\0\0\0\0" + struct.pack(">I", zlib.crc32(b"IDAT\0\0\0\0")))
    return path


def test_allowed_images_give_no_warning(tmp_path: Path) -> None:
    assert Image.MAX_IMAGE_PIXELS is not None and images.MAX_PIXELS <= Image.MAX_IMAGE_PIXELS
    path = of_size(tmp_path / "large.png", 10_000, 9_000)
    with pytest.raises(ImageError, match=r"large\.png has too many pixels"):
        read_image(path)  # pytest raises warnings as errors
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with pytest.raises(ImageError, match=r"large\.png is 10000 x 9000 pixels; expected at most 89478485 pixels"):
            read_image(path)


def test_operating_system_errors_are_not_damage(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(RGB))
    read_image(path)  # imports Pillow's readers
    with no_more_files(), pytest.raises(ImageError) as caught:
        read_image(path)
    assert str(caught.value) == f"cannot read {path}: Too many open files"
    with pytest.raises(ImageError, match=r"cannot read .*: File name too long"):
        read_image(tmp_path / TOO_LONG)
    with pytest.raises(ImageError, match=r"cannot read .*: embedded null"):
        read_image("a\0b")


def test_max_pixels_is_a_limit_in_both_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    data = make.encoded(Image.fromarray(make.RGB), "PNG")  # 768 pixels
    with pytest.raises(ImageError, match=r"32 x 24 pixels; expected at most 700 pixels: make it smaller, or incre"):
        read_image(data, max_pixels=700)
    monkeypatch.setattr(decode, "MAX_PIXELS", 200)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)  # Pillow warns above it and refuses twice as many
    for kind in ("PNG", "TIFF", "WEBP", "GIF"):
        image = make.encoded(Image.fromarray(make.RGB), kind)
        with pytest.raises(ImageError, match="has too many pixels; expected at most 200"):
            read_image(image)
        assert read_image(image, max_pixels=768).shape == (24, 32, 3)
        assert Image.MAX_IMAGE_PIXELS == 200
    for wrong in (0, -1, 2.5, True, "9"):
        with pytest.raises(ConfigError, match=r"max_pixels is .*; expected a whole number from 1"):
            read_image(data, max_pixels=wrong)  # type: ignore[arg-type]


def test_max_pixels_extends_the_file_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = make.encoded(Image.fromarray(make.RGB), "BMP")
    (tmp_path / "a.bmp").write_bytes(data)
    monkeypatch.setattr(decode, "MAX_FILE_BYTES", 1000)
    for source in (tmp_path / "a.bmp", data):
        with pytest.raises(ImageError, match="bytes; expected at most 1000: a larger max_pixels increases this limit"):
            read_image(source)
        assert read_image(source, max_pixels=768).shape == (24, 32, 3)


def test_broken_exif_is_ignored_with_warnings_as_errors() -> None:
    data = make.encoded(Image.fromarray(make.RGB), "JPEG", exif=BROKEN["a place outside"], quality=98)
    assert read_image(data).shape == (24, 32, 3)  # pytest raises warnings as errors
