"""Image files of every awkward kind, and crops."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fer_edge.errors import ImageError, InputError
from fer_edge.images import crop_and_resize, find_images, read_image

RGB = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


def test_rgb_grey_palette_and_transparency(tmp_path: Path) -> None:
    assert np.array_equal(read_image(save(tmp_path / "a.png", Image.fromarray(RGB))), RGB)
    grey = read_image(save(tmp_path / "g.png", Image.fromarray(RGB[:, :, 0])))
    assert np.array_equal(grey, np.repeat(RGB[:, :, :1], 3, axis=2))
    palette = Image.fromarray(RGB).quantize(8)
    assert np.array_equal(read_image(save(tmp_path / "p.png", palette)), np.asarray(palette.convert("RGB")))
    clear = Image.new("RGBA", (4, 4), (200, 100, 50, 0))
    assert not read_image(save(tmp_path / "t.png", clear)).any()


def test_cmyk(tmp_path: Path) -> None:
    cmyk = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    assert np.array_equal(read_image(save(tmp_path / "c.tif", cmyk))[0, 0], [255, 0, 0])


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path) -> None:
    wide = np.array([[0, 257, 32896, 65535]], np.uint16)
    assert read_image(save(tmp_path / "w.png", Image.fromarray(wide)))[0, :, 0].tolist() == [0, 1, 128, 255]


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # stored on its side: turn a quarter clockwise to view
    path = save(tmp_path / "e.png", Image.fromarray(RGB), exif=exif)
    assert np.array_equal(read_image(path), np.rot90(RGB, -1))


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    empty = tmp_path / "empty.png"
    empty.touch()
    with pytest.raises(ImageError, match=r"empty\.png is empty \(0 bytes\)"):
        read_image(empty)
    with pytest.raises(ImageError, match="No such file"):
        read_image(tmp_path / "none.png")
    text = tmp_path / "text.png"
    text.write_text("no image")
    with pytest.raises(ImageError, match=r"text\.png is not an image that can be decoded; expected JPEG"):
        read_image(text)
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (99, 99, 3), dtype=np.uint8)).save(buffer, "PNG")
    for name, data in {"cut.png": buffer.getvalue()[:9000], "flip.png": buffer.getvalue()[:99] + b"\0" * 20000}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ImageError, match=f"{name} is damaged or cannot be decoded"):
            read_image(tmp_path / name)


def test_a_huge_image_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    data += struct.pack(">I", 4) + b"IDAT" + b"\0\0\0\0" + struct.pack(">I", zlib.crc32(b"IDAT\0\0\0\0"))
    (tmp_path / "huge.png").write_bytes(data)
    with pytest.raises(ImageError, match=r"huge\.png"):
        read_image(tmp_path / "huge.png")


def test_find_images(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no images below"):
        find_images(tmp_path)
    (tmp_path / "b").mkdir()
    paths = [save(tmp_path / "b" / "x.JPG", Image.fromarray(RGB)), save(tmp_path / "c.png", Image.fromarray(RGB))]
    (tmp_path / "note.txt").touch()
    assert find_images(tmp_path) == paths
    assert find_images(tmp_path / "c.png") == [tmp_path / "c.png"]
    with pytest.raises(ImageError, match="no file or folder at"):
        find_images(tmp_path / "none")


def test_crop_without_scaling_is_exact() -> None:
    frame = np.random.default_rng(2).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    assert np.array_equal(crop_and_resize(frame, (10, 20, 112, 112)), frame[20:132, 10:122])


@pytest.mark.parametrize("box", [(30, 0, 5, 5), (0, 0, 0, 5), (-9, 0, 9, 5), (0, 0, -1, -1), (0, float("inf"), 1, 1)])
def test_boxes_outside_are_refused(box: tuple[float, float, float, float]) -> None:
    with pytest.raises(InputError, match="is empty, not finite or outside of the frame of 30 x 20 pixels"):
        crop_and_resize(RGB, box)


@pytest.mark.parametrize(
    "box", [(1, 2, 3), (1, 2, 3, 4, 5), ("1", 2, 3, 4), (1, 2, None, 4), 5, "abcd", (10**400, 1, 1, 1), (1, 1, 1, 1j)]
)
def test_what_is_no_box_is_told(box: object) -> None:
    with pytest.raises(InputError, match="is no box; expected four finite numbers: x, y, width, height in pixels"):
        crop_and_resize(RGB, box)  # type: ignore[arg-type]


def test_a_wrong_box_is_shown_on_one_short_line() -> None:
    with pytest.raises(InputError) as caught:
        crop_and_resize(RGB, np.zeros((20, 20)))  # type: ignore[arg-type]
    assert len(str(caught.value)) < 200 and "\n" not in str(caught.value)
    with pytest.raises(InputError, match="box of type tuple is empty, not finite or outside"):
        crop_and_resize(RGB, (1, 1, -(10**5000), 1))


def test_boxes_of_narrow_integers_do_not_wrap_around() -> None:
    frame = np.random.default_rng(4).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    box = np.array([200, 150, 80, 110], np.uint8)
    assert np.array_equal(crop_and_resize(frame, tuple(box)), crop_and_resize(frame, (200, 150, 80, 110)))


@pytest.mark.parametrize("frame", [RGB.astype(float), RGB[:, :, 0], "frame", RGB[:0]])
def test_frames_that_are_none_are_refused(frame: object) -> None:
    with pytest.raises(InputError, match="the frame is"):
        crop_and_resize(frame)  # type: ignore[arg-type]


@given(st.floats(-50, 80), st.floats(-50, 80), st.floats(-5, 80), st.floats(-5, 80), st.integers(1, 16))
def test_every_box_gives_a_crop_within_the_values_or_an_error(
    x: float, y: float, w: float, h: float, size: int
) -> None:
    frame = np.full((20, 30, 3), 77, np.uint8)
    try:
        crop = crop_and_resize(frame, (x, y, w, h), size)
    except InputError:
        return
    assert crop.shape == (size, size, 3)
    assert (crop == 77).all()


def test_a_crop_is_written_where_it_is_wanted() -> None:
    frame = np.random.default_rng(3).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    for box in ((10, 20, 112, 112), (10, 20, 90, 140), None):
        place = np.zeros((112, 112, 3), np.uint8)
        assert crop_and_resize(frame, box, out=place) is place
        assert np.array_equal(place, crop_and_resize(frame, box))


def test_a_box_may_be_larger_than_numbers_go() -> None:
    assert np.array_equal(crop_and_resize(RGB, (-1, -1, 1.7e308, 1.7e308)), crop_and_resize(RGB))


def test_a_crop_is_no_view_of_the_frame() -> None:
    frame = np.zeros((112, 112, 3), np.uint8)
    crop_and_resize(frame)[:] = 9
    assert not frame.any()
