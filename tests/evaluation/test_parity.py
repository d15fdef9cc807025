"""Parity finds bundles that answer otherwise than their checkpoint where only apps would notice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fer_edge.engines.base import Images, Prediction, Runner
from fer_edge.evaluation.dataset import ImageSet, image_set
from fer_edge.evaluation.open_model import OpenedModel
from fer_edge.evaluation.parity import Stage, absolute_error, compare, compare_labels
from tests.evaluation.test_evaluation import Planted, folder
from tests.tiny import LABELS

__all__ = ["folder"]  # a fixture


class Altered(Planted):
    """Probabilities changed after the fact, where the batch has a size of our choice."""

    def __init__(self, change: Callable[[np.ndarray], np.ndarray], sizes: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.change, self.sizes = change, sizes

    def _infer(self, images: Images) -> Prediction:
        found = super()._infer(images)
        if self.sizes and len(images) not in self.sizes:
            return found
        return found._replace(probabilities=self.change(found.probabilities))


def opened(**changes: object) -> OpenedModel:
    model = OpenedModel(Planted(), "a.fer", "onnxruntime", "fp32", LABELS, LABELS, "label", "1" * 64)
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
        ({"head": "mean"}, "decides by mean; expected label"),
        (
            {"checkpoint": "2" * 64},
            "a.fer was built from another checkpoint than a.safetensors; name that one, or build the bundle again",
        ),
    ],
)
def test_another_meaning_or_origin_fails_the_labels_stage(changes: dict[str, object], message: str) -> None:
    found = compare_labels(opened(**changes), opened(name="a.safetensors"))
    assert found == Stage("labels", False, message)


@pytest.mark.parametrize("checkpoint", [None, "1" * 64])
def test_a_bundle_need_not_name_its_checkpoint(checkpoint: str | None, folder: Path) -> None:
    stage = compare_labels(opened(checkpoint=checkpoint), opened())
    assert stage == Stage("labels", True, "neutral, happiness, surprise; decides by label")
    report = compare(Planted(), Planted(), image_set(folder, LABELS), before=[stage])
    assert report and report.stages[0] == stage
    assert not compare(Planted(), Planted(), image_set(folder, LABELS), before=[replace(stage, passed=False)])


def test_scaled_probabilities_fail_though_decisions_are_the_same(folder: Path) -> None:
    stages = stages_of(Altered(lambda values: values * np.float32(0.1)), image_set(folder, LABELS))
    assert [name for name, stage in stages.items() if not stage.passed] == ["values"]
    assert "batch 1: largest relative logit error 0.00e+00, of probabilities 5.99e-01" in stages["values"].detail


def test_the_worst_batch_size_counts(folder: Path) -> None:
    wrong = Altered(lambda values: np.roll(values, 1, axis=1), sizes=(1,))
    stages = stages_of(wrong, image_set(folder, LABELS))
    assert [name for name, stage in stages.items() if not stage.passed] == ["values", "top-1 agreement", "accuracy"]
    assert stages["top-1 agreement"].detail == "0.00 % at batch 1, the worst; required 100 %"
    assert stages["accuracy"].detail.startswith("0.00 % at batch 1, the worst, reference 100.00 %; allowed drop")


@pytest.mark.parametrize(
    ("largest", "sizes"), [(1, ["batch 1"]), (4, ["batch 1", "batch 4"]), (32, ["batch 1", "batch 7"])]
)
def test_engines_are_asked_for_no_more_than_they_take(largest: int, sizes: list[str], folder: Path) -> None:
    candidate = Planted()
    candidate.max_batch = largest
    stages = stages_of(candidate, image_set(folder, LABELS))
    assert all(stage.passed for stage in stages.values())
    assert [size for size in ("batch 1", "batch 4", "batch 7") if f"{size}:" in stages["values"].detail] == sizes


def test_probabilities_that_are_no_numbers_never_pass() -> None:
    assert absolute_error(np.array([np.nan], np.float32), np.ones(1, np.float32)) == np.inf


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_engine_whose_outputs_are_no_numbers_fails_the_values_stage(value: float, folder: Path) -> None:
    stages = stages_of(Altered(lambda values: np.full_like(values, value)), image_set(folder, LABELS))
    assert not stages["values"].passed and "of probabilities inf" in stages["values"].detail


class WithoutNumbers(Planted):
    """A runner whose outputs are NaN."""

    def _infer(self, images: Images) -> Prediction:
        found = super()._infer(images)
        return found._replace(probabilities=np.full_like(found.probabilities, np.nan))


def test_a_reference_that_gives_no_numbers_is_named(folder: Path) -> None:
    (stage,) = compare(Planted(), WithoutNumbers(), image_set(folder, LABELS)).stages
    assert (stage.name, stage.passed) == ("values", False)
    assert stage.detail.startswith("the reference: the model's outputs are NaN or infinite")


class TwoRows(Planted):
    """A runner that gives two rows at most, as a graph of a fixed batch does."""

    def _infer(self, images: Images) -> Prediction:
        return super()._infer(images[:2])


def test_an_engine_that_gives_fewer_rows_than_images_fails(folder: Path) -> None:
    report = compare(TwoRows(), Planted(), image_set(folder, LABELS))
    assert not report and report.stages[-1].name == "rows"
    assert report.stages[-1].detail.endswith("images at batch 7; expected one for each")
