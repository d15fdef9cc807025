"""Parity: differences between bundle and checkpoint that only apps would notice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fer_edge.data.images import ImageSet
from fer_edge.data.sources import image_set
from fer_edge.engines.base import Images, Prediction, Runner
from fer_edge.evaluation.open_model import ModelInfo
from fer_edge.evaluation.parity import Stage, absolute_error, compare, compare_labels
from tests.evaluation.test_evaluation import Planted, folder
from tests.tiny import LABELS

__all__ = ["folder"]  # a fixture


class Altered(Planted):
    """Runner whose probabilities are changed, optionally at some batch sizes only."""

    def __init__(self, change: Callable[[np.ndarray], np.ndarray], sizes: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.change, self.sizes = change, sizes

    def _infer(self, images: Images) -> Prediction:
        outputs = super()._infer(images)
        if self.sizes and len(images) not in self.sizes:
            return outputs
        return outputs._replace(probabilities=self.change(outputs.probabilities))


def described(**changes: object) -> ModelInfo:
    model = ModelInfo("a.fer", "onnxruntime", "fp32", LABELS, LABELS, "label", "1" * 64)
    return replace(model, **changes)  # type: ignore[arg-type]


def stages_of(candidate: Runner, images: ImageSet) -> dict[str, Stage]:
    return {stage.name: stage for stage in compare(candidate, Planted(), images).stages}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"labels": LABELS[::-1]},
            "labels surprise, happiness, neutral; expected neutral, happiness, surprise",
        ),
        ({"head": "mean"}, "head mean; expected label"),
        (
            {"checkpoint": "2" * 64},
            "a.fer was built from another checkpoint than a.safetensors; name that one, or build the bundle again",
        ),
    ],
)
def test_other_labels_head_or_checkpoint_fail(changes: dict[str, object], message: str) -> None:
    stage = compare_labels(described(**changes), described(name="a.safetensors"))
    assert stage == Stage("labels", False, message)


@pytest.mark.parametrize("checkpoint", [None, "1" * 64])
def test_bundle_without_checkpoint_hash_passes(checkpoint: str | None, folder: Path) -> None:
    stage = compare_labels(described(checkpoint=checkpoint), described())
    assert stage == Stage("labels", True, "neutral, happiness, surprise; head label")
    report = compare(Planted(), Planted(), image_set(folder, LABELS), before=[stage])
    assert report and report.stages[0] == stage
    assert not compare(Planted(), Planted(), image_set(folder, LABELS), before=[replace(stage, passed=False)])


def test_scaled_probabilities_fail_with_equal_top1(folder: Path) -> None:
    stages = stages_of(Altered(lambda values: values * np.float32(0.1)), image_set(folder, LABELS))
    assert [name for name, stage in stages.items() if not stage.passed] == ["values"]
    assert "batch 1: largest relative logit error 0.00e+00, of probabilities 5.99e-01" in stages["values"].detail


def test_worst_batch_size_counts(folder: Path) -> None:
    wrong = Altered(lambda values: np.roll(values, 1, axis=1), sizes=(1,))
    stages = stages_of(wrong, image_set(folder, LABELS))
    assert [name for name, stage in stages.items() if not stage.passed] == ["values", "top-1 agreement", "accuracy"]
    assert stages["top-1 agreement"].detail == "0.00 % at batch 1 (worst case); required 100 %"
    assert stages["accuracy"].detail.startswith("0.00 % at batch 1 (worst case), reference 100.00 %; allowed drop")


@pytest.mark.parametrize(
    ("largest", "sizes"), [(1, ["batch 1"]), (4, ["batch 1", "batch 4"]), (32, ["batch 1", "batch 7"])]
)
def test_batches_do_not_exceed_the_largest_of_the_engine(largest: int, sizes: list[str], folder: Path) -> None:
    candidate = Planted()
    candidate.max_batch = largest
    stages = stages_of(candidate, image_set(folder, LABELS))
    assert all(stage.passed for stage in stages.values())
    assert [size for size in ("batch 1", "batch 4", "batch 7") if f"{size}:" in stages["values"].detail] == sizes


def test_nan_probabilities_never_pass() -> None:
    assert absolute_error(np.array([np.nan], np.float32), np.ones(1, np.float32)) == np.inf


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_non_finite_outputs_fail_the_values_stage(value: float, folder: Path) -> None:
    stages = stages_of(Altered(lambda values: np.full_like(values, value)), image_set(folder, LABELS))
    assert not stages["values"].passed and "of probabilities inf" in stages["values"].detail


class NaNRunner(Planted):
    """A runner whose outputs are NaN."""

    def _infer(self, images: Images) -> Prediction:
        outputs = super()._infer(images)
        return outputs._replace(probabilities=np.full_like(outputs.probabilities, np.nan))


def test_non_finite_reference_is_named(folder: Path) -> None:
    (stage,) = compare(Planted(), NaNRunner(), image_set(folder, LABELS)).stages
    assert (stage.name, stage.passed) == ("values", False)
    assert stage.detail.startswith("the reference: the model's outputs are NaN or infinite")


class TwoRows(Planted):
    """Runner that returns at most two rows, like a graph with a fixed batch."""

    def _infer(self, images: Images) -> Prediction:
        return super()._infer(images[:2])


def test_fewer_rows_than_images_fail(folder: Path) -> None:
    report = compare(TwoRows(), Planted(), image_set(folder, LABELS))
    assert not report and report.stages[-1].name == "rows"
    assert report.stages[-1].detail.endswith("images at batch 7; expected one for each image")
