"""Pixels of every type: correct scaling, or refusal instead of a black image."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageCms, TiffImagePlugin

from fer_edge.errors import ImageError
from fer_edge.images import read_image
from tests.images.make import GREY, GREY_RGB, RGB, chunk, encoded, png, tiff

WIDE: dict[str, npt.NDArray[Any]] = {
    "uint16": GREY.astype(np.uint16) * 257,
    "uint32": GREY.astype(np.uint32) * 16843009,
    "int8": (GREY // 2).astype(np.int8),
    "int16": (GREY.astype(np.int32) * 32767 // 255).astype(np.int16),
    "int32": (GREY.astype(np.int64) * 2147483647 // 255).astype(np.int32),
    "float 0 to 1": (GREY / 255).astype(np.float32),
    "float 0 to 255": GREY.astype(np.float32),
}


def differs(actual: npt.NDArray[np.uint8], expected: npt.NDArray[np.uint8]) -> int:
    """Return the largest difference of two images of the same shape."""
    assert actual.shape == expected.shape and actual.dtype == np.uint8 and actual.flags.c_contiguous
    return int(np.abs(actual.astype(int) - expected).max())


@pytest.mark.parametrize("name", WIDE)
def test_deep_and_float_samples_are_scaled_by_their_range(name: str) -> None:
    assert differs(read_image(tiff(WIDE[name])), GREY_RGB) <= (1 if name == "int8" else 0)


@pytest.mark.parametrize("name", ["uint16", "int16", "int32", "float 0 to 1"])
def test_byte_orders_give_equal_pixels(name: str) -> None:
    assert np.array_equal(read_image(tiff(WIDE[name], order=">")), read_image(tiff(WIDE[name])))


@pytest.mark.parametrize("name", ["uint16", "float 0 to 1"])
def test_inverted_samples_are_converted(name: str) -> None:
    inverted = (WIDE[name].max() - WIDE[name]).astype(WIDE[name].dtype)
    assert differs(read_image(tiff(inverted, photometric=0)), GREY_RGB) == 0
    assert differs(read_image(tiff(255 - GREY, photometric=0)), GREY_RGB) == 0


REFUSED: dict[str, tuple[npt.NDArray[Any], str]] = {
    "12 bits in 16": (GREY.astype(np.uint16) * 16, "has only values up to 4080 of 65535: 12-bit values in a"),
    "8 bits in 16": (GREY.astype(np.uint16), "has only values up to 255 of 65535: 8-bit values in a 16-bit file"),
    "14 bits in 16": (GREY.astype(np.uint16) * 64, "has only values up to 16320 of 65535: 14-bit values"),
    "8 bits in 32": (GREY.astype(np.uint32), "has only values up to 255 of 4294967295"),
    "signed 8 bits in 32": (GREY.astype(np.int32), "has only values up to 255 of 2147483647"),
    "negative": (GREY.astype(np.int16) - 100, "has signed values from -100 to 155; expected values from 0"),
    "float -1 to 1": ((GREY / 127.5 - 1).astype(np.float32), "has float values from -1 to 1; expected 0 to 1 or 0 to"),
    "float to 65535": (GREY.astype(np.float32) * 257, "has float values from 0 to 65535; expected 0 to 1 or 0 to 255"),
    "float to 1.03": ((GREY / 247.5).astype(np.float32), "has float values from 0 to 1.0303; expected 0 to 1 or"),
    "float to 0.06": ((GREY / 4080).astype(np.float32), "has float values from 0 to 0.0625; .*at least a quarter"),
    "NaN": (np.where(GREY > 99, np.nan, GREY / 255).astype(np.float32), "has values that are NaN or infinite"),
    "infinite": (np.where(GREY > 99, np.inf, GREY / 255).astype(np.float32), "has values that are NaN or infinite"),
    "12 bits in RGB of 16": (RGB.astype(np.uint16) * 16, "fills less than a quarter of its 16-bit range"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_values_of_an_unknown_range_are_refused(name: str) -> None:
    pixels, message = REFUSED[name]
    with pytest.raises(ImageError, match=f"the image data {message}"):
        read_image(tiff(pixels))


def test_16_bit_black_is_black() -> None:
    assert not read_image(png(np.zeros((4, 4), np.uint16))).any()
    assert not read_image(tiff(np.zeros((4, 4), np.float32))).any()


def test_stated_range_is_used_for_small_values() -> None:
    twelve = GREY.astype(np.uint16) * 16 + 15  # 15 to 4095
    assert differs(read_image(png(twelve, chunk(b"sBIT", b"\x0c"))), GREY_RGB) <= 1
    assert differs(read_image(tiff(twelve, tags={340: ("H", [0]), 341: ("H", [4095])})), GREY_RGB) <= 1
    assert differs(read_image(tiff(twelve, tags={281: ("H", [4095])})), GREY_RGB) <= 1
    signed = (GREY / 127.5 - 1).astype(np.float32)
    assert differs(read_image(tiff(signed, tags={340: ("f", [-1.0]), 341: ("f", [1.0])})), GREY_RGB) == 0
    full = GREY.astype(np.uint16) * 257  # as the standard requires: scaled to 16 bits, independent of sBIT
    assert differs(read_image(png(full, chunk(b"sBIT", b"\x0c"))), GREY_RGB) == 0
    with pytest.raises(ImageError, match="has only values up to 4095 of 65535"):
        read_image(png(twelve, chunk(b"sBIT", b"\x08")))  # above the stated range


def test_12_bit_tiff_is_scaled_by_12_bits() -> None:
    values = (GREY.astype(np.int32) * 4095 // 255).reshape(-1, 2)
    packed = np.stack([values[:, 0] >> 4, (values[:, 0] & 15) << 4 | values[:, 1] >> 8, values[:, 1] & 255], axis=1)
    data = tiff(GREY, stored=packed.astype(np.uint8).tobytes(), tags={258: ("H", [12])})
    assert differs(read_image(data), GREY_RGB) <= 1


def test_16_bit_rgb_is_scaled() -> None:
    wide = RGB.astype(np.uint16) * 257
    assert differs(read_image(tiff(wide)), RGB) == 0
    assert differs(read_image(tiff(wide, order=">")), RGB) == 0
    assert differs(read_image(png(wide)), RGB) == 0


def test_16_bit_planar_samples_are_refused() -> None:
    assert differs(read_image(tiff(RGB, separate=True)), RGB) == 0
    with pytest.raises(ImageError, match="is a TIFF image of 3 channels of uint16 in separate planes, which is not"):
        read_image(tiff(RGB.astype(np.uint16) * 257, separate=True))


def test_subsampled_uncompressed_chroma_is_refused() -> None:
    with pytest.raises(ImageError, match=r"chroma are not supported|is truncated"):
        read_image(tiff(RGB, photometric=6, tags={530: ("H", [2, 2])}))


def with_alpha(pixels: npt.NDArray[np.uint8], alpha: int) -> npt.NDArray[np.uint8]:
    return np.dstack([pixels, np.full(pixels.shape[:2], alpha, np.uint8)])


LOST = {
    "RGBA": png(with_alpha(RGB, 0)),
    "RGBA of 1": png(with_alpha(RGB, 1)),
    "grey and alpha": png(with_alpha(GREY, 0)),
    "RGBA of 16 bits": png(with_alpha(RGB, 0).astype(np.uint16) * 257),
    "palette": encoded(Image.fromarray(RGB).quantize(8), "PNG", transparency=bytes(8)),
    "WebP": encoded(Image.fromarray(with_alpha(RGB, 0)), "WEBP", lossless=True, exact=True),
    "TIFF": tiff(with_alpha(RGB, 0), tags={338: ("H", [2])}),
    "premultiplied TIFF": tiff(with_alpha(RGB, 0), tags={338: ("H", [1])}),
}


@pytest.mark.parametrize("name", LOST)
def test_fully_transparent_image_is_refused(name: str) -> None:
    with pytest.raises(ImageError, match=r"is transparent everywhere \(alpha at most [01] of 255\).*save it without"):
        read_image(LOST[name])


def test_zero_alpha_of_a_bmp_is_ignored() -> None:
    assert differs(read_image(encoded(Image.fromarray(with_alpha(RGB, 0)), "BMP")), RGB) == 0


def test_transparency_is_composited_on_black() -> None:
    half = read_image(png(with_alpha(RGB, 128)))
    assert differs(half, (RGB.astype(int) * 128 // 255).astype(np.uint8)) <= 1
    if (b"II", 1, (1,), 1, (8, 8), (1,)) in TiffImagePlugin.OPEN_INFO:  # missing in older versions of Pillow
        assert differs(read_image(tiff(with_alpha(GREY, 255), tags={338: ("H", [1])})), GREY_RGB) == 0
    cut_out = with_alpha(RGB, 255)
    cut_out[:12, :, 3] = 0
    assert not read_image(png(cut_out))[:12].any() and differs(read_image(png(cut_out))[12:], RGB[12:]) == 0


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_transparent_grey_of_any_depth_is_black(depth: int) -> None:
    most = (1 << depth) - 1
    samples = np.array([[0, 1, most], [most, 1, 0]], np.uint16 if depth == 16 else np.uint8)
    image = read_image(png(samples, chunk(b"tRNS", most.to_bytes(2, "big")), depth=depth))
    assert image[0, 2].tolist() == image[1, 0].tolist() == [0, 0, 0]
    visible = read_image(png(samples, depth=depth))
    assert visible[0, 2].tolist() == [255, 255, 255]


def test_16_bit_transparent_colour_does_not_hide_white() -> None:
    key = b"".join(value.to_bytes(2, "big") for value in (0x1234, 0x1234, 0x1234))
    wide = np.full((2, 2, 3), 65535, np.uint16)
    wide[0, 0] = 0x1234
    image = read_image(png(wide, chunk(b"tRNS", key)))
    assert image[0, 0].tolist() == [0, 0, 0] and (image[1] == 255).all()


def test_other_colour_spaces_are_converted() -> None:
    image = Image.fromarray(RGB)
    cmyk = image.convert("CMYK")
    assert differs(read_image(encoded(cmyk, "TIFF")), RGB) <= 1
    jpeg = encoded(cmyk, "JPEG", quality=98)
    assert differs(read_image(jpeg), RGB) <= 12
    assert differs(read_image(encoded(image.convert("YCbCr"), "TIFF", compression="jpeg", quality=98)), RGB) <= 20
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    assert differs(read_image(encoded(to_lab.apply(image), "TIFF")), RGB) <= 30  # large for saturated colours
    bits = Image.fromarray(GREY > 99)
    assert differs(read_image(encoded(bits, "PNG")), np.asarray(bits.convert("RGB"))) == 0
    palette = image.quantize(9)
    for kind in ("GIF", "BMP", "TIFF"):
        assert differs(read_image(encoded(palette, kind)), np.asarray(palette.convert("RGB"))) == 0


def test_first_frame_is_returned() -> None:
    first, second = Image.fromarray(RGB), Image.new("RGB", (32, 24))
    for kind in ("PNG", "TIFF", "WEBP"):
        options = {"lossless": True} if kind == "WEBP" else {}
        data = encoded(first, kind, save_all=True, append_images=[second], **options)
        assert differs(read_image(data), RGB) == 0


def test_blocks_join_seamlessly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fer_edge.images.pixels.BLOCK_PIXELS", 40)  # one row and part of the next
    assert differs(read_image(png(RGB)), RGB) == 0
    monkeypatch.setattr("fer_edge.images.pixels.BLOCK_PIXELS", 10)  # parts of a row
    for pixels, expected in ((RGB, RGB), (with_alpha(RGB, 255), RGB), (GREY.astype(np.uint16) * 257, GREY_RGB)):
        assert differs(read_image(png(pixels)), expected) == 0
