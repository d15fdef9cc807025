"""Accuracy and parity of a model with known outputs and planted differences."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fer_edge.data.images import ImageSet
from fer_edge.data.sources import image_set
from fer_edge.engines.base import Images, Prediction, Runner
from fer_edge.errors import BundleError, ConfigError, DataError, ImageError
from fer_edge.evaluation.accuracy import AccuracyReport, confusion_matrix, run_all, score
from fer_edge.evaluation.open_model import open_model
from fer_edge.evaluation.parity import compare, relative_error
from tests.tiny import LABELS, tiny_bundle
from tests.tiny_model import tiny_checkpoint


class Planted(Runner):
    """Runner that classifies by the mean brightness of an image, with an optional difference."""

    def __init__(self, *, shift: float = 0.0, classes: int = 3, text: bool = True, kind: str = "float32") -> None:
        super().__init__(32)
        self.shift, self.classes, self.text, self.kind = shift, classes, text, kind

    def _infer(self, images: Images) -> Prediction:
        level = images.mean(axis=(1, 2, 3))[:, None] / 255 * self.classes - 0.5
        logits = (-np.abs(level - np.arange(self.classes)) + self.shift * np.eye(self.classes)[0]).astype(self.kind)
        exp = np.exp(logits)
        return Prediction(logits, logits.copy() if self.text else None, exp / exp.sum(axis=1, keepdims=True))


def accuracy(runner: Runner, images: ImageSet) -> AccuracyReport:
    return score(run_all(runner, images), LABELS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index, label in enumerate(LABELS):
        (tmp_path / "faces" / label).mkdir(parents=True)
        for copy in range(3):
            level = int((index + 0.5 + 0.1 * copy) * 255 / 3)
            Image.new("RGB", (20, 20), (level, level, level)).save(tmp_path / "faces" / label / f"{copy}.png")
    return tmp_path / "faces"


def test_accuracy_by_hand(folder: Path) -> None:
    images = image_set(folder, LABELS)
    report = accuracy(Planted(), images)
    assert (report.images, report.accuracy, report.mean_class_accuracy) == (9, 100, 100)
    wrong = accuracy(Planted(shift=5), images)
    assert wrong.accuracy == pytest.approx(33.333)
    assert wrong.recall == {"neutral": 100, "happiness": 0, "surprise": 0}
    assert wrong.confusion == [[3, 0, 0], [3, 0, 0], [3, 0, 0]]
    neutral, happiness = wrong.classes["neutral"], wrong.classes["happiness"]
    assert (neutral.images, neutral.recall, neutral.precision, neutral.f1) == (3, 100, 33.33, 50)
    assert (happiness.recall, happiness.precision, happiness.f1) == (0, None, 0)
    assert wrong.mean_f1 == pytest.approx(16.667)
    assert str(wrong.accuracy_interval) == "12.1 to 64.6 %"
    assert wrong.mean_class_interval.low <= wrong.mean_class_accuracy <= wrong.mean_class_interval.high


def test_interrupt_reports_finished_images(folder: Path) -> None:
    def interrupt(count: int) -> None:
        raise KeyboardInterrupt

    runner = Planted()
    runner.max_batch = 4
    message = r"^stopped after 4 of 9 images; accuracy 100.00 % \(95 %: 51.0 to 100.0 %\)$"
    with pytest.raises(KeyboardInterrupt, match=message):
        run_all(runner, image_set(folder, LABELS), interrupt)


def test_damaged_image_stops_or_is_skipped(folder: Path) -> None:
    (folder / "happiness" / "1.png").write_bytes(b"no image")
    images = image_set(folder, LABELS)
    with pytest.raises(ImageError, match=r"1\.png is not an image"):
        accuracy(Planted(), images)
    done: list[int] = []
    report = score(run_all(Planted(), images, done.append, skip_damaged=True), LABELS)
    assert sum(done) == 9
    assert (report.images, report.accuracy, len(report.skipped)) == (8, 100, 1)
    assert "1.png is not an image" in report.skipped[0]
    assert report.heads_agree == 100 and report.accuracy_disagreeing is None


def test_no_readable_image_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "neutral").mkdir()
    (tmp_path / "neutral" / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"no image could be read; the first: .*a\.png is empty"):
        run_all(Planted(), image_set(tmp_path, LABELS), skip_damaged=True)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1))
def test_confusion_counts_pairs(pairs: list[tuple[int, int]]) -> None:
    true, predicted = np.array(pairs).T
    matrix = confusion_matrix(true, predicted, 5)
    assert matrix.sum() == len(pairs)
    assert all(matrix[a, b] == pairs.count((a, b)) for a, b in pairs)


def test_folders_are_all_labels_or_none(folder: Path, tmp_path: Path) -> None:
    flat = image_set(folder / "neutral", LABELS)
    assert flat.labels is None and len(flat) == 3
    with pytest.raises(DataError, match="these images have no labels"):
        accuracy(Planted(), flat)
    (folder / "bored").mkdir()
    with pytest.raises(DataError, match="folders that are not labels: bored; expected some of: neutral, happiness"):
        image_set(folder, LABELS)
    with pytest.raises(ImageError, match="no file or folder"):
        image_set(tmp_path / "none", LABELS)


def test_synonyms_name_class_folders(tmp_path: Path) -> None:
    (tmp_path / "Happy").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "Happy" / "a.png")
    labels = image_set(tmp_path, LABELS, ("neutral", "happy", "surprise")).labels
    assert labels is not None and labels.tolist() == [1]


def test_count_is_spread_over_all_classes(folder: Path) -> None:
    images = image_set(folder, LABELS)
    assert images.labels is not None
    limited = images.limit(3)
    assert limited.labels is not None and limited.labels.tolist() == [1, 0, 2]
    assert limited.paths == (images.paths[0], images.paths[4], images.paths[8])
    assert images.limit(1).paths == images.paths[:1]
    assert images.limit(100) is images.limit(None) is images


def test_box_outside_of_its_image_stops_or_is_skipped(folder: Path) -> None:
    images = image_set(folder, LABELS)
    boxed = replace(images, boxes=(*[(0.0, 0.0, 20.0, 20.0)] * 8, (30.0, 30.0, 5.0, 5.0)))
    with pytest.raises(
        ImageError, match=r"2\.png: box .* outside of the frame of 20 x 20 pixels; correct the data set"
    ):
        accuracy(Planted(), boxed)
    report = score(run_all(Planted(), boxed, skip_damaged=True), LABELS)
    assert report.images == 8 and "2.png: box" in report.skipped[0]


def test_parity_holds_for_equal_models(folder: Path) -> None:
    report = compare(Planted(), Planted(), image_set(folder, LABELS))
    assert report
    assert [stage.name for stage in report.stages][-3:] == ["values", "top-1 agreement", "accuracy"]


@pytest.mark.parametrize(
    ("candidate", "stage"),
    [
        (Planted(text=False), "names"),
        (Planted(kind="float64"), "types"),
        (Planted(classes=4), "shapes"),
        (Planted(shift=0.001), "values"),
        (Planted(shift=5), "top-1 agreement"),
        (Planted(shift=5), "accuracy"),
    ],
)
def test_parity_fails_at_the_planted_stage(candidate: Runner, stage: str, folder: Path) -> None:
    report = compare(candidate, Planted(), image_set(folder, LABELS))
    assert not report
    assert stage in {result.name for result in report.stages if not result.passed}


def test_parity_needs_images() -> None:
    with pytest.raises(DataError, match="no images to compare on"):
        compare(Planted(), Planted(), ImageSet((), None))


def test_model_format_is_detected_by_content(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"has 2 labels, but its model gives probabilities of shape \(1, 3\)"):
        open_model(tiny_bundle(tmp_path / "b.fer", labels=("a", "b"), words=()))
    opened = open_model(tiny_bundle(tmp_path / "a.pth"), "onnxruntime")
    assert (opened.engine, opened.labels) == ("onnxruntime", LABELS)
    tiny_checkpoint().save(tmp_path / "checkpoint")
    assert open_model(tmp_path / "checkpoint").engine == "pytorch"
    with pytest.raises(ConfigError, match="is a checkpoint, which only pytorch runs"):
        open_model(tmp_path / "checkpoint", "openvino")
    with pytest.raises(ConfigError, match="is a bundle, which pytorch does not run"):
        open_model(tmp_path / "a.pth", "pytorch")
    with pytest.raises(BundleError, match=r"no file at .*none; expected a bundle"):
        open_model(tmp_path / "none")


@pytest.mark.slow
@pytest.mark.data
def test_shipped_model_on_the_validation_split(ferplus: Path) -> None:
    from fer_edge.recognizer import shipped_bundle

    opened = open_model(shipped_bundle())
    images = image_set(ferplus, opened.labels)
    assert len(images) == 3191
    assert score(run_all(opened.runner, images), opened.labels).accuracy >= 80


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_non_finite_values_never_pass(broken: float) -> None:
    expected = np.ones((2, 3), np.float32)
    values = expected.copy()
    values[1, 2] = broken
    assert relative_error(values, expected) == np.inf
