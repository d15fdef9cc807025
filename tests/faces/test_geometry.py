from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fer_edge.engines.base import Images
from fer_edge.faces.geometry import Points, Similarity, Square, fit_similarity, resample

SOURCE: Points = np.array([(0, 0), (10, 1), (2, 9), (8, 12)], np.float64)
similarities = st.builds(
    lambda scale, angle, x, y: Similarity(scale * math.cos(angle), scale * math.sin(angle), x, y),
    st.floats(0.01, 100),
    st.floats(-math.pi, math.pi),
    st.floats(-1000, 1000),
    st.floats(-1000, 1000),
)


@given(similarities)
def test_known_similarity_is_recovered(similarity: Similarity) -> None:
    assert fit_similarity(SOURCE, similarity.apply(SOURCE)) == pytest.approx(similarity, rel=1e-6, abs=1e-6)


@given(similarities)
def test_inverse_returns_points(similarity: Similarity) -> None:
    there = similarity.apply(SOURCE)
    np.testing.assert_allclose(similarity.inverse().apply(there), SOURCE, atol=1e-5)
    assert similarity.inverse().scale == pytest.approx(1 / similarity.scale)


def test_points_that_coincide_have_no_similarity() -> None:
    assert fit_similarity(np.ones((4, 2)), SOURCE) is None
    assert fit_similarity(SOURCE, np.ones((4, 2))) is None


def test_depth_is_scaled() -> None:
    assert Similarity(0.0, 2.0, 5.0, 6.0).apply(np.array([(1.0, 2.0, 3.0)])).tolist() == [[1.0, 8.0, 6.0]]


@given(st.floats(-math.pi, math.pi), st.floats(1, 500))
def test_corners_of_a_square_are_those_of_its_input(angle: float, side: float) -> None:
    similarity = Square(100, 50, side, angle).from_input(64)
    centre, top_right = similarity.apply(np.array([(32.0, 32.0), (64.0, 0.0)]))
    assert centre == pytest.approx((100, 50))
    assert math.dist(centre, top_right) == pytest.approx(side / math.sqrt(2))
    upright = math.atan2(top_right[1] - centre[1], top_right[0] - centre[0]) + math.pi / 4
    assert math.remainder(upright - angle, math.tau) == pytest.approx(0, abs=1e-9)


def smooth(height: int, width: int) -> Images:
    noise = np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))


def test_whole_pixels_are_copied() -> None:
    frame = smooth(50, 60)
    out = np.empty((16, 16, 3), np.uint8)
    resample(frame, Similarity(1.0, 0.0, 7.0, 9.0), out)
    np.testing.assert_array_equal(out, frame[9:25, 7:23])
    resample(frame, Similarity(1.0, 0.0, 7.0, 9.0), out, color="bgr")
    np.testing.assert_array_equal(out, frame[9:25, 7:23, ::-1])
    resample(frame, Similarity(0.0, 1.0, 23.0, 9.0), out)  # a quarter turn
    np.testing.assert_array_equal(out, np.rot90(frame[9:25, 7:23], 1))


def test_pixels_beyond_the_frame_are_black() -> None:
    frame = np.full((20, 30, 3), 200, np.uint8)
    out = np.empty((10, 10, 3), np.uint8)
    resample(frame, Similarity(1.0, 0.0, 25.0, -4.0), out)
    assert (out[4:, :5] == 200).all() and not out[:4].any() and not out[:, 5:].any()
    for x, y in ((500.0, 0.0), (-500.0, 0.0), (0.0, 500.0), (0.0, -500.0)):
        resample(frame, Similarity(1.0, 0.0, x, y), out)
        assert not out.any()


@pytest.mark.parametrize("scale", [0.4, 1.7, 2.0, 5.5])
def test_turned_square_shows_the_points_at_their_places(scale: float) -> None:
    """A bright dot of the frame is in the result where the similarity puts it, within half a pixel."""
    frame = np.zeros((400, 500, 3), np.uint8)
    rows, columns = np.mgrid[:400, :500]
    place = np.array([(252.0, 198.0)])
    radius = 4 * max(scale, 1)
    frame[:] = (255 * np.exp(-((columns + 0.5 - 252) ** 2 + (rows + 0.5 - 198) ** 2) / (2 * radius**2)))[..., None]
    to_frame = Square(250, 200, 64 * scale, 0.6).from_input(64)
    out = np.empty((64, 64, 3), np.uint8)
    resample(frame, to_frame, out)
    weights = out[..., 0] / out[..., 0].sum()
    seen = (weights * (np.arange(64) + 0.5)).sum(), (weights * (np.arange(64) + 0.5)[:, None]).sum()
    assert seen == pytest.approx(to_frame.inverse().apply(place)[0], abs=0.5)
