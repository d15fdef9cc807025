"""Staged comparison of an engine with the PyTorch reference."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from fer_edge.engines.base import IMAGE_SIZE, Floats, Prediction, Runner
from fer_edge.errors import DataError, NonFiniteError
from fer_edge.evaluation.dataset import ImageSet
from fer_edge.evaluation.open_model import OpenedModel

BATCHES = (1, 7)
Classes = npt.NDArray[np.int64]  # (N,)


@dataclass(frozen=True)
class Gate:
    """What an engine of one precision is held to."""

    # Largest relative error of logits, per output and batch (see `relative_error`), and absolute one of probabilities.
    tolerance: float
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


def absolute_error(found: Floats, expected: Floats) -> float:
    """Largest absolute difference; infinite where a value is no number."""
    difference = float(np.abs(found - expected).max())
    return difference if math.isfinite(difference) else math.inf


def compare_labels(candidate: OpenedModel, reference: OpenedModel) -> Stage:
    """Whether two files mean the same by their outputs, and the candidate was built from the reference.

    Args:
        candidate: The opened bundle.
        reference: The opened checkpoint. Its hash counts only where the bundle names the one it was built from.
    """
    wrong = []
    if candidate.labels != reference.labels:
        wrong.append(f"labels {', '.join(candidate.labels)}; expected {', '.join(reference.labels)}")
    if candidate.head != reference.head:
        wrong.append(f"decides by {candidate.head}; expected {reference.head}")
    if candidate.checkpoint not in (None, reference.checkpoint):
        wrong.append(
            f"{candidate.name} was built from another checkpoint than {reference.name}; "
            "name that one, or build the bundle again"
        )
    detail = "; ".join(wrong) or f"{', '.join(candidate.labels)}; decides by {candidate.head}"
    return Stage("labels", not wrong, detail)


def compare(
    candidate: Runner,
    reference: Runner,
    images: ImageSet,
    *,
    gate: Gate = GATES["fp32"],
    before: Sequence[Stage] = (),
    progress: Callable[[int], None] | None = None,
) -> ParityReport:
    """Compare names, types, shapes, values, decisions and, where labelled, accuracy.

    Args:
        candidate: The engine.
        reference: What it must agree with.
        images: What both run; every image at batch 1 and at batch 7, or the largest that the engine takes.
        gate: What must hold.
        before: Stages that the report starts with, such as that of `compare_labels`.
        progress: Told how many images are done.

    Raises:
        DataError: There are no images.
    """
    if not len(images):
        raise DataError("no images to compare on")
    blank = np.zeros((min(2, candidate.max_batch), IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    stages: list[Stage] = []
    try:
        stages += _structure(candidate.infer(blank, checked=False), reference.infer(blank))
        if all(stage.passed for stage in stages):
            stages += _values(candidate, reference, images, gate, progress)
    except NonFiniteError as error:  # of the reference; the candidate's outputs are compared as they are
        stages.append(Stage("values", False, f"the reference: {error}"))
    return ParityReport(len(images), gate, (*before, *stages))


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


@dataclass
class _Measured:
    """What was found with one batch size; an engine may run each by other code."""

    logits: float = 0.0  # largest relative error
    probabilities: float = 0.0  # largest absolute error
    decisions: list[Classes] = field(default_factory=list)

    def add(self, found: Prediction, expected: Prediction) -> None:
        self.logits = max(self.logits, _logit_error(found, expected))
        self.probabilities = max(self.probabilities, absolute_error(found.probabilities, expected.probabilities))
        self.decisions.append(found.probabilities.argmax(axis=1))

    def share_of(self, wanted: Classes) -> float:
        """Images decided as wanted, in percent."""
        return 100 * float((np.concatenate(self.decisions) == wanted).mean())


def _values(
    candidate: Runner,
    reference: Runner,
    images: ImageSet,
    gate: Gate,
    progress: Callable[[int], None] | None,
) -> list[Stage]:
    measured = {min(size, candidate.max_batch): _Measured() for size in BATCHES}
    decisions: list[Classes] = []
    for batch, _ in images.batches(max(measured)):
        expected = reference.infer(batch)
        decisions.append(expected.probabilities.argmax(axis=1))
        for size in measured:
            parts = [candidate.infer(batch[i : i + size], checked=False) for i in range(0, len(batch), size)]
            found = Prediction(*(_join([getattr(part, name) for part in parts]) for name in Prediction._fields))  # type: ignore[arg-type]
            if len(found.probabilities) != len(batch):
                detail = f"{len(found.probabilities)} rows for {len(batch)} images at batch {size}"
                return [Stage("rows", False, f"{detail}; expected one for each")]
            measured[size].add(found, expected)
        if progress is not None:
            progress(len(batch))
    theirs = np.concatenate(decisions)
    stages = [_values_stage(measured, gate), _agreement_stage(measured, theirs, gate)]
    if images.labels is not None:
        stages.append(_accuracy_stage(measured, theirs, images.labels, gate))
    return stages


def _values_stage(measured: dict[int, _Measured], gate: Gate) -> Stage:
    errors = [error for found in measured.values() for error in (found.logits, found.probabilities)]
    told = ", ".join(
        f"batch {size}: largest relative logit error {found.logits:.2e}, of probabilities {found.probabilities:.2e}"
        for size, found in measured.items()
    )
    return Stage("values", max(errors) <= gate.tolerance, f"{told}; allowed {gate.tolerance:g}")


def _agreement_stage(measured: dict[int, _Measured], theirs: Classes, gate: Gate) -> Stage:
    agreement, size = min((found.share_of(theirs), size) for size, found in measured.items())
    detail = f"{agreement:.2f} % at batch {size}, the worst; required {gate.agreement:g} %"
    return Stage("top-1 agreement", agreement >= gate.agreement, detail)


def _accuracy_stage(measured: dict[int, _Measured], theirs: Classes, labels: Classes, gate: Gate) -> Stage:
    mine, size = min((found.share_of(labels), size) for size, found in measured.items())
    wanted = 100 * float((theirs == labels).mean())
    return Stage(
        "accuracy",
        wanted - mine <= max(gate.drop, 100 / len(labels)) + 1e-9,
        f"{mine:.2f} % at batch {size}, the worst, reference {wanted:.2f} %; "
        f"allowed drop {gate.drop:g} points, or one image",
    )


def _join(parts: list[Floats | None]) -> Floats | None:
    present = [part for part in parts if part is not None]
    return np.concatenate(present) if present else None


def _logit_error(found: Prediction, expected: Prediction) -> float:
    errors = [relative_error(found.label_logits, expected.label_logits)]
    if found.text_logits is not None and expected.text_logits is not None:
        errors.append(relative_error(found.text_logits, expected.text_logits))
    return max(errors)
