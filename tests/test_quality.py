"""Warnings about crops with unreliable labels."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_edge.boxes import find_region
from fer_edge.crop import crop_region
from fer_edge.data.layouts import read_split
from fer_edge.engines.base import Images
from fer_edge.images import read_image
from fer_edge.quality import MAX_NOISE, MIN_CONTRAST, contrast_and_noise, face_warning
from tests.synthetic import smooth_frame


def warning(frame: Images, box: Any = None) -> str:
    region = find_region(box, frame.shape[1], frame.shape[0])
    return face_warning(region, crop_region(frame, region, np.zeros((112, 112, 3), np.uint8)))


def test_normal_face_has_no_warning() -> None:
    assert warning(smooth_frame()) == ""
    assert warning(smooth_frame(), (10, 10, 24, 30)) == ""
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


@pytest.mark.slow
@pytest.mark.data
def test_faces_of_ferplus_get_no_warning(ferplus: Path) -> None:
    split = read_split(ferplus, "valid")
    measurements = np.array([contrast_and_noise(crop) for crop in map(_crop, split.paths)])
    assert measurements[:, 0].min() > 1.4 * MIN_CONTRAST
    assert measurements[:, 1].max() < MAX_NOISE / 1.25


def _crop(path: Path) -> Images:
    frame = read_image(path)
    region = find_region(None, frame.shape[1], frame.shape[0])
    return crop_region(frame, region, np.zeros((112, 112, 3), np.uint8))
