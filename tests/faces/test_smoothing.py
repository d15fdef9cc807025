from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import smoothing
from fer_edge import ConfigError, OneEuro, Recognizer
from fer_edge.faces.smoothing import HYSTERESIS, Scores, Smoother
from fer_edge.quality import MIN_SCORE

CLASSES = 8
RATES = (15, 30, 60)


def probabilities(label: int, score: float = 0.93) -> Scores:
    scores = np.full(CLASSES, (1 - score) / (CLASSES - 1))
    scores[label] = score
    return scores


def random_probabilities(rng: np.random.Generator, count: int) -> Scores:
    values = rng.gamma(0.3, size=(count, CLASSES)) + 1e-9
    return values / values.sum(axis=1, keepdims=True)


@given(st.integers(0, 10_000), st.lists(st.floats(0.001, 5), min_size=1, max_size=30))
def test_smoothed_probabilities_sum_to_1(seed: int, gaps: list[float]) -> None:
    smoother, time = Smoother(OneEuro(), HYSTERESIS), 0.0
    for scores, gap in zip(random_probabilities(np.random.default_rng(seed), len(gaps)), gaps, strict=True):
        time += gap
        smooth = smoother.update(scores, time)
        assert smooth.sum() == pytest.approx(1, abs=1e-9)
        assert smooth.min() >= 0 and smooth.max() <= 1


@given(st.integers(0, 7), st.integers(1, 7), st.floats(0.6, 1.0))
def test_frame_rates_give_the_same_result(label: int, step: int, score: float) -> None:
    """A step between two expressions, and a slow change, compared after each fifteenth of a second."""
    first, second = probabilities(label, score), probabilities((label + step) % CLASSES, score)
    courses = []
    for rate in RATES:
        smoother, course = Smoother(OneEuro(), HYSTERESIS), []  # at a rate
        for frame in range(4 * rate):
            time = frame / rate
            share = 0.0 if time < 1 else 1.0 if time < 2 else max(0.0, 3 - time)
            smooth = smoother.update((1 - share) * first + share * second, time)
            if frame % (rate // 15) == 0:
                course.append(smooth.copy())
        courses.append(np.array(course))
    settled = np.ones(60, bool)
    settled[15:18] = False  # within 0.2 s of the step, frames come at other times
    for other in courses[:2]:
        assert np.abs(other - courses[2])[settled].max() < 0.12
        assert np.abs(other[[14, 29, -1]] - courses[2][[14, 29, -1]]).max() < 0.02


@pytest.mark.parametrize("rate", RATES)
def test_clear_change_shows_within_100_ms(rate: int) -> None:
    smoother = Smoother(OneEuro(), HYSTERESIS)
    for frame in range(rate):
        smoother.update(probabilities(0), frame / rate)
    for frame in range(rate, 2 * rate):
        smoother.update(probabilities(3), frame / rate)
        if smoother.label == 3:
            break
    assert smoother.since - 1.0 <= 0.1 and smoother.label == 3


def test_still_face_with_noise_keeps_its_label() -> None:
    """One minute at 30 Hz of two labels that are nearly equally probable, with the noise of a camera."""
    rng, smoother = np.random.default_rng(0), Smoother(OneEuro(), HYSTERESIS)
    base = np.full(CLASSES, 0.02)
    base[:2] = 0.45, 0.43
    labels, raw = set(), set()
    for frame in range(60 * 30):
        scores = np.abs(base + rng.normal(0, 0.025, CLASSES))
        scores /= scores.sum()
        smoother.update(scores, frame / 30)
        labels.add(smoother.label)
        raw.add(int(scores.argmax()))
    assert labels == {0} and raw == {0, 1}


def test_lead_grows_with_the_noise() -> None:
    """Half a minute of two labels whose order changes from frame to frame; then a third expression."""
    rng, smoother = np.random.default_rng(0), Smoother(OneEuro(), HYSTERESIS)
    changes, labels = 0, [smoother.label]
    for frame in range(30 * 30):
        first = float(np.clip(rng.normal(0.6, 0.12), 0, 0.98))
        scores = np.full(CLASSES, 0.02 / (CLASSES - 2))
        scores[:2] = first, 0.98 - first
        smoother.update(scores, frame / 30)
        changes += smoother.label != labels[-1] and frame > 30
        labels.append(smoother.label)
    assert changes == 0
    for frame in range(900, 915):
        smoother.update(probabilities(5), frame / 30)
    assert smoother.label == 5 and smoother.since <= 30.2


def test_certainty_does_not_flicker() -> None:
    smoother, states = Smoother(None, HYSTERESIS), []
    for frame, score in enumerate([0.6, 0.56, 0.54, 0.5, 0.56, 0.6, 0.62, 0.64, 0.6]):
        smooth = smoother.update(probabilities(2, score), frame / 30)
        states.append(bool(smooth[2] >= smoother.min_score))
    assert states == [True, True, True, False, False, False, False, True, True]
    smoother.update(probabilities(5), 1.0)
    assert smoother.min_score == MIN_SCORE and (smoother.label, smoother.since) == (5, 1.0)


def test_without_settings_nothing_is_smoothed() -> None:
    smoother = Smoother(None, 0.0)
    for frame, scores in enumerate(random_probabilities(np.random.default_rng(0), 5)):
        np.testing.assert_array_equal(smoother.update(scores, float(frame)), scores)


def test_reset_starts_again() -> None:
    smoother = Smoother(OneEuro(), HYSTERESIS)
    smoother.update(probabilities(0), 0.0)
    smoother.reset()
    np.testing.assert_array_equal(smoother.update(probabilities(4, 0.5), 0.1), probabilities(4, 0.5))
    assert (smoother.label, smoother.since) == (4, 0.1)


@pytest.mark.parametrize("settings", [{"cutoff": 0}, {"beta": -1}, {"speed_cutoff": "1"}, {"cutoff": float("nan")}])
def test_wrong_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"of OneEuro is .*; expected a number"):
        OneEuro(**settings)


@pytest.mark.data
@pytest.mark.slow
def test_still_faces_keep_their_labels_and_changes_show_within_100_ms(ferplus: Path) -> None:
    rng, jitter = np.random.default_rng(0), smoothing.JITTER
    with Recognizer.open(threads=2) as recognizer:
        faces = smoothing.certain_faces(recognizer, ferplus, 120, rng)
        pairs = smoothing.pair_courses(recognizer, faces, 20, jitter, rng)
        still = [smoothing.course(recognizer, path, 20 * smoothing.RATE, rng, jitter) for path in [*faces][:4]]
    settings = OneEuro(), HYSTERESIS
    delays = [smoothing.delay(smoothing.smooth_labels(rows, *settings), target) for rows, target in pairs]
    assert np.percentile(delays, 90, method="inverted_cdf") <= 100
    assert [smoothing.changes(smoothing.smooth_labels(rows, *settings)) for rows in still] == [0, 0, 0, 0]
