"""Staged comparison of an engine with the PyTorch reference."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fer_edge.engines.base import IMAGE_SIZE, Floats, Prediction, Runner
from fer_edge.errors import DataError
from fer_edge.evaluation.dataset import ImageSet

BATCHES = (1, 7)


@dataclass(frozen=True)
class Gate:
    """What an engine of one precision is held to."""

    tolerance: float  # largest relative error of logits, per output and batch; see `relative_error`
    agreement: float  # least share of images decided alike, in percent
    drop: float  # largest drop of accuracy, in points, where images are labelled; one image is always allowed


# On a few hundred images, an image more or less decides; the whole split is held to more (docs/quantisation.md).
GATES = {
    "fp32": Gate(1e-4, 100.0, 0.1),
    "fp16": Gate(2e-2, 99.0, 0.1),
    "int8": Gate(0.25, 98.0, 0.3),
    "mixed": Gate(0.25, 98.0, 0.3),
}


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
    gate: Gate
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
    gate: Gate = GATES["fp32"],
    progress: Callable[[int], None] | None = None,
) -> ParityReport:
    """Compare names, types, shapes, values, decisions and, where labelled, accuracy.

    Args:
        candidate: The engine.
        reference: What it must agree with.
        images: What both run; every image at batch 1 and at batch 7.
        gate: What must hold.
        progress: Told how many images are done.
    """
    if not len(images):
        raise DataError("no images to compare on")
    blank = np.zeros((2, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    stages = _structure(candidate.infer(blank), reference.infer(blank))
    if all(stage.passed for stage in stages):
        stages += _values(candidate, reference, images, gate, progress)
    return ParityReport(len(images), gate, tuple(stages))


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
    gate: Gate,
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
    stages = [
        Stage(
            "values",
            max(worst.values()) <= gate.tolerance,
            ", ".join(f"batch {size}: largest relative logit error {error:.2e}" for size, error in worst.items())
            + f"; allowed {gate.tolerance:g}",
        ),
        Stage("top-1 agreement", agreement >= gate.agreement, f"{agreement:.2f} %; required {gate.agreement:g} %"),
    ]
    if images.labels is not None:
        mine, wanted = (100 * float((found == images.labels).mean()) for found in (ours, theirs))
        stages.append(
            Stage(
                "accuracy",
                wanted - mine <= max(gate.drop, 100 / len(images)) + 1e-9,
                f"{mine:.2f} %, reference {wanted:.2f} %; allowed drop {gate.drop:g} points, or one image",
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
