"""Staged comparison of an engine with the PyTorch reference."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fer_edge.engines.base import IMAGE_SIZE, Floats, Prediction, Runner
from fer_edge.errors import DataError
from fer_edge.evaluation.dataset import ImageSet

TOLERANCES = {"fp32": 1e-4, "fp16": 2e-2}
BATCHES = (1, 7)


@dataclass(frozen=True)
class Stage:
    """One step of the comparison."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class ParityReport:
    """All stages that were reached; true if every one passed."""

    images: int
    tolerance: float
    stages: tuple[Stage, ...]

    @property
    def passed(self) -> bool:
        """The verdict."""
        return all(stage.passed for stage in self.stages)

    def __bool__(self) -> bool:
        return self.passed


def relative_error(found: Floats, expected: Floats) -> float:
    """Largest absolute difference over the largest absolute expected value."""
    scale = float(np.abs(expected).max())
    difference = float(np.abs(found - expected).max())
    if not math.isfinite(difference):  # NaN compares false with everything, and would pass
        return math.inf
    return difference / scale if scale else difference


def compare(
    candidate: Runner,
    reference: Runner,
    images: ImageSet,
    *,
    tolerance: float = 1e-4,
    max_accuracy_drop: float = 0.1,
    progress: Callable[[int], None] | None = None,
) -> ParityReport:
    """Compare names, types, shapes, values, decisions and, where labelled, accuracy.

    Args:
        candidate: The engine.
        reference: What it must agree with.
        images: What both run; every image at batch 1 and at batch 7.
        tolerance: Largest relative error of logits, per output and batch; see `relative_error`.
        max_accuracy_drop: In points, where images are labelled.
        progress: Told how many images are done.
    """
    if not len(images):
        raise DataError("no images to compare on")
    blank = np.zeros((2, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    stages = _structure(candidate.infer(blank), reference.infer(blank))
    if all(stage.passed for stage in stages):
        stages += _values(candidate, reference, images, tolerance, max_accuracy_drop, progress)
    return ParityReport(len(images), tolerance, tuple(stages))


def _structure(found: Prediction, expected: Prediction) -> list[Stage]:
    names = [name for name, value in expected._asdict().items() if value is not None]
    got = [name for name, value in found._asdict().items() if value is not None]
    stages = [Stage("names", names == got, f"outputs {', '.join(got)}; expected {', '.join(names)}")]
    if names != got:
        return stages
    types = {name: str(getattr(found, name).dtype) for name in names}
    stages.append(Stage("types", set(types.values()) == {"float32"}, ", ".join(f"{n} {t}" for n, t in types.items())))
    shapes = [(name, getattr(found, name).shape, getattr(expected, name).shape) for name in names]
    wrong = [f"{name} {got}, expected {wanted}" for name, got, wanted in shapes if got != wanted]
    stages.append(Stage("shapes", not wrong, "; ".join(wrong) or ", ".join(f"{n} {s}" for n, s, _ in shapes)))
    return stages


def _values(
    candidate: Runner,
    reference: Runner,
    images: ImageSet,
    tolerance: float,
    max_accuracy_drop: float,
    progress: Callable[[int], None] | None,
) -> list[Stage]:
    worst = dict.fromkeys(BATCHES, 0.0)
    decisions: list[tuple[Floats, Floats]] = []
    for batch, _ in images.batches(max(BATCHES)):
        expected = reference.infer(batch)
        for size in BATCHES:
            parts = [candidate.infer(batch[start : start + size]) for start in range(0, len(batch), size)]
            found = Prediction(*(_join([getattr(part, name) for part in parts]) for name in Prediction._fields))  # type: ignore[arg-type]
            worst[size] = max(worst[size], _logit_error(found, expected))
        decisions.append((found.probabilities.argmax(axis=1), expected.probabilities.argmax(axis=1)))
        if progress is not None:
            progress(len(batch))
    ours, theirs = (np.concatenate(parts) for parts in zip(*decisions, strict=True))
    agreement = 100 * float((ours == theirs).mean())
    needed = 100.0 if tolerance <= TOLERANCES["fp32"] else 99.0
    stages = [
        Stage(
            "values",
            max(worst.values()) <= tolerance,
            ", ".join(f"batch {size}: largest relative logit error {error:.2e}" for size, error in worst.items())
            + f"; allowed {tolerance:.0e}",
        ),
        Stage("top-1 agreement", agreement >= needed, f"{agreement:.2f} %; required {needed:g} %"),
    ]
    if images.labels is not None:
        mine, wanted = (100 * float((found == images.labels).mean()) for found in (ours, theirs))
        stages.append(
            Stage(
                "accuracy",
                wanted - mine <= max_accuracy_drop,
                f"{mine:.2f} %, reference {wanted:.2f} %; allowed drop {max_accuracy_drop:g} points",
            )
        )
    return stages


def _join(parts: list[Floats | None]) -> Floats | None:
    present = [part for part in parts if part is not None]
    return np.concatenate(present) if present else None


def _logit_error(found: Prediction, expected: Prediction) -> float:
    errors = [relative_error(found.label_logits, expected.label_logits)]
    if found.text_logits is not None and expected.text_logits is not None:
        errors.append(relative_error(found.text_logits, expected.text_logits))
    return max(errors)
