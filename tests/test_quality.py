"""Quality of face crops, and warnings about labels that are not certain."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageFilter

from fer_edge.boxes import find_region
from fer_edge.crop import crop_region
from fer_edge.data.layouts import read_split
from fer_edge.engines.base import Images
from fer_edge.faces.face import Face
from fer_edge.images import read_image
from fer_edge.quality import MAX_NOISE, MIN_CONTRAST, MIN_SHARPNESS, measure_crop, measure_quality
from tests.synthetic import smooth_frame


def warning(frame: Images, box: Any = None) -> str:
    region = find_region(box, frame.shape[1], frame.shape[0])
    return measure_quality(region, crop_region(frame, region, np.zeros((112, 112, 3), np.uint8))).warning


def test_normal_face_has_no_warning() -> None:
    assert warning(smooth_frame()) == ""
    assert warning(np.asarray(Image.fromarray(smooth_frame()).resize((32, 32))), (2, 1, 24, 30)) == ""
    assert warning(smooth_frame(), (-40, 10, 90, 90)) == ""


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((20, 20, 10, 10), "face of 10 x 10 pixels; below 24 the label is often wrong"),
        ((20, 20, 23.6, 40), "face of 23.6 x 40 pixels; below 24 the label is often wrong"),
        ((-60, 0, 100, 100), "only 40 % of the face box is inside the frame"),
        ((-80, 0, 100, 100), "face of 20 x 100 pixels; below 24 .*; only 20 % of the face box is inside"),
    ],
)
def test_small_and_cut_off_faces_get_a_warning(box: Any, expected: str) -> None:
    assert re.match(expected, warning(smooth_frame(), box))


@pytest.mark.parametrize("level", [0, 1, 128, 255])
def test_constant_frames_get_a_warning(level: int) -> None:
    frame = np.full((200, 200, 3), level, np.uint8)
    assert warning(frame) == "no contrast: there may be no face"
    # The black border beyond the frame does not count as contrast.
    assert "no contrast" in warning(frame, (-40, -40, 100, 100))
    wall = frame.astype(np.int16) + np.random.default_rng(0).integers(-6, 7, frame.shape)
    assert warning(wall.clip(0, 255).astype(np.uint8)) == "no contrast: there may be no face"


@pytest.mark.parametrize("side", [32, 48, 112, 200, 1000])
@pytest.mark.parametrize("grain", [1, 2, 3])
@pytest.mark.parametrize("channels", [1, 3])
def test_noise_gets_a_warning(side: int, grain: int, channels: int) -> None:
    fine = np.random.default_rng(side).integers(0, 256, (side, side, channels), dtype=np.uint8)
    frame = np.broadcast_to(fine.repeat(grain, 0).repeat(grain, 1), (side * grain, side * grain, 3))
    assert "there may be no face" in warning(np.ascontiguousarray(frame))


def test_every_visible_part_can_be_measured() -> None:
    frame = smooth_frame()
    for box in ((-99, -99, 100, 100), (111, 111, 100, 100), (-99, 0, 100, 100), (0, 111, 50, 50), (-890, 0, 896, 896)):
        assert isinstance(warning(frame, box), str)


def test_blurred_crops_get_a_warning() -> None:
    face = Image.fromarray(skimage.data.astronaut()).crop((165, 70, 285, 190))
    assert warning(np.asarray(face)) == ""
    assert warning(np.asarray(face.resize((40, 40)))) == ""  # few pixels are a matter of size
    for radius in (5, 8, 20):
        assert warning(np.asarray(face.filter(ImageFilter.GaussianBlur(radius)))) == "blurred: the label is often wrong"


def test_detector_and_mesh_are_part_of_the_quality() -> None:
    frame = smooth_frame()
    region, points = find_region((10, 20, 60, 50), 112, 112), np.array([(0, 0), (10, 10), (5, 8), (0, 14), (5, 16)])
    crop = crop_region(frame, region, np.zeros((112, 112, 3), np.uint8))
    box = measure_quality(region, crop)
    assert (box.width, box.height, box.size, box.share) == (60, 50, 50, 1)
    assert (box.detection, box.presence, box.tilt, box.has_face) == (None, None, None, None)
    faces = [Face((10, 20, 60, 50), 0.8, points.astype(float), None, presence) for presence in (None, 0.9, 0.2)]
    qualities = [measure_quality(region, crop, face) for face in faces]
    assert [quality.has_face for quality in qualities] == [True, True, False]
    assert [quality.warning for quality in qualities] == [
        "", "", "the face mesh finds no face: its probability is 0.20"
    ]  # fmt: skip
    assert qualities[0].detection == 0.8 and qualities[0].tilt == pytest.approx(45)


@pytest.mark.slow
@pytest.mark.data
def test_faces_of_ferplus_get_no_warning(ferplus: Path) -> None:
    split = read_split(ferplus, "valid")
    measurements = np.array([measure_crop(crop) for crop in map(_crop, split.paths)])
    assert measurements[:, 0].min() > 1.4 * MIN_CONTRAST
    assert measurements[:, 1].max() < MAX_NOISE / 1.25
    assert measurements[:, 2].min() > 2 * MIN_SHARPNESS


def _crop(path: Path) -> Images:
    frame = read_image(path)
    region = find_region(None, frame.shape[1], frame.shape[0])
    return crop_region(frame, region, np.zeros((112, 112, 3), np.uint8))
