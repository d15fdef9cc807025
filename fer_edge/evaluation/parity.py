"""Parity: staged comparison of an engine with the PyTorch reference."""

from __future__ import annotations

import hashlib
import logging
import math
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fer_edge._files import as_path, check_output
from fer_edge.bundle import Bundle
from fer_edge.choices import EngineName, LayoutName, Split
from fer_edge.data.images import ImageSet, Labels
from fer_edge.data.sources import image_set
from fer_edge.engines.base import Floats, Prediction, Runner
from fer_edge.errors import ConfigError, DataError, NonFiniteError
from fer_edge.evaluation.open_model import ModelInfo, describe_bundle, open_model
from fer_edge.evaluation.output_source import EngineOutputs, FileOutputs, OutputSource, Record
from fer_edge.evaluation.saved_outputs import (
    RunRecorder,
    SavedOutputs,
    check_outputs_path,
    inputs_path,
    read_outputs,
)
from fer_edge.progress import Advance, Progress, ignore, silent
from fer_edge.results import Result, Table, plain_data
from fer_edge.shipped import path_or_shipped

LOG = logging.getLogger("fer_edge")
IMAGES = 256  # default number of images


@dataclass(frozen=True)
class Gate:
    """Requirements on an engine of one precision."""

    # Largest relative error of logits, per output and batch (see `relative_error`), and largest absolute error of
    # probabilities.
    tolerance: float
    agreement: float  # least top-1 agreement, in percent
    drop: float  # largest drop of accuracy on labelled images, in points; one image is always allowed


# Limits for a few hundred images, where a single one matters. docs/quantisation.md has those for a whole split.
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


OTHER_INPUTS = Stage("inputs", False, "the outputs are of other images; expected the same images, split and count")


@dataclass(frozen=True)
class ParityReport(Result):
    """Stages that were reached; true if all of them passed."""

    images: int
    gate: Gate
    stages: tuple[Stage, ...]
    engine: str = ""  # engine, or runner of the loaded outputs
    saved: tuple[Path, ...] = ()  # files of outputs and inputs

    @property
    def passed(self) -> bool:
        """True if every stage passed."""
        return all(stage.passed for stage in self.stages)

    def __bool__(self) -> bool:
        return self.passed

    def tables(self) -> list[Table]:
        """Return the table of stages."""
        rows = tuple((stage.name, "pass" if stage.passed else "FAIL", stage.detail) for stage in self.stages)
        return [Table(f"{self.engine} against PyTorch, {self.images} images", ("stage", "result", "detail"), rows)]

    def notes(self) -> list[str]:
        """Return the written files and the verdict."""
        return [*(f"wrote {path}" for path in self.saved), "parity holds" if self else "parity FAILS"]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data: engine, verdict, images, gate, stages and written files."""
        return plain_data({"engine": self.engine, "passed": self.passed, **vars(self)})


def parity(
    bundle: str | os.PathLike[str] | Bundle,
    checkpoint: str | os.PathLike[str],
    images: str | os.PathLike[str],
    *,
    split: Split | None = None,
    layout: LayoutName = "auto",
    engine: EngineName | None = None,
    device: int = 0,
    tolerance: float | None = None,
    threads: int | None = None,
    allow_host_code: bool = False,
    count: int = IMAGES,
    save_outputs: str | os.PathLike[str] | None = None,
    load_outputs: str | os.PathLike[str] | None = None,
    progress: Progress = silent,
) -> ParityReport:
    """Compare a bundle on an engine with its checkpoint in PyTorch.

    Args:
        bundle: Bundle to check, open or by its path; "edge" for the shipped one.
        checkpoint: Checkpoint that the bundle was built from; "edge" for the shipped one.
        images: Data set, or folder of face images; labelled images are also compared by accuracy.
        split: Split of a data set that has splits; "valid" by default.
        layout: Layout of the data set; "auto" detects it.
        engine: Engine of the bundle; None selects the first that runs on this machine.
        device: Index of the GPU, for engines that run on one; 0 by default.
        tolerance: Largest relative error of logits and largest absolute error of probabilities; None for the default of
            the bundle's precision, see `GATES`.
        threads: Number of CPU threads; None for the engine's default.
        allow_host_code: Whether native code inside a version-compatible TensorRT engine may run; only for bundles from
            a trusted source.
        count: Number of images, evenly spread over the data set; 256 by default.
        save_outputs: JSON file for the engine's outputs, in Polygraphy's format (RunResults). The inputs are written
            beside it, for `polygraphy run --load-inputs`: run.json -> run.inputs.json.
        load_outputs: JSON file of outputs to compare in place of the engine's, from `polygraphy run --save-outputs` on
            these inputs. No engine of the bundle runs.
        progress: Progress display; none by default.

    Raises:
        ConfigError: An engine, device or file to save beside loaded outputs, an output that is also an input, or a
            split of images without splits.
        DataError: No images, or a file of outputs that cannot be read.
        FerEdgeError: A file cannot be read or written, or an engine failed.
    """
    model: ModelInfo
    candidate: Runner | SavedOutputs
    opened_bundle = bundle if isinstance(bundle, Bundle) else None
    bundle_name = bundle.path if isinstance(bundle, Bundle) else bundle
    bundle_path = path_or_shipped("bundle", as_path(bundle_name, "the bundle"))
    checkpoint_path = path_or_shipped("checkpoint", as_path(checkpoint, "the checkpoint"))
    images_path = as_path(images, "the images")
    saved_path = None if save_outputs is None else as_path(save_outputs, "the outputs file")
    if saved_path is not None:
        check_outputs_path(saved_path)
        for path in (saved_path, inputs_path(saved_path)):
            check_output(path, bundle_path, checkpoint_path, images_path)
    with ExitStack() as stack:
        if load_outputs is None:
            opened = open_model(opened_bundle or bundle_path, engine, threads, device, allow_host_code=allow_host_code)
            model, candidate = opened, stack.enter_context(opened.runner)
        else:
            replaced = engine is not None or device or allow_host_code or saved_path is not None
            model, candidate = _load_candidate(bundle_path, as_path(load_outputs, "the outputs file"), bool(replaced))
        reference = open_model(checkpoint_path, "pytorch", threads)
        stack.enter_context(reference.runner)
        data = image_set(images_path, reference.labels, reference.words, split, layout).limit(count)
        data.log_left_out()
        gate = GATES[model.precision]
        gate = gate if tolerance is None else replace(gate, tolerance=tolerance)
        recorder = None if saved_path is None else RunRecorder()
        before = (compare_labels(model, reference),)
        with progress("comparing", len(data)) as advance:
            report = compare(
                candidate, reference.runner, data, gate=gate, before=before, advance=advance, record=recorder
            )
    return replace(report, engine=model.engine, saved=_save(recorder, saved_path, model.engine))


def _load_candidate(bundle: Path, outputs: Path, has_engine_options: bool) -> tuple[ModelInfo, SavedOutputs]:
    """Read saved outputs, and the properties of the bundle that they stand in for."""
    if has_engine_options:
        raise ConfigError(
            "loaded outputs replace those of the engine; leave out engine, device, host code and outputs to save"
        )
    saved = read_outputs(outputs)
    return describe_bundle(Bundle.open(bundle), saved.runner), saved


def relative_error(values: Floats, expected: Floats) -> float:
    """Return the largest absolute difference, divided by the largest absolute expected value."""
    scale = float(np.abs(expected).max())
    difference = absolute_error(values, expected)
    return difference / scale if scale and math.isfinite(difference) else difference


def absolute_error(values: Floats, expected: Floats) -> float:
    """Return the largest absolute difference; infinity if a value is NaN or infinite."""
    difference = float(np.abs(values - expected).max())
    return difference if math.isfinite(difference) else math.inf  # NaN would pass every comparison


def compare_labels(candidate: ModelInfo, reference: ModelInfo) -> Stage:
    """Check that two models have the same labels and head, and that one was built from the other.

    Args:
        candidate: Properties of the bundle.
        reference: Properties of the checkpoint. Its hash is compared only if the bundle contains that of its source.
    """
    problems = []
    if candidate.labels != reference.labels:
        problems.append(f"labels {', '.join(candidate.labels)}; expected {', '.join(reference.labels)}")
    if candidate.head != reference.head:
        problems.append(f"head {candidate.head}; expected {reference.head}")
    if candidate.checkpoint not in (None, reference.checkpoint):
        problems.append(
            f"{candidate.name} was built from another checkpoint than {reference.name}; "
            "name that one, or build the bundle again"
        )
    detail = "; ".join(problems) or f"{', '.join(candidate.labels)}; head {candidate.head}"
    return Stage("labels", not problems, detail)


def compare(
    candidate: Runner | SavedOutputs,
    reference: Runner,
    images: ImageSet,
    *,
    gate: Gate = GATES["fp32"],
    before: Sequence[Stage] = (),
    advance: Advance = ignore,
    record: Record | None = None,
) -> ParityReport:
    """Compare names, types, shapes, values, top-1 labels and, for labelled images, accuracy.

    Args:
        candidate: Runner of the engine, or saved outputs for the same images.
        reference: Runner to compare with.
        images: Images; an engine runs each of them at batch 1 and at batch 7, or at its largest batch if that is less.
        gate: Requirements.
        before: Stages at the start of the report, such as that of `compare_labels`.
        advance: Callback that receives the number of images just finished.
        record: Callback that receives every batch of the larger size and the engine's outputs.

    Raises:
        DataError: No images.
    """
    if not len(images):
        raise DataError("no images to compare on")
    source: OutputSource = EngineOutputs(candidate, record) if isinstance(candidate, Runner) else FileOutputs(candidate)
    problem = source.row_problem(len(images))
    if problem:
        return ParityReport(len(images), gate, (*before, Stage("rows", False, problem)))
    stages: list[Stage] = []
    try:
        stages += _structure(*source.sample(reference))
        if all(stage.passed for stage in stages):
            stages += _values(source, reference, images, gate, advance)
    except NonFiniteError as error:  # of the reference; the candidate's outputs are compared unchecked
        stages.append(Stage("values", False, f"the reference: {error}"))
    return ParityReport(len(images), gate, (*before, *stages))


def _structure(outputs: Prediction, expected: Prediction) -> list[Stage]:
    """Compare names, types and shapes of outputs for the same number of images."""
    expected_names = [name for name, value in expected._asdict().items() if value is not None]
    names = [name for name, value in outputs._asdict().items() if value is not None]
    stages = [
        Stage("names", names == expected_names, f"outputs {', '.join(names)}; expected {', '.join(expected_names)}")
    ]
    if names != expected_names:
        return stages
    types = {name: str(getattr(outputs, name).dtype) for name in names}
    stages.append(Stage("types", set(types.values()) == {"float32"}, ", ".join(f"{n} {t}" for n, t in types.items())))
    shapes = [(name, getattr(outputs, name).shape, getattr(expected, name).shape) for name in names]
    problems = [f"{name} {shape}, expected {correct}" for name, shape, correct in shapes if shape != correct]
    detail = "; ".join(problems) or ", ".join(f"{name} {shape}" for name, shape, _ in shapes)
    return [*stages, Stage("shapes", not problems, detail)]


@dataclass
class _Errors:
    """Errors at one batch size; an engine may run different code for each."""

    logits: float = 0.0  # largest relative error
    probabilities: float = 0.0  # largest absolute error
    predicted: list[Labels] = field(default_factory=list)  # top-1 labels of each batch

    def add(self, outputs: Prediction, expected: Prediction) -> None:
        """Add the errors of a batch."""
        self.logits = max(self.logits, _logit_error(outputs, expected))
        self.probabilities = max(self.probabilities, absolute_error(outputs.probabilities, expected.probabilities))
        self.predicted.append(outputs.probabilities.argmax(axis=1))

    def agreement(self, labels: Labels) -> float:
        """Return the share of images whose top-1 label is the given one, in percent."""
        return 100 * float((np.concatenate(self.predicted) == labels).mean())


def _values(
    source: OutputSource,
    reference: Runner,
    images: ImageSet,
    gate: Gate,
    advance: Advance,
) -> list[Stage]:
    """Compare the outputs for all images."""
    errors = {size: _Errors() for size in source.sizes}
    predicted: list[Labels] = []  # by the reference
    digest, start = hashlib.sha256(), 0
    for batch, _ in images.batches(source.stride):
        expected = reference.infer(batch)
        predicted.append(expected.probabilities.argmax(axis=1))
        for size, outputs in source.outputs(start, batch).items():
            if len(outputs.probabilities) != len(batch):
                detail = f"{len(outputs.probabilities)} rows for {len(batch)} images at batch {size}"
                return [Stage("rows", False, f"{detail}; expected one for each image")]
            errors[size].add(outputs, expected)
        digest.update(batch.data)
        start += len(batch)
        advance(len(batch))
    top1 = np.concatenate(predicted)
    stages = [] if source.inputs_sha256 in (None, digest.hexdigest()) else [OTHER_INPUTS]
    stages += [_values_stage(errors, gate), _agreement_stage(errors, top1, gate)]
    if images.labels is not None:
        stages.append(_accuracy_stage(errors, top1, images.labels, gate))
    return stages


def _values_stage(errors: dict[int, _Errors], gate: Gate) -> Stage:
    largest = max(error for size in errors.values() for error in (size.logits, size.probabilities))
    detail = ", ".join(
        f"batch {size}: largest relative logit error {error.logits:.2e}, of probabilities {error.probabilities:.2e}"
        for size, error in errors.items()
    )
    return Stage("values", largest <= gate.tolerance, f"{detail}; allowed {gate.tolerance:g}")


def _agreement_stage(errors: dict[int, _Errors], top1: Labels, gate: Gate) -> Stage:
    agreement, size = min((error.agreement(top1), size) for size, error in errors.items())
    detail = f"{agreement:.2f} % at batch {size} (worst case); required {gate.agreement:g} %"
    return Stage("top-1 agreement", agreement >= gate.agreement, detail)


def _accuracy_stage(errors: dict[int, _Errors], top1: Labels, labels: Labels, gate: Gate) -> Stage:
    accuracy, size = min((error.agreement(labels), size) for size, error in errors.items())
    expected = 100 * float((top1 == labels).mean())
    return Stage(
        "accuracy",
        expected - accuracy <= max(gate.drop, 100 / len(labels)) + 1e-9,
        f"{accuracy:.2f} % at batch {size} (worst case), reference {expected:.2f} %; "
        f"allowed drop {gate.drop:g} points, or one image",
    )


def _logit_error(outputs: Prediction, expected: Prediction) -> float:
    errors = [relative_error(outputs.label_logits, expected.label_logits)]
    if outputs.text_logits is not None and expected.text_logits is not None:
        errors.append(relative_error(outputs.text_logits, expected.text_logits))
    return max(errors)


def _save(recorder: RunRecorder | None, path: Path | None, engine: str) -> tuple[Path, ...]:
    """Write the recorded outputs and inputs; nothing if the comparison ended before it ran the images."""
    if recorder is None or path is None:
        return ()
    if not recorder.predictions:
        LOG.warning("no outputs saved: the comparison failed before the images ran")
        return ()
    return recorder.save(path, engine)
